"""The gate of one backend: how much may be in flight there, who goes first, and whether it is there at all.

How much is what its limit says (`flow/limit.py`). A backend that is away gets one probe a second (X7).
Interactive calls go before batch work. At a backend with slots, where every prompt in flight is read by the same few
cores, they have places of their own, and nothing new is started beside one that waits for its first token.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from slackwater.domain.errors import AttemptFailedError, BackendAwayError, WireError
from slackwater.flow.limit import Limit
from slackwater.ports import Clock

AWAY_FAILURES = 5
"""Failures in a row, with no success between, after which the backend counts as away."""
PROBE_SECONDS = 1.0
PARKED_PER_SLOT, PARKED_MIN = 2, 32
"""With this many requests waiting for another attempt no new ones are started: the backend has enough to refuse."""
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 30.0


def backoff_seconds(attempt: int, retry_after_seconds: float | None = None) -> float:
    """Return how long to wait before the next attempt: full jitter, at least what the backend asked for."""
    ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_BASE_SECONDS * 2 ** min(attempt, 16))
    jitter = random.uniform(0, ceiling)  # noqa: S311  # spreads load, hides nothing
    return max(retry_after_seconds or 0.0, jitter)


class Gate:
    """Admits calls to one backend."""

    def __init__(
        self, name: str, *, ceiling: int, adaptive: bool, clock: Clock, slots: int | None = None, reserved: int = 0
    ) -> None:
        """Make a gate; with `slots` prefix groups are drained one per slot, `reserved` places are for people only."""
        ceiling = min(ceiling, slots or ceiling)
        self.name = name
        self._hearing = Hearing(self)
        self.slots = slots
        self._reserved = reserved
        self._people = 0
        self._hushes: set[asyncio.Future[None]] = set()
        self._clock = clock
        self._limit = Limit(ceiling, adaptive=adaptive)
        self.limit = int(self._limit.value)
        """Calls that may be in flight now, at least 1."""
        self.in_flight = 0
        self.parked = 0
        """Batch requests that wait for their next attempt without a slot."""
        self._interactive: deque[asyncio.Future[None]] = deque()
        self._batch: deque[asyncio.Future[None]] = deque()
        self._failures = 0
        self._closed_until = 0.0
        self._timer: asyncio.Task[None] | None = None
        self.on_room: list[asyncio.Event] = []
        """Set whenever a slot may have become free for batch work."""

    @property
    def away(self) -> bool:
        """True while the backend counts as not there."""
        return self._failures >= AWAY_FAILURES

    def has_room(self) -> bool:
        """Tell whether a batch request could start now without overtaking anyone."""
        crowded = self.parked >= PARKED_PER_SLOT * self.limit + PARKED_MIN
        return not crowded and not self._interactive and not self._batch and self._free(interactive=False)

    def take(self, *, interactive: bool = False) -> None:
        """Use a slot; the caller saw `has_room` in the same step."""
        self.in_flight += 1
        self._people += interactive
        if self.away:
            self._closed_until = self._clock.monotonic() + PROBE_SECONDS
            self._arm()

    @asynccontextmanager
    async def slot(self, *, interactive: bool) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        await self.acquire(interactive=interactive)
        try:
            yield
        finally:
            self.release(interactive=interactive)

    def hush(self, seconds: float) -> Callable[[], None]:
        """Start no batch work at a backend with slots until what is returned is called, or so many seconds are over."""
        if self.slots is None:
            return lambda: None
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        self._hushes.add(timer)
        timer.add_done_callback(self._unhush)
        return lambda: self._unhush(timer)

    def _unhush(self, timer: asyncio.Future[None]) -> None:
        timer.cancel()
        if timer in self._hushes:
            self._hushes.remove(timer)
            self._admit()

    async def acquire(self, *, interactive: bool) -> None:
        """Wait for a slot, interactive callers first."""
        if self._free(interactive=interactive) and not self._interactive and (interactive or not self._batch):
            self.take(interactive=interactive)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._interactive if interactive else self._batch
        queue.append(waiter)
        self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(interactive=interactive)
            with contextlib.suppress(ValueError):
                queue.remove(waiter)
            raise

    def release(self, *, interactive: bool = False) -> None:
        """Give a slot back and let the next one in."""
        self.in_flight -= 1
        self._people -= interactive
        self._admit()

    def hearing(self) -> "Hearing":
        """Hear of what fails while the backend is spoken to, and of nothing else."""
        return self._hearing

    def succeeded(self, started: float | None = None, tokens: int = 0) -> None:
        """Hear that a call was answered, and where that tells how fast the backend is: its begin and output tokens."""
        self._failures = 0
        self._closed_until = 0.0
        if self._timer is not None:  # it may sleep far beyond the next probe
            self._timer.cancel()
            self._timer = None
        now = self._clock.monotonic()
        self._limit.answered(self.in_flight, None if started is None else now - started, tokens, now)
        self.limit = int(self._limit.value)

    def answered(self) -> None:
        """Hear that the backend is there although the call failed."""
        self._failures = 0

    def failed(self, *, full: bool, retry_after_seconds: float | None) -> None:
        """Hear that the backend is away or full."""
        now = self._clock.monotonic()
        self._failures = 0 if full else self._failures + 1
        if full:
            self._limit.refused(now)
            self.limit = int(self._limit.value)
        if self.away:
            self._limit.disturbed()
            self._closed_until = max(self._closed_until, now + max(PROBE_SECONDS, retry_after_seconds or 0.0))

    def _free(self, *, interactive: bool) -> bool:
        if self.away and self._clock.monotonic() < self._closed_until:
            return False
        if interactive:
            return self.in_flight < self.limit + self._reserved
        return not self._hushes and self.in_flight < self.limit + min(self._reserved, self._people)

    def _admit(self) -> None:
        if self._interactive or self._batch:
            for queue, interactive in ((self._interactive, True), (self._batch, False)):
                while queue and self._free(interactive=interactive):
                    waiter = queue.popleft()
                    if not waiter.done():
                        self.take(interactive=interactive)
                        waiter.set_result(None)
        self._arm()
        for event in self.on_room:
            event.set()

    def _arm(self) -> None:
        """While the backend is away nothing else would wake those who wait for the next probe."""
        if not self.away:
            return
        closed = self._clock.monotonic() < self._closed_until
        if closed and (self._timer is None or self._timer.done()):
            self._timer = asyncio.get_running_loop().create_task(self._probe_later())

    async def _probe_later(self) -> None:
        await self._clock.sleep(self._closed_until - self._clock.monotonic())
        self._timer = None
        self._admit()


class Hearing:
    """A context that tells a gate what failed in it; a generator would cost a hundredth of a request."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        """Begin; nothing is kept, so that all calls share one context."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Tell, and let the error go on."""
        if isinstance(error, BackendAwayError):
            self._gate.failed(full=error.full, retry_after_seconds=error.retry_after_seconds)
        elif isinstance(error, AttemptFailedError | WireError):
            self._gate.answered()
