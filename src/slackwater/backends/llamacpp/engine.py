"""One model on this machine: its child runs while it is needed, is started again when it dies, and ends when unused."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from slackwater.backends.llamacpp import causes
from slackwater.backends.llamacpp.fitting import INTERACTIVE_SLOTS, CannotFitError, Fit, LocalModel, is_tiny
from slackwater.backends.llamacpp.gguf import GGUF, GGUFError, read_gguf, read_projector
from slackwater.backends.llamacpp.machine import why_not
from slackwater.backends.llamacpp.process import EngineProcess, Plan, StartFailedError
from slackwater.domain.errors import APIError, BackendAwayError
from slackwater.ports import Clock

BACKOFF_SECONDS: Final = 0.1
BACKOFF_SECONDS_MAX: Final = 30.0
DOUBLINGS_MAX: Final = 16
"""More of them mean the same wait, and at last a number too large to compute with."""
HEALTHY_SECONDS: Final = 60.0
"""A child that lived so long starts the count of failures anew when it ends."""
PATIENCE_SECONDS: Final = 1.0
"""A back-off that is over so soon is waited for; a longer one sends the work away."""
LOOK_SECONDS: Final = 10.0
"""How long a model that needs more memory than there is stays refused before the memory is looked at again."""
DOUBT_SECONDS: Final = 300.0
"""How long a child that seems to hang may take for one step of generation before it is ended."""

_log = structlog.get_logger(__name__)

Stamp = tuple[tuple[int, int], ...]
"""Size and time of change of a model's files: what must differ before a refused model is tried anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A model that answers now."""

    url: str
    """`http://127.0.0.1:PORT`."""
    api_key: str
    """Made for this start of the child."""
    context_tokens: int
    """Prompt and answer of one request together."""
    control_tokens: tuple[str, ...]
    """Texts that the model's tokenizer takes for control tokens wherever they stand."""
    own_slots: int | None
    """All its slots, where we choose them. With a cache beside them the engine must: asked for a slot that it has not
    let go of yet, it would empty that slot under the request in it."""
    vision: bool
    """Whether it takes images."""
    is_tiny: bool
    """Whether what is done around its steps takes as long as they do."""
    generation: int
    """Grows with every start of the child."""


class Neighbors(Protocol):
    """What an engine asks of all engines together."""

    @property
    def idle_seconds(self) -> float:
        """How long an unused model keeps its memory; 0: for ever."""

    def fit(self, gguf: GGUF, model: LocalModel) -> Fit:
        """Choose how a model runs. Raises CannotFitError."""

    def must_give_way(self, engine: "Engine") -> bool:
        """Whether a model had its turn and another one waits for memory."""

    async def make_room(self, engine: "Engine", needed_bytes: int) -> None:
        """Reserve memory for a model. Raises BackendAwayError when there is none now."""

    async def something_freed(self) -> None:
        """Wake who waits for memory."""


class Engine:
    """One model; its child runs while it is needed."""

    def __init__(self, model: LocalModel, neighbors: Neighbors, clock: Clock) -> None:
        self.name = model.name
        self.reserved_bytes = 0
        """Memory that is set aside for it; 0 while no child runs."""
        self.used_at = clock.monotonic()
        """When its last user left."""
        self._model = model
        self._neighbors = neighbors
        self._clock = clock
        self._gguf: GGUF | None = None
        self._fit: Fit | None = None
        self._refusal: str | None = None
        self._stamp: Stamp = ()
        self._looked_at = 0.0
        self._users = 0
        self._process: EngineProcess | None = None
        self._running: Running | None = None
        self._starting: asyncio.Task[Running] | None = None
        self._changing = asyncio.Lock()
        """Held while a child starts or ends, so that memory is not given away twice."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._doubted: set[EngineProcess] = set()
        self._started_at = 0.0
        self._generation = 0
        self._failures = 0
        self._blamed = 0
        """Starts in a row that failed in a way the files may have caused."""
        self._not_before = 0.0
        self._closed = False
        self._look()

    @property
    def slots(self) -> int:
        """Requests of batches that it generates at once; 1 for a file that cannot be used."""
        return self._fit.slots if self._fit is not None else 1

    @property
    def gguf(self) -> GGUF | None:
        """What the file says about itself; None when it cannot be read."""
        return self._gguf

    @property
    def fit(self) -> Fit | None:
        """How it runs here; None when it cannot."""
        return self._fit

    @property
    def model(self) -> LocalModel:
        """What the configuration says."""
        return self._model

    @property
    def refusal(self) -> str | None:
        """Why the model cannot be used as it is, in one sentence for operators; None if nothing is known against it."""
        return self._refusal

    @property
    def is_willing(self) -> bool:
        """Whether it answers or may be started now, as far as is known."""
        return self._running is not None or self._clock.monotonic() >= self._not_before

    @property
    def is_idle(self) -> bool:
        """Whether a child runs that nobody uses."""
        return self._process is not None and self._users == 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Running]:
        """Have the model answer while the block runs; its child is started when there is none.

        Raises APIError with one sentence for clients when the model can never be loaded as it is, and BackendAwayError
        when it cannot be right now.
        """
        self._users += 1
        try:
            yield await self._ready()
        finally:
            self._users -= 1
            if self._users == 0:
                self.used_at = self._clock.monotonic()
                await self._neighbors.something_freed()

    def has_run_for(self, seconds: float) -> bool:
        """Whether its child has been there for at least so long."""
        return self._process is not None and self._clock.monotonic() - self._started_at >= seconds

    def doubt(self, running: Running) -> None:
        """Look, in the background, whether a child in which a call made no progress still works; end it when not."""
        process = self._process
        if process is not None and running is self._running and process not in self._doubted:
            self._doubted.add(process)
            self._keep(self._examine(process))

    async def stop(self, why: str) -> None:
        """End the child; the next call starts another."""
        process, self._process, self._running = self._process, None, None
        if process is None:
            return
        async with self._changing:
            _log.info("a local model is unloaded", backend=self.name, why=why)
            try:
                await process.stop()
            finally:
                self.reserved_bytes = 0

    async def close(self) -> None:
        """End the child for good."""
        self._closed = True
        for task in [*self._tasks, *([self._starting] if self._starting else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, *([self._starting] if self._starting else []), return_exceptions=True)
        await self.stop("the server ends")

    async def _ready(self) -> Running:
        if self._process is not None and not self._process.is_alive:
            await self._watch(self._process)
        if self._running is not None and not self._neighbors.must_give_way(self):
            return self._running
        if self._running is not None:
            raise BackendAwayError(f"{self.name} gives its memory to a model that waits for it")
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._start_ended)
        return await asyncio.shield(self._starting)

    def _start_ended(self, starting: asyncio.Task[Running]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # whoever waited has it; when nobody did, it is in the log

    async def _start(self) -> Running:
        if self._closed:
            raise BackendAwayError(f"{self.name} is being closed")
        await self._back_off()
        plan = await self._plan()
        began = self._clock.monotonic()
        async with self._changing:
            await self._neighbors.make_room(self, plan.fit.memory_bytes)
            try:
                process = await EngineProcess.start(plan)
            except BaseException as error:
                self.reserved_bytes = 0
                if isinstance(error, StartFailedError):
                    await self._neighbors.something_freed()
                    raise self._not_started(error) from None
                raise
            return self._started(plan, process, began)

    def _started(self, plan: Plan, process: EngineProcess, began: float) -> Running:
        self._started_at = self.used_at = self._clock.monotonic()
        self._generation += 1
        self._blamed = 0
        self._process = process
        self._running = Running(
            url=process.url,
            api_key=process.api_key,
            context_tokens=plan.fit.context_tokens,
            control_tokens=plan.gguf.control_tokens,
            own_slots=None if self._model.cache_mib else plan.fit.slots + INTERACTIVE_SLOTS,
            vision=self._model.mmproj is not None,
            is_tiny=is_tiny(plan.gguf, self._model),
            generation=self._generation,
        )
        self._keep(self._watch(process))
        if self._neighbors.idle_seconds > 0:
            self._keep(self._stop_when_idle(process))
        _log.info(
            "a local model is loaded",
            backend=self.name,
            path=str(self._model.path),
            seconds=round(self._started_at - began, 3),
            slots=plan.fit.slots,
            context_tokens=plan.fit.context_tokens,
            threads=plan.fit.threads,
            memory_mib=plan.fit.memory_bytes >> 20,
        )
        return self._running

    def _not_started(self, error: StartFailedError) -> Exception:
        _log.error("a local model cannot be loaded", backend=self.name, error=str(error))
        away = self._failed(error.failure.sentence)
        if error.failure.tries is None:
            return away
        self._blamed += 1
        if self._blamed < error.failure.tries:
            return away
        self._refusal = error.failure.sentence
        return self._refused(self._refusal)

    def _refused(self, sentence: str | None) -> APIError:
        """Tell clients, with the model's name where its files are named: where those lie is the operator's business."""
        told = sentence or ""
        parts = self._gguf.parts if self._gguf is not None else ()
        named = dict.fromkeys((self._model.path, *parts), self.name)
        if self._model.mmproj is not None:
            named[self._model.mmproj] = f"the projector of {self.name}"
        for path in sorted(named, key=lambda path: len(str(path)), reverse=True):
            told = told.replace(str(path), named[path])
        for path in named:
            told = told.replace(f"{path.parent}{os.sep}", "") if path.parent.name else told
        return APIError(told, should_retry=False)

    def _failed(self, reason: str) -> BackendAwayError:
        """Count a failure; the next start waits twice as long."""
        wait = min(BACKOFF_SECONDS * 2 ** min(self._failures, DOUBLINGS_MAX), BACKOFF_SECONDS_MAX)
        self._failures += 1
        self._not_before = self._clock.monotonic() + wait
        return BackendAwayError(reason, retry_after_seconds=wait)

    async def _back_off(self) -> None:
        wait = self._not_before - self._clock.monotonic()
        if wait > PATIENCE_SECONDS:
            raise BackendAwayError(f"{self.name} failed and is started again later", retry_after_seconds=wait)
        if wait > 0:
            await self._clock.sleep(wait)

    async def _plan(self) -> Plan:
        """Look at the files and the machine again where that can change anything. Raises APIError."""
        too_large = self._gguf is not None and self._fit is None
        looked_before = self._clock.monotonic() - self._looked_at
        if self._stamp != await asyncio.to_thread(_stamp, self._model) or (too_large and looked_before > LOOK_SECONDS):
            await asyncio.to_thread(self._look)
            self._failures = self._blamed = 0
            if self._refusal is not None:
                _log.error("a local model cannot be used", backend=self.name, error=self._refusal)
        refusal = self._refusal or await asyncio.to_thread(why_not)
        if refusal is not None or self._gguf is None or self._fit is None:
            raise self._refused(refusal)
        return Plan(model=self._model, gguf=self._gguf, fit=self._fit)

    def _look(self) -> None:
        """Read the files' headers."""
        self._stamp = _stamp(self._model)
        self._looked_at = self._clock.monotonic()
        self._gguf = self._fit = self._refusal = None
        try:
            self._gguf = read_gguf(self._model.path)
            if self._model.mmproj is not None:
                read_projector(self._model.mmproj)
            self._fit = self._neighbors.fit(self._gguf, self._model)
        except (GGUFError, CannotFitError) as error:
            self._refusal = str(error)

    async def _watch(self, process: EngineProcess) -> None:
        """Note the end of a child that nobody asked for."""
        status = await process.ended()
        if self._process is not process:
            return
        self._process = self._running = None
        self.reserved_bytes = 0
        if self._clock.monotonic() - self._started_at >= HEALTHY_SECONDS:
            self._failures = 0
        away = self._failed(causes.of_end(status, process.log()))
        _log.error("a local model's engine ended", backend=self.name, why=away.reason)
        await self._neighbors.something_freed()

    async def _examine(self, process: EngineProcess) -> None:
        try:
            if not await process.answers(within_seconds=DOUBT_SECONDS) and self._process is process:
                _log.error("a local model's engine hangs and is ended", backend=self.name)
                await process.stop()
        finally:
            self._doubted.discard(process)

    async def _stop_when_idle(self, process: EngineProcess) -> None:
        """Watch a child for its whole life; end it when nobody has used it for the idle time."""
        idle = self._neighbors.idle_seconds
        while self._process is process:
            wait = self.used_at + idle - self._clock.monotonic() if self.is_idle else idle
            if wait <= 0:
                await self.stop("nobody used it")
                await self._neighbors.something_freed()
            else:
                await self._clock.sleep(wait)

    def _keep(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _stamp(model: LocalModel) -> Stamp:
    """Return what tells whether a model's files changed; parts of a split model are replaced together."""
    return tuple(_changed(path) for path in (model.path, model.mmproj) if path is not None)


def _changed(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, 0)
    return (status.st_size, status.st_mtime_ns)
