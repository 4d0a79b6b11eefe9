"""The models on this machine: each in a child of its own, started when it is needed, within one budget of memory.

A model that nobody uses makes room for one that somebody waits for. When all that are loaded are in use, the one that
had its turn takes no new calls, so that two models which do not fit together take turns instead of one starving.
"""

import asyncio
from typing import Final

from slackwater.backends.llamacpp.engine import Engine
from slackwater.backends.llamacpp.fitting import (
    CannotFitError,
    Fit,
    LocalModel,
    budget_bytes,
    fit,
    readable,
    shared_out,
)
from slackwater.backends.llamacpp.gguf import GGUF, GGUFError, read_gguf
from slackwater.backends.llamacpp.machine import this_machine
from slackwater.domain.errors import BackendAwayError
from slackwater.ports import Clock

TURN_SECONDS: Final = 30.0
"""How long a model in use keeps its memory before it gives way to one that waits."""
ROOM_SECONDS: Final = 5.0
"""How long a call waits for memory before its work is sent away to try again later."""
WANTED_SECONDS: Final = 20.0
"""How long a model that was sent away for want of memory still makes others give way."""


class LocalEngines:
    """All local models of this process."""

    def __init__(self, *, clock: Clock, memory_bytes: int | None = None, idle_seconds: float | None = None) -> None:
        """Take the memory for all models together (None: most of what is free), and how long an unused one stays."""
        self._clock = clock
        self._machine = this_machine()
        self._configured = memory_bytes is not None
        self._budget = budget_bytes(self._machine) if memory_bytes is None else memory_bytes
        self._idle_seconds = idle_seconds or 0.0
        self._engines: list[Engine] = []
        self._freed = asyncio.Condition()
        self._wanted: dict[Engine, float] = {}
        """Models that lack memory, and until when they are taken to."""

    def add(self, model: LocalModel) -> Engine:
        """Take a model on. Its files are looked at, nothing is started."""
        engine = Engine(model, self, self._clock)
        self._engines.append(engine)
        return engine

    def add_copies(self, model: LocalModel) -> tuple[Engine, ...]:
        """Take a model on, in as many processes as its size is worth."""
        try:
            copies = shared_out(read_gguf(model.path), self._machine, model, memory_bytes=self._budget)
        except (GGUFError, CannotFitError):
            copies = [model]  # the engine says what is wrong
        return tuple(self.add(one) for one in copies)

    async def close(self) -> None:
        """End every child."""
        await asyncio.gather(*(engine.close() for engine in self._engines))

    def fit(self, gguf: GGUF, model: LocalModel) -> Fit:
        """Choose how a model runs. Raises CannotFitError."""
        try:
            return fit(gguf, self._machine, model, memory_bytes=self._budget)
        except CannotFitError:
            if self._configured:
                raise
        # Something else may have had the memory when this process started.
        self._machine = this_machine()
        ours = sum(engine.reserved_bytes for engine in self._engines)
        self._budget = max(self._budget, budget_bytes(self._machine) + ours)
        return fit(gguf, self._machine, model, memory_bytes=self._budget)

    @property
    def idle_seconds(self) -> float:
        """How long an unused model keeps its memory; 0: for ever."""
        return self._idle_seconds

    def must_give_way(self, engine: Engine) -> bool:
        """Whether a model had its turn and another one waits for memory."""
        now = self._clock.monotonic()
        return any(until > now for other, until in self._wanted.items() if other is not engine) and engine.has_run_for(
            TURN_SECONDS
        )

    async def make_room(self, engine: Engine, needed_bytes: int) -> None:
        """Reserve memory for a model, ending unused ones, the longest unused first.

        Raises BackendAwayError when those that are in use leave none.
        """
        self._wanted[engine] = self._clock.monotonic() + WANTED_SECONDS
        try:
            async with asyncio.timeout(ROOM_SECONDS), self._freed:
                while sum(other.reserved_bytes for other in self._engines) + needed_bytes > self._budget:
                    idle = [other for other in self._engines if other.reserved_bytes and other.is_idle]
                    if idle:
                        await min(idle, key=lambda other: other.used_at).stop(f"{engine.name} needs its memory")
                    else:
                        await self._freed.wait()
                engine.reserved_bytes = needed_bytes
                del self._wanted[engine]
        except TimeoutError:
            raise BackendAwayError(
                f"{engine.name} needs {readable(needed_bytes)} of memory, and models in use hold it"
            ) from None

    async def something_freed(self) -> None:
        """Wake who waits for memory."""
        if self._wanted:
            async with self._freed:
                self._freed.notify_all()
