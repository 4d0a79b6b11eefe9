"""The processes: a server, a worker, a look into the database. Everything starts here, and stops in order."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from slackwater.api.app import build_app
from slackwater.api.control import admin_handlers, serve_control
from slackwater.api.server import serve as serve_http
from slackwater.api.services import Limits, Services
from slackwater.api.spool import forget
from slackwater.blobs import LocalBlobs, Space
from slackwater.clock import SystemClock
from slackwater.config import Settings, load_pepper
from slackwater.documents import Documents, Fetcher, sniff
from slackwater.documents.sources import Sources
from slackwater.domain.events import Event
from slackwater.domain.ids import IdSource
from slackwater.flow.admit import Admit
from slackwater.flow.batches import Batches
from slackwater.flow.catalog import Catalog
from slackwater.flow.close import Closer
from slackwater.flow.dispatch import Dispatcher, DispatchOptions
from slackwater.flow.files import Files
from slackwater.flow.infer import Infer
from slackwater.flow.interactive import Interactive
from slackwater.flow.keys import Keys
from slackwater.flow.material import Material
from slackwater.flow.record import Recorder
from slackwater.flow.sweep import Sweeper, SweepOptions
from slackwater.identity import worker_identity
from slackwater.ingestion.process import Ingestion
from slackwater.main.connections import Connections, open_connections
from slackwater.main.stopping import OnStop, Stop
from slackwater.ports import Listener
from slackwater.store import Store
from slackwater.telemetry import Metrics, configure_logging

DRAIN_SECONDS = 30.0
"""How long what was sent may take to come back after SIGTERM (L4)."""

STORE_LOOK_SECONDS = 0.5

OnReady = Callable[[str, str | None], None]
"""Called with the base URL and, on a first start, the first key."""
OnFirstKey = Callable[[str], None]
"""Called with the first key as soon as it exists: a start that fails after this must not take it along."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Core:
    """What every process has: the store, the blobs, and the steps that write results."""

    settings: Settings
    worker_id: str
    clock: SystemClock
    ids: IdSource
    store: Store
    blobs: LocalBlobs
    space: Space
    listeners: list[Listener]
    connections: Connections
    metrics: Metrics
    material: Material
    recorder: Recorder
    dispatcher: Dispatcher
    sweeper: Sweeper

    @property
    def failure(self) -> Exception | None:
        """What stable storage could not write (D6); None while all is well."""
        return self.store.failure or self.blobs.failure

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self.listeners:
            listener(event)


async def serve(
    settings: Settings, *, on_ready: OnReady, on_stop: OnStop = lambda *_: None, on_first_key: OnFirstKey | None = None
) -> None:
    """Run the server until SIGTERM or SIGINT. Raises ConfigError, or OSError when the address cannot be had."""
    configure_logging(settings.log.format, settings.log.level)
    pepper = load_pepper(settings, os.environ)
    async with _core(settings) as core, Ingestion() as ingestion, asyncio.TaskGroup() as group:
        stop = Stop(lambda: on_stop(core.connections.in_flight, DRAIN_SECONDS))
        keys = Keys(core.store, core.clock, core.ids.new, pepper)
        bootstrap = await keys.bootstrap(os.environ.get("SLACKWATER_API_KEY") or None)
        if on_first_key is not None and bootstrap.secret is not None:
            on_first_key(bootstrap.secret)
        app = build_app(_services(core, keys, pepper, ingestion))
        running = [group.create_task(job) for job in _background(core, working=settings.worker.enabled)]

        def started(host: str, port: int) -> None:
            on_ready(settings.server.public_url or f"http://{_url_host(host)}:{port}", bootstrap.secret)

        async with serve_control(settings.control_socket, admin_handlers(keys)):
            own = settings.server
            server = group.create_task(
                serve_http(app, host=own.host, port=own.port, reuse_port=own.reuse_port, on_started=started)
            )
            await asyncio.wait([group.create_task(stop.asked.wait()), server], return_when=asyncio.FIRST_COMPLETED)
            stop.asked.set()
            app.stop()
            await _finish(core, running, stop, server)


async def work(settings: Settings, *, on_ready: Callable[[], None], on_stop: OnStop) -> None:
    """Run a worker without the API until SIGTERM or SIGINT. Raises ConfigError."""
    configure_logging(settings.log.format, settings.log.level)
    async with _core(settings) as core, asyncio.TaskGroup() as group:
        stop = Stop(lambda: on_stop(core.connections.in_flight, DRAIN_SECONDS))
        running = [group.create_task(job) for job in _background(core, working=True)]
        on_ready()
        await stop.asked.wait()
        await _finish(core, running, stop)


@asynccontextmanager
async def open_admin(settings: Settings) -> AsyncIterator[Keys]:
    """Open the database of a server that does not run, for administrative commands."""
    clock = SystemClock()
    ids = _ids(clock)
    pepper = load_pepper(settings, os.environ)
    store = await Store.open(_database_url(settings), clock=clock)
    try:
        yield Keys(store, clock, ids.new, pepper)
    finally:
        await store.close()


@asynccontextmanager
async def open_backends(settings: Settings) -> AsyncIterator[Connections]:
    """Open the configured backends alone, to try them out. Raises ConfigError."""
    configure_logging(settings.log.format, "error")
    clock = SystemClock()
    async with open_connections(settings, clock, _ids(clock)) as connections:
        yield connections


@asynccontextmanager
async def _core(settings: Settings) -> AsyncIterator[Core]:
    data = settings.storage.data_dir
    for directory in (data, settings.spool_dir, data / "workers"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = settings.storage
    space = Space(data, reserve_bytes=own.reserve_bytes, ballast_bytes=own.ballast_bytes)
    space.look()  # now: locks and databases take room to open
    clock = SystemClock.kept(data / "clock")
    ids = _ids(clock)
    async with AsyncExitStack() as stack:
        worker_id = stack.enter_context(worker_identity(data / "workers", ids))
        store = await Store.open(_database_url(settings), clock=clock)
        stack.push_async_callback(store.close)
        clock.advance_to(await store.high_water(clock.now()))
        await store.release_worker(worker_id)
        forget(settings.spool_dir, worker_id)
        connections = await stack.enter_async_context(open_connections(settings, clock, ids))
        sources = _sources(settings, clock)
        stack.push_async_callback(sources.close)
        yield _assemble(settings, clock, ids, store, space, connections, sources, worker_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Means:
    """What the steps of processing are built from."""

    settings: Settings
    clock: SystemClock
    ids: IdSource
    store: Store
    blobs: LocalBlobs
    space: Space
    connections: Connections
    material: Material
    worker_id: str
    emit: Listener
    metrics: Metrics


def _assemble(
    settings: Settings,
    clock: SystemClock,
    ids: IdSource,
    store: Store,
    space: Space,
    connections: Connections,
    sources: Sources,
    worker_id: str,
) -> Core:
    listeners: list[Listener] = []

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    blobs = LocalBlobs(settings.storage.data_dir / "blobs")
    means = _Means(
        settings=settings,
        clock=clock,
        ids=ids,
        store=store,
        blobs=blobs,
        space=space,
        connections=connections,
        material=Material(files=store, blobs=blobs, sources=sources, clock=clock),
        worker_id=worker_id,
        emit=emit,
        metrics=Metrics(
            in_flight=lambda: connections.in_flight,
            disk_free_bytes=lambda: space.free_bytes,
            disk_low=lambda: space.low,
            wall_drift_seconds=clock.wall_drift_seconds,
        ),
    )
    recorder = _recorder(means)
    sweeper = _sweeper(means, recorder)
    dispatcher = _dispatcher(means, recorder, sweeper.wake)
    listeners += [dispatcher.hear, sweeper.hear, means.metrics]
    return Core(
        settings=settings,
        worker_id=worker_id,
        clock=clock,
        ids=ids,
        store=store,
        blobs=means.blobs,
        space=space,
        listeners=listeners,
        connections=connections,
        metrics=means.metrics,
        material=means.material,
        recorder=recorder,
        dispatcher=dispatcher,
        sweeper=sweeper,
    )


def _sources(settings: Settings, clock: SystemClock) -> Sources:
    own = settings.documents
    fetcher = Fetcher(allow=own.fetch_allow) if own.fetch else None
    documents = Documents(clock=clock, processes=own.processes, pages_max=own.pages_max, fetcher=fetcher)
    return Sources(documents=documents, clock=clock)


def _recorder(means: _Means) -> Recorder:
    return Recorder(
        store=means.store,
        blobs=means.blobs,
        clock=means.clock,
        token=lambda: means.ids.new("flush"),
        directory=means.settings.storage.data_dir / "journals",
        emit=means.emit,
        disk_low=lambda: means.space.low,
    )


def _sweeper(means: _Means, recorder: Recorder) -> Sweeper:
    closer = Closer(
        store=means.store,
        blobs=means.blobs,
        clock=means.clock,
        recorder=recorder,
        worker_id=means.worker_id,
        lease_seconds=means.settings.worker.lease_seconds,
    )
    return Sweeper(
        store=means.store,
        blobs=means.blobs,
        clock=means.clock,
        closer=closer,
        options=SweepOptions(
            holder=means.worker_id,
            results_kept=timedelta(days=means.settings.batches.results_kept_days),
            spool=means.settings.spool_dir,
        ),
    )


def _dispatcher(means: _Means, recorder: Recorder, released: asyncio.Event) -> Dispatcher:
    return Dispatcher(
        store=means.store,
        blobs=means.blobs,
        clock=means.clock,
        ids=means.ids,
        recorder=recorder,
        infer=Infer(
            routes=means.connections.routes,
            backends=means.connections.backends,
            gates=means.connections.gates,
            material=means.material,
            clock=means.clock,
            ids=means.ids,
            emit=means.metrics,  # nobody else listens to single requests
        ),
        gates=means.connections.gates,
        options=DispatchOptions(
            worker_id=means.worker_id,
            lease_seconds=means.settings.worker.lease_seconds,
            grace_seconds=means.settings.worker.grace_seconds,
            released=released,
        ),
    )


def _services(core: Core, keys: Keys, pepper: bytes, ingestion: Ingestion) -> Services:
    settings, connections = core.settings, core.connections
    return Services(
        admit=Admit(
            store=core.store,
            blobs=core.blobs,
            ingestion=ingestion,
            clock=core.clock,
            ids=core.ids,
            emit=core.emit,
            expires_after=timedelta(seconds=settings.batches.expires_after_seconds),
        ),
        batches=Batches(store=core.store, blobs=core.blobs, clock=core.clock, emit=core.emit),
        files=Files(
            store=core.store,
            blobs=core.blobs,
            clock=core.clock,
            ids=core.ids,
            sniff=sniff,
            quota_bytes=settings.files.quota_bytes,
            downloadable=settings.files.downloadable,
        ),
        interactive=Interactive(
            routes=connections.routes,
            backends=connections.backends,
            gates=connections.gates,
            material=core.material,
            ledger=core.store,
            clock=core.clock,
        ),
        keys=keys,
        catalog=Catalog(
            routes=connections.routes, backends=connections.backends, clock=core.clock, since=core.clock.now()
        ),
        clock=core.clock,
        new_id=core.ids.new,
        spool_dir=settings.spool_dir,
        worker_id=core.worker_id,
        organization_id=str(uuid.UUID(bytes=hashlib.sha256(b"organization" + pepper).digest()[:16], version=4)),
        metrics=core.metrics.render,
        ready=lambda: core.failure is None,
        storage=lambda: core.space.state,
        stand_in=next((route.backend for route in connections.routes.routes if route.stand_in), None),
        public_url=settings.server.public_url,
        trusted_proxies=settings.server.trusted_proxies,
        cors_origins=settings.server.cors_origins,
        strict_version=settings.server.strict_version,
        strict_betas=settings.server.strict_betas,
        limits=Limits(file_bytes_max=settings.files.size_bytes_max),
    )


def _background(core: Core, *, working: bool) -> list[Coroutine[Any, Any, None]]:
    """Return what runs beside the API, or alone in a worker."""
    jobs = [core.recorder.run(), core.sweeper.run(), core.space.watch(core.clock), _fail_with_the_disk(core)]
    if working:
        jobs += [core.dispatcher.run(), core.store.listen(core.dispatcher.hear)]
    return jobs


async def _fail_with_the_disk(core: Core) -> None:
    """End the process when stable storage failed: the supervisor's restart looks through the database (D6)."""
    while (failure := core.failure) is None:
        await core.clock.sleep(STORE_LOOK_SECONDS)
    raise failure


async def _finish(core: Core, running: list[asyncio.Task[None]], stop: Stop, *answering: asyncio.Task[None]) -> None:
    """Stop in order: no new work, what was sent comes back and is committed, leases go back, callers get answers."""
    draining = core.dispatcher.drain(DRAIN_SECONDS, stop.hurried.is_set)
    await asyncio.gather(draining, *map(stop.spares, answering))
    for task in running:
        task.cancel()
    await asyncio.wait(running)


def _ids(clock: SystemClock) -> IdSource:
    return IdSource(clock.unix_milliseconds)


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _database_url(settings: Settings) -> str:
    if settings.storage.database == "sqlite":
        return f"sqlite:///{settings.storage.data_dir / 'slackwater.db'}"
    return settings.storage.database
