"""One worker in this process, over a real SQLite store and real files, with a backend that does as the test says."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from slackwater.blobs import LocalBlobs
from slackwater.clock import SystemClock
from slackwater.documents import Documents
from slackwater.documents.sources import Sources
from slackwater.domain.batch import Batch, Terms
from slackwater.domain.events import Event
from slackwater.domain.ids import IdSource
from slackwater.domain.model import Route, Routes
from slackwater.domain.pricing import Price
from slackwater.flow.admit import Admit, Origin
from slackwater.flow.batches import Batches
from slackwater.flow.close import Closer
from slackwater.flow.dispatch import Dispatcher, DispatchOptions
from slackwater.flow.gate import Gate
from slackwater.flow.infer import Infer
from slackwater.flow.material import Material
from slackwater.flow.record import Recorder
from slackwater.flow.sweep import Sweeper, SweepOptions
from slackwater.ingestion.process import Ingestion
from slackwater.ports import Call
from slackwater.store import Store

T = TypeVar("T")
WORKSPACE = "wrkspc_test"
_clock = SystemClock()
TERMS = Terms(version="2023-06-01")
Answer = Callable[[Call], Awaitable[dict[str, Any]]]


def message(text: str = "hi", **usage: int) -> dict[str, Any]:
    """Return a checked Message."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, **usage},
    }


async def echo(call: Call) -> dict[str, Any]:
    """Answer with what was asked."""
    return message(str(call.params["messages"][-1]["content"]))


class ScriptedBackend:
    """Answers as `answer` says and remembers who called when."""

    def __init__(self, answer: Answer = echo) -> None:
        self.answer = answer
        self.calls: list[tuple[str, float]] = []
        self.natively: frozenset[str] = frozenset()
        self._clock = SystemClock()

    @property
    def name(self) -> str:
        """The configured name."""
        return "scripted"

    @property
    def asks_for_counts(self) -> bool:
        """Not a server."""
        return False

    def counts(self) -> Counter[str]:
        """Return how often each request was sent."""
        return Counter(name for name, _ in self.calls)

    async def reads(self) -> frozenset[str]:
        """Take what `natively` says."""
        return self.natively

    async def infer(self, call: Call) -> dict[str, Any]:
        """Note the call and answer it."""
        self.calls.append((call.custom_id or "", self._clock.monotonic()))
        return await self.answer(call)

    async def stream(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        """Not scripted."""
        yield {"type": "message_stop", "call": call.upstream}

    async def count_tokens(self, call: Call) -> int | None:
        """No count."""
        return None if call.upstream else 0

    async def models(self) -> list[str]:
        """Offer one model."""
        return ["m"]

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Worker:
    """Everything behind the HTTP edge, by its parts."""

    store: Store
    blobs: LocalBlobs
    clock: SystemClock
    directory: Path
    backend: ScriptedBackend
    admit: Admit
    ingestion: Ingestion
    batches: Batches
    recorder: Recorder
    dispatcher: Dispatcher
    closer: Closer
    sweeper: Sweeper
    gate: Gate
    sources: Sources
    events: list[Event] = field(default_factory=list)

    async def create(self, requests: dict[str, dict[str, Any]], **origin: Any) -> Batch:
        """Admit a batch of custom_id → params (what is missing in params is filled in)."""
        body = json.dumps(
            {"requests": [{"custom_id": name, "params": _params(name, more)} for name, more in requests.items()]}
        )
        return await self.send(body.encode(), **origin)

    async def send(self, body: bytes, **origin: Any) -> Batch:
        """Admit a body."""
        spool = self.directory / f"body-{len(list(self.directory.iterdir()))}"
        spool.write_bytes(body)
        facts = {
            "workspace_id": WORKSPACE,
            "key_id": "apikey_1",
            "terms": TERMS,
            "digest": sha256(body).digest(),
            **origin,
        }
        try:
            return await self.admit(spool, Origin(**facts))
        finally:
            spool.unlink()

    async def ended(self, batch: Batch, *, deadline_seconds: float = 20) -> Batch:
        """Wait for a batch's end."""
        return await eventually(lambda: self._ended(batch), deadline_seconds=deadline_seconds)

    async def _ended(self, batch: Batch) -> Batch | None:
        found = await self.batches.retrieve(batch.workspace_id, batch.id)
        return found if found.ended_at else None

    async def lines(self, batch: Batch) -> dict[str, dict[str, Any]]:
        """Return the results of an ended batch by custom_id; each is there once (S1)."""
        delivery = await self.batches.results(batch.workspace_id, batch.id)
        data = b"".join([piece async for piece in delivery.body()])
        assert len(data) == delivery.length
        rows = [json.loads(line) for line in data.splitlines()]
        found = {row["custom_id"]: row["result"] for row in rows}
        assert len(found) == len(rows) == batch.size
        return found


def _params(name: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": f"this is {name}"}], **more}


async def eventually(look: Callable[[], Awaitable[T | None]], *, deadline_seconds: float = 20) -> T:
    """Look until there is something; raise TimeoutError after the deadline."""
    async with asyncio.timeout(deadline_seconds):
        while True:
            found = await look()
            if found:
                return found
            await _clock.sleep(0.005)


async def until(look: Callable[[], object], *, deadline_seconds: float = 20) -> None:
    """Wait until something is true."""

    async def asked() -> object:
        return look()

    await eventually(asked, deadline_seconds=deadline_seconds)


@asynccontextmanager
async def working(  # noqa: PLR0913  # each is one thing a test may want otherwise
    directory: Path,
    answer: Answer = echo,
    *,
    expires_after: timedelta = timedelta(hours=24),
    lease_seconds: float = 30,
    grace_seconds: float = 60,
    in_flight: int = 8,
    slots: int | None = None,
    routes: tuple[Route, ...] = (),
    running: bool = True,
    clock: SystemClock | None = None,
) -> AsyncIterator[Worker]:
    """Run a worker; a second one on the same directory is the same machine after a restart."""
    worker = await _build(
        directory,
        answer,
        expires_after,
        lease_seconds,
        grace_seconds,
        (in_flight, slots),
        routes,
        clock or SystemClock(),
    )
    async with worker.ingestion:
        jobs = [worker.recorder.run(), worker.sweeper.run(), worker.dispatcher.run()]
        tasks = [asyncio.ensure_future(job) for job in jobs] if running else []
        if not running:
            for job in jobs:
                job.close()
        try:
            yield worker
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            await worker.dispatcher.drain(0)
            await worker.sources.close()
            await worker.store.close()


async def _build(  # see `working`
    directory: Path,
    answer: Answer,
    expires_after: timedelta,
    lease_seconds: float,
    grace_seconds: float,
    room: tuple[int, int | None],
    routes: tuple[Route, ...],
    clock: SystemClock,
) -> Worker:
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    store = await Store.open(f"sqlite:///{directory / 'slackwater.db'}", clock=clock)
    clock.advance_to(await store.high_water(clock.now()))
    await store.release_worker("worker_1")
    ids = IdSource(lambda: int(clock.now().timestamp() * 1000))
    blobs, backend, events = LocalBlobs(directory / "blobs"), ScriptedBackend(answer), list[Event]()
    gates = {"scripted": Gate("scripted", ceiling=room[0], adaptive=False, clock=clock, slots=room[1])}
    price = Price(input_nanousd_per_mtok=1_000_000_000, output_nanousd_per_mtok=5_000_000_000)
    table = Routes(routes=routes or (Route(id="m", backend="scripted", price=price),))
    listeners: list[Callable[[Event], None]] = [events.append]

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    recorder = Recorder(
        store=store,
        blobs=blobs,
        clock=clock,
        token=lambda: ids.new("flush"),
        directory=directory / "journals",
        emit=emit,
    )
    closer = Closer(
        store=store, blobs=blobs, clock=clock, recorder=recorder, worker_id="worker_1", lease_seconds=lease_seconds
    )
    sweeper = Sweeper(
        store=store,
        blobs=blobs,
        clock=clock,
        closer=closer,
        options=SweepOptions(holder="worker_1", results_kept=timedelta(days=29), spool=spool),
    )
    sources = Sources(documents=Documents(clock=clock), clock=clock)
    dispatcher = Dispatcher(
        store=store,
        blobs=blobs,
        clock=clock,
        ids=ids,
        recorder=recorder,
        infer=Infer(
            routes=table,
            backends={"scripted": backend},
            gates=gates,
            material=Material(files=store, blobs=blobs, sources=sources, clock=clock),
            clock=clock,
            ids=ids,
            emit=emit,
        ),
        gates=gates,
        options=DispatchOptions(
            worker_id="worker_1", lease_seconds=lease_seconds, grace_seconds=grace_seconds, released=sweeper.wake
        ),
    )
    listeners += [dispatcher.hear, sweeper.hear]
    ingestion = Ingestion()
    return Worker(
        store=store,
        blobs=blobs,
        clock=clock,
        directory=spool,
        backend=backend,
        admit=Admit(
            store=store,
            blobs=blobs,
            ingestion=ingestion,
            clock=clock,
            ids=ids,
            emit=emit,
            expires_after=expires_after,
        ),
        ingestion=ingestion,
        batches=Batches(store=store, blobs=blobs, clock=clock, emit=emit),
        recorder=recorder,
        dispatcher=dispatcher,
        closer=closer,
        sweeper=sweeper,
        gate=gates["scripted"],
        sources=sources,
        events=events,
    )
