"""A machine: its directory, its clock, and the server process on it, started and restarted as a supervisor would."""

import asyncio
import time
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulation.backend import Endpoint
from simulation.loop import PROCESS, Process
from simulation.storage import TroubledBlobs
from slackwater.clock import SystemClock
from slackwater.documents import Documents
from slackwater.documents.sources import Sources
from slackwater.domain.batch import Lease
from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.events import Event
from slackwater.domain.ids import IdSource
from slackwater.domain.model import Route, Routes
from slackwater.domain.pricing import Price
from slackwater.flow.admit import Admit
from slackwater.flow.batches import Batches
from slackwater.flow.close import Closer
from slackwater.flow.dispatch import Dispatcher, DispatchOptions
from slackwater.flow.gate import Gate
from slackwater.flow.infer import Infer
from slackwater.flow.material import Material
from slackwater.flow.record import Recorder
from slackwater.flow.sweep import Sweeper, SweepOptions
from slackwater.ingestion.process import Ingestion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEASE_SECONDS = 6.0
GRACE_SECONDS = 3.0
DRAIN_SECONDS = 2.0
RESULTS_KEPT = timedelta(days=29)
EPOCH = datetime(2020, 3, 1, 12, tzinfo=UTC)
"""When the world begins. Files that nobody gave a time are younger than that: they lie in the real present."""
ROUTES = Routes(
    routes=tuple(
        Route(
            id=model, backend=backend, price=Price(input_nanousd_per_mtok=dollars, output_nanousd_per_mtok=5 * dollars)
        )
        for model, backend, dollars in (("sonnet", "near", 3_000_000_000), ("opus", "far", 15_000_000_000))
    )
)


class Times:
    """Stands in for the module `time` in the one place that asks it: each machine has clocks of its own."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def time(self) -> float:
        """Return what the wall clock of the machine shows, Unix seconds."""
        server = PROCESS.get()
        offset = server.machine.wall_offset if isinstance(server, Server) else 0.0
        return EPOCH.timestamp() + asyncio.get_running_loop().time() + offset

    def clock_gettime(self, _: int) -> float:
        """Return seconds since the machine was booted."""
        server = PROCESS.get()
        return asyncio.get_running_loop().time() + (server.machine.booted if isinstance(server, Server) else 0.0)


class Machine:
    """A place where one process after the other runs on the same disk."""

    def __init__(self, name: str, world: Any, *, wall_offset: float) -> None:
        self.name = name
        self.world = world
        self.directory: Path = world.directory / name
        self.wall_offset = wall_offset
        """Seconds that its wall clock is ahead."""
        self.booted = 1_000.0 * len(world.machines)
        self.worker_id = f"worker_{name}"
        self.lives = 0
        self.server: Server | None = None
        for part in ("spool", "journals"):
            (self.directory / part).mkdir(parents=True)

    @property
    def up(self) -> "Server | None":
        """The process, if it runs and has started."""
        return self.server if self.server is not None and self.server.alive and self.server.started else None

    def lose_its_time(self) -> None:
        """Be switched off, and on again with a wall clock that stands in the past."""
        self.wall_offset -= 90_000
        (self.directory / "clock").unlink(missing_ok=True)

    def boot(self) -> None:
        """Start a process."""
        self.lives += 1
        self.server = Server(self)
        self.world.servers.append(self.server)
        self.server.main = self.server.start(self.server.live())
        self.server.main.add_done_callback(self._ended, context=Context())

    def _ended(self, main: asyncio.Task[None]) -> None:
        error = None if main.cancelled() else main.exception()
        if error is not None:
            self.world.breach("S8", f"the process on {self.name} ended: {error!r}")


class LeaseWitness:
    """The store as a worker sees it, with somebody who watches what it is given."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the store does."""
        return getattr(self._world.store, name)

    async def lease(self, batch_id: str, model: str, **terms: Any) -> list[Lease]:
        """Lease shards."""
        asked_at = self._world.now
        leases: list[Lease] = await self._world.store.lease(batch_id, model, **terms)
        self._world.rules.leased(batch_id, asked_at, leases)
        return leases


class Server(Process):
    """One life of a server process with its worker, put together as the composition root does it."""

    main: asyncio.Task[None]
    admit: Admit
    batches: Batches
    recorder: Recorder
    dispatcher: Dispatcher
    sweeper: Sweeper
    clock: SystemClock

    def __init__(self, machine: Machine) -> None:
        super().__init__(f"{machine.name}.{machine.lives}")
        self.machine = machine
        self.world = machine.world
        self.started = False
        self.hits: list[tuple[float, float]] = []
        """When this process was kept from its work, from and to: what it had in hand then may be asked again."""
        self.calls: set[asyncio.Future[Any]] = set()
        """Answers that clients wait for."""

    async def live(self) -> None:
        """Run until killed or told to stop."""
        self.clock = SystemClock.kept(self.machine.directory / "clock")
        while True:
            try:
                self.clock.advance_to(await self.world.store.high_water(self.clock.now()))
                await self.world.store.release_worker(self.machine.worker_id)
                break
            except StoreUnavailableError:  # the supervisor tries again
                await self.clock.sleep(0.5)
        self._assemble()
        self.started = True
        async with asyncio.TaskGroup() as group:
            for job in (self.recorder.run(), self.sweeper.run(), self.dispatcher.run()):
                group.create_task(job)

    async def stop(self) -> None:
        """Do as on SIGTERM: what was sent comes back, leases go back (L4)."""
        await self.dispatcher.drain(DRAIN_SECONDS)
        self.main.cancel()
        await asyncio.wait([self.main])

    def die(self) -> None:
        """Be killed: clients hear that their connection is gone."""
        self.kill()
        for call in self.calls:
            if not call.done():
                call.set_exception(ConnectionResetError())

    def _assemble(self) -> None:
        world, clock, directory = self.world, self.clock, self.machine.directory
        ids = IdSource(lambda: int(clock.now().timestamp() * 1_000))
        blobs = TroubledBlobs(world.directory / "blobs", world.trouble)
        listeners: list[Callable[[Event], None]] = []

        def emit(event: Event) -> None:
            for listener in listeners:
                listener(event)

        shared = {"store": world.store, "blobs": blobs, "clock": clock}
        self.recorder = Recorder(**shared, token=lambda: ids.new("flush"), directory=directory / "journals", emit=emit)
        closer = Closer(**shared, recorder=self.recorder, worker_id=self.machine.worker_id, lease_seconds=LEASE_SECONDS)
        self.sweeper = Sweeper(
            **shared,
            closer=closer,
            options=SweepOptions(holder=self.machine.worker_id, results_kept=RESULTS_KEPT, spool=directory / "spool"),
        )
        gates = {
            name: Gate(name, ceiling=options.ceiling, adaptive=options.adaptive, clock=clock, slots=options.slots)
            for name, options in world.gates.items()
        }
        sources = Sources(documents=Documents(clock=clock), clock=clock)
        self.dispatcher = Dispatcher(
            **shared | {"store": LeaseWitness(world)},
            ids=ids,
            recorder=self.recorder,
            infer=Infer(
                routes=ROUTES,
                backends={name: Endpoint(name, self, world.witness) for name in gates},
                gates=gates,
                material=Material(files=world.store, blobs=blobs, sources=sources, clock=clock),
                clock=clock,
                ids=ids,
                emit=emit,
            ),
            gates=gates,
            options=DispatchOptions(
                worker_id=self.machine.worker_id,
                lease_seconds=LEASE_SECONDS,
                grace_seconds=GRACE_SECONDS,
                released=self.sweeper.wake,
            ),
        )
        listeners += [self.dispatcher.hear, self.sweeper.hear]
        self.admit = Admit(**shared, ingestion=Ingestion(), ids=ids, emit=emit, expires_after=world.expires_after)
        self.batches = Batches(**shared, emit=emit)
