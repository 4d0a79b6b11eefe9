"""The one clock: wall time at start, carried forward by the boot clock (T3).

A step of the wall clock while the process runs changes nothing here, a suspended machine's time counts, and the instant
never lies before the latest one that an earlier run recorded.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """Satisfies `ports.Clock`."""

    def __init__(self, not_before: datetime | None = None) -> None:
        wall = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251  # this is the clock
        self._base = wall if not_before is None else max(wall, not_before)
        self._base_seconds = time.clock_gettime(time.CLOCK_BOOTTIME)

    def advance_to(self, instant: datetime) -> None:
        """Never answer less than this from now on: what an earlier run had reached."""
        behind = instant - self.now()
        if behind > timedelta(0):
            self._base += behind

    def now(self) -> datetime:
        """Return the current instant, aware UTC."""
        return self._base + timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - self._base_seconds)

    def monotonic(self) -> float:
        """Return seconds that also count while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_drift_seconds(self) -> float:
        """Return how far the wall clock stands from this one: an alarm, never a correction."""
        return time.time() - self.now().timestamp()  # noqa: TID251  # likewise

    async def sleep(self, seconds: float) -> None:
        """Wait without holding the loop."""
        await asyncio.sleep(seconds)
