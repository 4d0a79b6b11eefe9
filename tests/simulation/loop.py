"""An event loop with virtual time and a seeded order, and the processes that live in it."""

import asyncio
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

STEPS_MAX = 400_000
"""A world that takes more steps than this goes round in a circle."""


class StuckError(Exception):
    """Nothing can happen any more, or the same things happen for ever."""


class Process:
    """What a kill ends and a pause stops: everything that was started in its context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.tasks: list[asyncio.Task[Any]] = []
        self._held: list[asyncio.Handle] | None = None
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self)

    @property
    def paused(self) -> bool:
        """True between SIGSTOP and SIGCONT."""
        return self._held is not None

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in this process."""
        return asyncio.get_running_loop().create_task(coroutine, context=self._context.copy())

    def run(self, function: Callable[[], T]) -> T:
        """Call something in this process, which must not be the one that runs."""
        return self._context.copy().run(function)

    def kill(self) -> None:
        """End it as SIGKILL does: nothing of it runs any more, no `finally` and no `except` either."""
        self.alive = False
        self._held = None

    def pause(self) -> None:
        """Stop it where it is."""
        self._held = []

    def go_on(self, loop: "VirtualLoop") -> None:
        """Let it run again: everything that came due meanwhile does so now, in any order."""
        held, self._held = self._held, None
        loop.put_back(held or [])

    def keeps(self, handle: asyncio.Handle) -> bool:
        """Tell whether a step of it must not be taken now."""
        if self.alive and self._held is None:
            return False
        if self.alive and self._held is not None:
            self._held.append(handle)
        return True


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("PROCESS", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Takes one step at a time, any of those that are ready; when none is, time jumps to the next timer.

    What the code hands to threads runs inline, at some moment after it was asked for, and is answered later still.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._ready: list[asyncio.Handle] = []  # the base's is a queue; here any may be next
        self._now = 0.0
        self.steps = 0
        self.chance = chance
        self.durations: Callable[[Executor | None], tuple[float, float]] = lambda _: (0.0, 0.0)
        """How long it takes until work for a thread is done, and then until its answer is heard."""
        self._numbers = itertools.count()
        self.set_task_factory(_task)

    def time(self) -> float:
        """Return virtual seconds since the world began."""
        return self._now

    def number(self) -> int:
        """Count what is made here."""
        return next(self._numbers)

    def create_future(self) -> "NumberedFuture":
        """Make a future that sets keep in a place of its own."""
        return NumberedFuture(loop=self)

    def put_back(self, handles: list[asyncio.Handle]) -> None:
        """Make steps ready that were kept back."""
        self._ready.extend(handles)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: object) -> "asyncio.Future[T]":
        """Do a thread's work inline: its effect at one instant, its answer at a later one."""
        future = self.create_future()
        before, after = self.durations(executor)
        self.call_later(before, self._carry_out, future, after, func, args)
        return future

    def _carry_out(
        self, future: "asyncio.Future[T]", after: float, func: Callable[..., T], args: tuple[object, ...]
    ) -> None:
        if future.cancelled() and self.chance.random() < 0.5:  # a thread may or may not have begun by then
            return
        try:
            value = func(*args)
        except Exception as error:  # noqa: BLE001  # it belongs to whoever asked
            self.call_later(after, _answer, future, None, error)
        else:
            self.call_later(after, _answer, future, value, None)

    def _run_once(self) -> None:
        """Take one step; the base calls this until it is stopped."""
        ready = self._ready
        while not ready:
            self._pass_time()
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise StuckError(f"more than {STEPS_MAX} steps")
        place = int(self.chance.random() * len(ready))
        handle = ready[place]
        ready[place] = ready[-1]
        ready.pop()
        if handle._cancelled:
            return
        process = handle._context.get(PROCESS)
        if process is None or not process.keeps(handle):
            handle._run()

    def _pass_time(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not timers:
            raise StuckError("nobody waits for anything that could come")
        self._now = max(self._now, timers[0].when())
        while timers and timers[0].when() <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            self._ready.append(timer)

    def _write_to_self(self) -> None:
        """Wake nobody: there is no other thread."""

    def _process_events(self, event_list: list[Any]) -> None:
        """Have no events: nothing here reads or writes sockets."""


class NumberedFuture(asyncio.Future[Any]):
    """A future whose hash is its number: sets are walked by it, and an address differs from run to run."""

    def __init__(self, *, loop: VirtualLoop) -> None:
        super().__init__(loop=loop)
        self._number = loop.number()

    def __hash__(self) -> int:
        """Return the number."""
        return self._number

    __eq__ = object.__eq__


class NumberedTask(asyncio.Task[Any]):
    """A task likewise."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], *, loop: VirtualLoop, **options: Any) -> None:
        self._number = loop.number()
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self) -> int:
        """Return the number."""
        return self._number

    __eq__ = object.__eq__


def _task(loop: VirtualLoop, coroutine: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
    task = NumberedTask(coroutine, loop=loop, **options)
    task._log_destroy_pending = False  # a killed process leaves such tasks
    context = options.get("context")
    process = PROCESS.get() if context is None else context.get(PROCESS)
    if process is not None:
        process.tasks.append(task)
    return task


def _answer(future: "asyncio.Future[T]", value: T, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
