"""Steps that do as the tests say, a clock that moves by hand, and a real server to talk to over a socket."""
# ruff: noqa: D101, ASYNC240  # a fake does what its port says; it takes anything; its files are tiny

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2

from slackwater.api.app import App, build_app
from slackwater.api.connection import Patience
from slackwater.api.server import PATIENCE, serve
from slackwater.api.services import Limits, Services
from slackwater.domain.batch import Batch, RequestCounts, Terms
from slackwater.domain.errors import InvalidRequestError, NotFoundError
from slackwater.domain.file import File, missing
from slackwater.domain.result import Charge, Usage
from slackwater.domain.workspace import APIKey
from slackwater.ports import FilePage, Page

KEY = "slw_test_key"
WORKSPACE = "wrkspc_01Mine"
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
CREATED = datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)
DEADLINE_SECONDS = 10.0


class ManualClock:
    """A Clock that only moves when told to."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        return CREATED + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._seconds + seconds, woken))
        await woken.wait()

    @property
    def sleepers(self) -> int:
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        for due, woken in self._sleepers:
            if due <= self._seconds:
                woken.set()
        self._sleepers = [(due, woken) for due, woken in self._sleepers if due > self._seconds]


def make_batch(batch_id: str = "msgbatch_01A", **changes: Any) -> Batch:
    """Return a batch of three in progress."""
    batch = Batch(
        id=batch_id,
        workspace_id=WORKSPACE,
        terms=Terms(version="2023-06-01"),
        size=3,
        processing_status="in_progress",
        tally=RequestCounts(processing=3),
        created_at=CREATED,
        expires_at=CREATED + timedelta(hours=24),
        requests_key="requests/x",
    )
    return replace(batch, **changes)


def make_ended(batch_id: str = "msgbatch_01A", **changes: Any) -> Batch:
    """Return a batch of three that has ended."""
    ended: dict[str, Any] = {
        "processing_status": "ended",
        "tally": RequestCounts(succeeded=2, errored=1),
        "ended_at": CREATED + timedelta(minutes=1),
    }
    return make_batch(batch_id, **{**ended, **changes})


@dataclass
class FakeKeys:
    key: APIKey = field(
        default_factory=lambda: APIKey(
            id="apikey_01K", workspace_id=WORKSPACE, name="k", lookup="l", digest=b"", hint="_key", created_at=CREATED
        )
    )
    asked: list[str] = field(default_factory=list)

    async def authenticate(self, secret: str) -> APIKey | None:
        self.asked.append(secret)
        return self.key if secret == KEY else None


@dataclass
class FakeAdmit:
    spools: list[Path] = field(default_factory=list)
    origins: list[Any] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    ahead_of: list[int] = field(default_factory=list)
    """The lengths of bodies that could be read while they arrived."""
    error: Exception | None = None
    first: Callable[[], Awaitable[None]] | None = None
    """What it does before it takes anything in."""

    @asynccontextmanager
    async def ahead(self, spool: Path, length: int) -> AsyncIterator[None]:
        assert spool.stat().st_size == length
        self.ahead_of.append(length)
        yield

    @property
    def ingestion(self) -> "FakeAdmit":
        return self

    async def __call__(self, spool: Path, origin: Any, ingesting: None) -> Batch:
        assert ingesting is None
        self.spools.append(spool)
        self.origins.append(origin)
        if self.first is not None:
            await self.first()
        body = spool.read_bytes()
        self.modes.append(spool.stat().st_mode & 0o777)
        assert origin.digest == sha256(body).digest()
        if self.error is not None:
            raise self.error
        self.bodies.append(body)
        return make_batch()


def make_file(file_id: str = "file_01A", **changes: Any) -> File:
    """Return a small PDF."""
    file = File(
        id=file_id,
        workspace_id=WORKSPACE,
        filename="contract.pdf",
        mime_type="application/pdf",
        size_bytes=9,
        digest=sha256(b"%PDF-1.7\n").digest(),
        blob_key="files/x",
        created_at=CREATED,
    )
    return replace(file, **changes)


@dataclass
class FakeDelivery:
    content: bytes = b""
    etag: str = '"msgbatch_01A.1"'
    piece_bytes: int = 10
    fails_after: int | None = None
    """Bytes after which the source breaks."""
    ends_after: int | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[int, int | None]] = field(default_factory=list)
    yielded_bytes: int = 0

    @property
    def length(self) -> int:
        return len(self.content)

    async def body(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.asked.append((offset, length))
        stop = self.length if length is None else offset + length
        try:
            for start in range(offset, stop, self.piece_bytes):
                if self.fails_after is not None and start >= self.fails_after:
                    message = "/secret/path: bytes are missing"
                    raise OSError(message)
                if self.ends_after is not None and start >= self.ends_after:
                    return
                piece = self.content[start : min(stop, start + self.piece_bytes)]
                self.yielded_bytes += len(piece)
                yield piece
        finally:
            self.closed.set()


@dataclass
class FakeBatches:
    batches: dict[str, Batch] = field(default_factory=dict)
    delivery: FakeDelivery = field(default_factory=FakeDelivery)
    pages: list[dict[str, Any]] = field(default_factory=list)
    has_more: bool = False
    charges: list[Charge] = field(default_factory=list)
    error: Exception | None = None
    asked: int = 0

    async def retrieve(self, workspace_id: str, batch_id: str) -> Batch:
        self.asked += 1
        if self.error is not None:
            raise self.error
        batch = self.batches.get(batch_id)
        if batch is None or batch.workspace_id != workspace_id:
            raise NotFoundError
        return batch

    async def page(self, workspace_id: str, **asked: Any) -> Page:
        self.pages.append(asked)
        if self.error is not None:
            raise self.error
        mine = tuple(batch for batch in self.batches.values() if batch.workspace_id == workspace_id)
        return Page(items=mine, has_more=self.has_more)

    async def cancel(self, workspace_id: str, batch_id: str) -> Batch:
        batch = await self.retrieve(workspace_id, batch_id)
        if batch.ended_at is not None:
            message = "Message batch has already ended."
            raise InvalidRequestError(message, should_retry=False)
        self.batches[batch_id] = replace(batch, processing_status="canceling", cancel_initiated_at=CREATED)
        return self.batches[batch_id]

    async def delete(self, workspace_id: str, batch_id: str) -> str:
        batch = await self.retrieve(workspace_id, batch_id)
        if batch.ended_at is None:
            message = "Message batch has not ended."
            raise InvalidRequestError(message, should_retry=False)
        del self.batches[batch_id]
        return batch_id

    async def results(self, workspace_id: str, batch_id: str) -> FakeDelivery:
        batch = await self.retrieve(workspace_id, batch_id)
        if batch.ended_at is None:
            raise NotFoundError
        return self.delivery

    async def progress(self, workspace_id: str, batch_id: str) -> Any:
        return SimpleNamespace(batch=await self.retrieve(workspace_id, batch_id), charges=self.charges)


@dataclass
class FakeContent(FakeDelivery):
    file: File = field(default_factory=make_file)


@dataclass
class FakeFiles:
    files: dict[str, File] = field(default_factory=dict)
    """Newest first."""
    uploads: list[dict[str, Any]] = field(default_factory=list)
    """What each upload was told, and `data`."""
    modes: list[int] = field(default_factory=list)
    pages: list[dict[str, Any]] = field(default_factory=list)
    has_more: bool = False
    pinned_by: tuple[str, ...] = ()
    downloadable: bool = False
    delivery: FakeContent = field(default_factory=FakeContent)
    error: Exception | None = None

    async def upload(self, path: Path, **told: Any) -> File:
        data = path.read_bytes()
        self.modes.append(path.stat().st_mode & 0o777)
        path.unlink()
        assert (told["digest"], told["length"]) == (sha256(data).digest(), len(data))
        if self.error is not None:
            raise self.error
        self.uploads.append({**told, "data": data})
        return make_file(size_bytes=len(data), filename=told["filename"] or "unnamed.pdf")

    async def retrieve(self, workspace_id: str, file_id: str) -> File:
        if self.error is not None:
            raise self.error
        file = self.files.get(file_id)
        if file is None or file.workspace_id != workspace_id:
            raise missing(file_id)
        return file

    async def page(self, workspace_id: str, **asked: Any) -> FilePage:
        self.pages.append(asked)
        if self.error is not None:
            raise self.error
        mine = tuple(file for file in self.files.values() if file.workspace_id == workspace_id)
        return FilePage(items=mine, has_more=self.has_more)

    async def by_ids(self, workspace_id: str, file_ids: list[str]) -> list[File]:
        self.pages.append({"ids": file_ids})
        return [file for file in self.files.values() if file.id in file_ids and file.workspace_id == workspace_id]

    async def content(self, workspace_id: str, file_id: str) -> FakeContent:
        self.delivery.file = await self.retrieve(workspace_id, file_id)
        if not self.downloadable:
            message = "File is not downloadable"
            raise InvalidRequestError(message, error_code="file_not_downloadable")
        return self.delivery

    async def delete(self, workspace_id: str, file_id: str) -> tuple[str, tuple[str, ...]]:
        await self.retrieve(workspace_id, file_id)
        del self.files[file_id]
        return file_id, self.pinned_by


MESSAGE = {"id": "msg_01", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
START = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
STOP = {"type": "message_stop"}


@dataclass
class FakeInteractive:
    events: list[Any] = field(default_factory=lambda: [START, DELTA, STOP])
    """Events to yield; an exception is raised, an asyncio.Event waited for."""
    waits_for: asyncio.Event | None = None
    error: Exception | None = None
    counted_by: str = "backend"
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    canceled: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)
    callers: list[Any] = field(default_factory=list)

    def check(self, body: bytes, caller: Any) -> Any:
        self.bodies.append(body)
        self.callers.append(caller)
        try:
            params = json.loads(body)
        except ValueError as error:
            message = f"The request body is not valid JSON: {error}"
            raise InvalidRequestError(message) from error
        return SimpleNamespace(checked=SimpleNamespace(stream=params.get("stream", False)))

    async def create(self, _checked: Any, _caller: Any) -> dict[str, Any]:
        self.begun.set()
        try:
            if self.waits_for is not None:
                await self.waits_for.wait()
        except asyncio.CancelledError:
            self.canceled.set()
            raise
        if self.error is not None:
            raise self.error
        return MESSAGE

    async def stream(self, _checked: Any, _caller: Any) -> AsyncIterator[dict[str, Any]]:
        self.begun.set()
        try:
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, asyncio.Event):
                    await event.wait()
                else:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.canceled.set()
            raise

    async def count_tokens(self, body: bytes, _caller: Any) -> tuple[int, str]:
        self.check(body, _caller)
        if self.error is not None:
            raise self.error
        return 2095, self.counted_by


@dataclass
class FakeCatalog:
    ids: list[str] = field(default_factory=lambda: ["claude-haiku", "Qwen/Qwen2.5:7b", "small"])

    async def models(self) -> list[Any]:
        return [self._info(model_id) for model_id in self.ids]

    async def model(self, model_id: str) -> Any:
        if model_id not in self.ids:
            message = f"model: {model_id}"
            raise NotFoundError(message)
        return self._info(model_id)

    def _info(self, model_id: str) -> Any:
        return SimpleNamespace(
            id=model_id,
            display_name=model_id,
            created_at=CREATED,
            max_input_tokens=32768,
            max_tokens=None,
            vision=model_id != "small",
        )


@dataclass
class World:
    """An API over fakes."""

    services: Services
    admit: FakeAdmit
    batches: FakeBatches
    files: FakeFiles
    interactive: FakeInteractive
    keys: FakeKeys
    catalog: FakeCatalog
    clock: ManualClock
    ready: list[bool]
    app: App

    def reconfigure(self, **changes: Any) -> None:
        """Change what the API was told, keeping the steps."""
        self.services = replace(self.services, **changes)
        self.app = build_app(self.services)

    def client(self, headers: dict[str, str] | None = None, **options: Any) -> httpx2.AsyncClient:
        """Return a client that calls the application in process, with a valid key unless told otherwise."""
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app, raise_app_exceptions=True),
            headers=HEADERS if headers is None else headers,
            **{"base_url": "http://testserver", **options},
        )

    @asynccontextmanager
    async def server(self, patience: Patience = PATIENCE) -> AsyncIterator["Address"]:
        """Run a real server on a free port."""
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            serve(
                self.app,
                host="127.0.0.1",
                port=0,
                on_started=lambda _host, port: started.set_result(port),
                graceful_seconds=2,
                patience=patience,
            )
        )
        try:
            await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
            yield Address(port=await started, task=task)
        finally:
            self.app.stop()
            await asyncio.wait({task})


@dataclass
class Address:
    """A running server."""

    port: int
    task: "asyncio.Task[None]"

    async def connect(self) -> "Wire":
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return Wire(reader, writer)


@dataclass
class Wire:
    """A connection spoken to byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read a status line and headers."""
        text = await self.until(b"\r\n\r\n")
        lines = text.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), headers

    async def until(self, mark: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(mark), DEADLINE_SECONDS)

    async def exactly(self, length: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(length), DEADLINE_SECONDS)

    async def rest(self) -> bytes:
        """Read until the server closes."""
        return await asyncio.wait_for(self.reader.read(), DEADLINE_SECONDS)

    async def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Vanish without a goodbye."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


def make_world(tmp_path: Path, **options: Any) -> World:
    """Build an API over fakes."""
    numbers = count(1)
    ready = [True]
    parts: dict[str, Any] = {
        "admit": FakeAdmit(),
        "batches": FakeBatches(),
        "files": FakeFiles(),
        "interactive": FakeInteractive(),
        "keys": FakeKeys(),
        "catalog": FakeCatalog(),
        "clock": ManualClock(),
    }
    new_id: Callable[[str], str] = lambda prefix: f"{prefix}_01{next(numbers):022}"  # noqa: E731  # one expression
    services = Services(
        **parts,
        new_id=new_id,
        spool_dir=tmp_path,
        worker_id="worker_1",
        organization_id="7a1c5bd0-0000-4000-8000-000000000001",
        metrics=lambda: b"# HELP x\nx 1\n",
        ready=lambda: ready[0],
        **{"public_url": "https://slackwater.example/base", **options},
    )
    return World(services=services, **parts, ready=ready, app=build_app(services))


async def eventually(event: asyncio.Event) -> None:
    """Wait for something that must happen, with a deadline."""
    await asyncio.wait_for(event.wait(), DEADLINE_SECONDS)


SMALL = Limits(batch_body_bytes_max=1000, message_body_bytes_max=500, file_bytes_max=2000)
USAGE = Usage(input_tokens=10, output_tokens=3, cache_read_input_tokens=5)
