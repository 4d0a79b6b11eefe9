"""A shard in hand: its lease, what of it is on its way, and whether it may still be sent."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from slackwater.domain.batch import Lease
from slackwater.flow.infer import Turn
from slackwater.ports import Clock

TRUSTED_SHARE = 5 / 6
"""The share of a lease's time, counted from the start of its last renewal, in which sends are allowed (X5)."""


@dataclass(slots=True, eq=False)
class Holding:
    """One leased shard of this worker."""

    lease: Lease
    backend: str
    renewed_at: float
    """Monotonic seconds when the last successful renewal was asked for."""
    lease_seconds: float
    clock: Clock
    open: int
    """Requests without a result."""
    turns: set[Turn] = field(default_factory=set)
    stopped_at: float | None = None
    """Monotonic seconds when its batch was stopped: canceled, expired, or this worker is draining."""
    lost: bool = False
    """The lease has passed on: results are dropped."""

    @property
    def certain(self) -> bool:
        """True while the lease is surely still ours, whatever happened to this process's time."""
        return not self.lost and self.clock.monotonic() - self.renewed_at < self.lease_seconds * TRUSTED_SHARE

    def may_send(self) -> bool:
        """Tell whether a request of this shard may be sent at this instant (C2, T2, X1, X5)."""
        return self.stopped_at is None and self.certain and self.clock.now() < self.lease.expires_at

    def stop(self, *, slots_too: bool) -> None:
        """Send nothing more; what is being answered goes on, except in slots with `slots_too`: others wait for them."""
        if self.stopped_at is None:
            self.stopped_at = self.clock.monotonic()
        self._cancel(turn for turn in self.turns if not turn.sending or (slots_too and turn.gate and turn.gate.slots))

    def lose(self) -> None:
        """Drop everything: somebody else works on this shard now."""
        self.lost = True
        self.abort()

    def abort(self) -> None:
        """Let go of everything that is on its way."""
        self._cancel(self.turns)

    def _cancel(self, turns: Iterable[Turn]) -> None:
        current = asyncio.current_task()
        for turn in list(turns):
            if turn.task is not None and turn.task is not current:
                turn.task.cancel()


Held = tuple[Holding, Turn]


@dataclass(slots=True, eq=False)
class Tasks:
    """Tasks that carry turns through, one after another: a task for each would be a tenth of what a short one costs."""

    carry: Callable[[Holding, Turn], Awaitable[None]]
    finish: Callable[[Holding, Turn], None]
    """Cleans up after a turn, the last one of a task twice: one that is canceled before its first step runs no code."""
    following: Callable[[], Held | None]
    _at_work: dict[asyncio.Task[None], Held] = field(default_factory=dict)

    def start(self, held: Held) -> None:
        """Start a task with its first turn."""
        task = held[1].task = asyncio.create_task(self._work())
        self._at_work[task] = held
        task.add_done_callback(lambda task: self.finish(*self._at_work.pop(task)))

    async def _work(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        with suppress(asyncio.CancelledError):
            while True:
                held = self._at_work[task]
                await self.carry(*held)
                self.finish(*held)
                following = self.following()
                if following is None:
                    return
                self._at_work[task], following[1].task = following, task
                await held[0].clock.sleep(0)  # one that need not wait for anything must not keep all others waiting
