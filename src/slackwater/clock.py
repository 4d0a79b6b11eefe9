"""The one clock: wall time at start, carried forward by the boot clock (T3).

A step of the wall clock changes nothing here, neither while the process runs nor for the next one on this machine: only
the first since it was booted has to believe the wall clock, and leaves in a file what the boot clock's zero means. A
suspended machine's time counts, and the instant never lies before the latest one that an earlier run recorded.
"""

import asyncio
import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import structlog

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
BELIEVED: Final = timedelta(minutes=5)
"""So far ahead a wall clock is believed at a start: no deadline is that close for long, and clocks are set."""

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

_log = structlog.get_logger(__name__)


class SystemClock:
    """Satisfies `ports.Clock`."""

    def __init__(self) -> None:
        wall = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251  # this is the clock
        self._booted_at = wall - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
        """What the boot clock's zero means."""

    @classmethod
    def kept(cls, path: Path) -> Self:
        """Go on as the runs before this one since the machine was booted, which left word in a file; leave it too."""
        clock = cls()
        boot_id = BOOT_ID.read_text("ascii").strip()
        kept = _kept(path, boot_id)
        if kept is not None:
            ahead = clock._booted_at - kept
            if ahead > BELIEVED:
                _log.error(
                    "the wall clock was set forward since this machine was booted, which expires nothing: time goes on "
                    f"as it was. If the wall clock is right, remove {path} and start again",
                    seconds=round(ahead.total_seconds()),
                )
            if not timedelta(0) <= ahead <= BELIEVED:
                clock._booted_at = kept
        if clock._booted_at != kept:
            _keep(path, f"{boot_id} {clock._booted_at.isoformat()}\n")
        return clock

    def advance_to(self, instant: datetime) -> None:
        """Never answer less than this from now on: what an earlier run had reached."""
        behind = instant - self.now()
        if behind > timedelta(0):
            self._booted_at += behind

    def now(self) -> datetime:
        """Return the current instant, aware UTC."""
        return self._booted_at + timedelta(0, time.clock_gettime(time.CLOCK_BOOTTIME))  # names cost a third of it

    def unix_milliseconds(self) -> int:
        """Return the current instant in whole milliseconds since 1970."""
        return (self.now() - _UNIX_EPOCH) // _MILLISECOND

    def monotonic(self) -> float:
        """Return seconds that also count while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_drift_seconds(self) -> float:
        """Return how far the wall clock stands from this one: an alarm, never a correction."""
        return time.time() - self.now().timestamp()  # noqa: TID251  # likewise

    async def sleep(self, seconds: float) -> None:
        """Wait without holding the loop."""
        await asyncio.sleep(seconds)


def _kept(path: Path, boot_id: str) -> datetime | None:
    """Read what the boot clock's zero means, where that was written since this machine was booted."""
    try:
        known, _, booted_at = path.read_text("ascii").strip().partition(" ")
        return datetime.fromisoformat(booted_at) if known == boot_id else None
    except (OSError, ValueError):
        return None


def _keep(path: Path, text: str) -> None:
    """Write the file whole. Nothing is synced: a cut of the power boots the machine anew. A full disk stops nobody."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, "ascii")
        partial.replace(path)
    except OSError as error:
        _log.warning("cannot keep the clock for the next start", path=str(path), error=str(error))
        with suppress(OSError):
            partial.unlink(missing_ok=True)
