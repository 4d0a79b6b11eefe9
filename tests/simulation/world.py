"""A world: machines, clients, backends and what goes wrong, all of it out of one seed."""

import asyncio
import errno
import gc
import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

from simulation.backend import Witness
from simulation.clients import END_SECONDS, Client, Order
from simulation.loop import PROCESS, StuckError, VirtualLoop
from simulation.machine import EPOCH, LEASE_SECONDS, Machine, Server, Times
from simulation.rules import Rules
from simulation.storage import TroubledDatabase
from slackwater import clock
from slackwater.clock import SystemClock
from slackwater.domain import ids
from slackwater.domain.errors import StoreUnavailableError
from slackwater.flow import dispatch, gate, infer, plan, record, sweep
from slackwater.store import Store

TROUBLE_SECONDS = 10.0
"""For so long things go wrong; then whatever is down comes back."""

WORLDS_PER_COLLECTION = 50

SCALE: dict[Any, dict[str, Any]] = {
    plan: {"SHARD_REQUESTS_MAX": 3},
    dispatch: {"SHARD_REQUESTS_MAX": 3, "AHEAD_REQUESTS_MIN": 2, "AHEAD_PER_SLOT": 1, "UNREADABLE_SECONDS": 2.0},
    gate: {"BACKOFF_MAX_SECONDS": 2.0},
    record: {"REWRITE_SECONDS": 15.0, "TIDY_SECONDS": 10.0},
    sweep: {
        "ROUND_SECONDS": 2.0,
        "HOLD_SECONDS": 5.0,
        "ORPHAN_ROUND_SECONDS": 10.0,
        "BROKEN_SECONDS": 5.0,
    },
}
"""The world is small and short: what is counted in hundreds or waits for minutes happens in it too."""


@dataclass(frozen=True)
class GateOptions:
    """How the gate of a backend is set up, the same on every machine."""

    ceiling: int
    adaptive: bool
    slots: int | None


@dataclass(frozen=True)
class Report:
    """What became of a seed."""

    seed: int
    breaches: tuple[str, ...]
    digest: str
    """Of everything that happened in its order: equal for equal runs."""
    counts: Counter[str]


class World:
    """Draws everything from its seed, runs, and judges."""

    def __init__(self, seed: int, directory: Path, database: TroubledDatabase, loop: VirtualLoop) -> None:
        self.seed, self.directory, self.loop = seed, directory, loop
        self.chance = chance = loop.chance
        self.epoch = EPOCH.timestamp()
        self.clock = SystemClock()
        self.store = Store(database)
        self.trouble = self
        self.breaches: list[str] = []
        self.counts: Counter[str] = Counter()
        self._trace = hashlib.sha256()
        self._over = asyncio.Event()
        self.workspaces = ["wrkspc_1", "wrkspc_2"]
        self.brief = chance.random() < 0.3
        """Batches expire within the world's time."""
        self.expires_after = timedelta(seconds=chance.choice([2, 4, 7]) if self.brief else 86_400)
        self.quiet_at = TROUBLE_SECONDS
        self.cancels = chance.choice([0.0, 0.5, 0.8])
        self.lost_replies = chance.choice([0.0, 0.1, 0.3])
        self.backend_faults = chance.choice([0.0, 0.1, 0.3])
        self.call_seconds = chance.choice([0.1, 0.4, 1.0])
        self.store_faults = chance.choice([0.0, 0.0, 0.02])
        self.gates = {name: self._gate() for name in ("near", "far")}
        self.away_until = dict.fromkeys(self.gates, 0.0)
        self.store_away_until = self.disk_full_until = self.slow_until = 0.0
        self.orders: list[Order] = []
        self.witness = Witness(self)
        self.rules = Rules(self, database._path)
        self.servers: list[Server] = []
        self.machines: list[Machine] = []
        for name in "abc"[: chance.choice([1, 1, 2, 2, 3])]:
            self.machines.append(Machine(name, self, wall_offset=chance.uniform(-0.4, 0.4)))
        database.trouble = self
        loop.durations = self._durations
        loop.set_exception_handler(self._unexpected)

    def _gate(self) -> GateOptions:
        chance = self.chance
        return GateOptions(
            ceiling=chance.choice([1, 2, 4, 8]), adaptive=chance.random() < 0.5, slots=chance.choice([None, None, 1, 2])
        )

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.loop.time()

    def note(self, *facts: object) -> None:
        """Write down that something happened."""
        self.counts[str(facts[0])] += 1
        self._trace.update(repr((self.now, self.loop.steps, *facts)).encode())

    def breach(self, promise: str, what: str) -> None:
        """Hear that a promise was broken: the world is over."""
        self.breaches.append(f"{promise}: {what} (at {self.now:.3f} s)")
        self._over.set()

    def report(self) -> Report:
        """Say what became of it."""
        self.note("end", self.chance.random(), self.breaches)
        return Report(self.seed, tuple(self.breaches), self._trace.hexdigest(), self.counts)

    # The course of things

    async def run(self) -> None:
        """Live through trouble, wait for every batch's end, and judge the whole."""
        for machine in self.machines:
            machine.boot()
        tasks = [self.loop.create_task(one) for one in (self._trouble(), self._live(), self._time_out())]
        over = self.loop.create_task(self._over.wait())
        await asyncio.wait([over, tasks[1]], return_when=asyncio.FIRST_COMPLETED)
        for task in (over, *tasks):
            task.cancel()
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.breach("S8", f"somebody met an error: {task.exception()!r}")
        if not self.breaches:
            self.rules.look()
            self.rules.judge(self.orders)

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.chance.choice([1, 1, 2, 3])):
                group.create_task(Client(self, number).live())

    async def _time_out(self) -> None:
        await self.clock.sleep(self.quiet_at + END_SECONDS + 40.0)
        self.breach("L1", "the clients are not served")

    async def _trouble(self) -> None:
        kinds = {
            self._kill: 5, self._pause: 6, self._cut_off: 2, self._fill_disk: 1, self._slow_down: 1,
            self._step_clock: 1, self._roll: 1, self._black_out: 1, self._lose_backend: 1,
        }  # fmt: skip
        times = sorted(self.chance.uniform(0.2, TROUBLE_SECONDS - 1) for _ in range(self.chance.randint(0, 4)))
        async with asyncio.TaskGroup() as group:
            for at in times:
                await self.clock.sleep(max(0.0, at - self.now))
                (kind,) = self.chance.choices(list(kinds), list(kinds.values()))
                self.note("trouble", kind.__name__)
                group.create_task(kind())
            await self.clock.sleep(max(0.0, self.quiet_at - self.now))
            self.lost_replies = self.store_faults = 0.0
        down = [machine for machine in self.machines if machine.server is None or not machine.server.alive]
        for machine in down:
            if len(down) == len(self.machines) or self.chance.random() < 0.7:
                machine.boot()
                down = []

    def _pick(self) -> Server | None:
        up = [machine.server for machine in self.machines if machine.server is not None and machine.server.alive]
        return self.chance.choice(up) if up else None

    async def _kill(self, server: Server | None = None) -> None:
        server = server or self._pick()
        if server is None:
            return
        await self._worst_moment(server)
        if not server.alive:
            return
        self.note("kill", server.name)
        server.hits.append((self.now, float("inf")))
        server.die()
        if self.chance.random() < 0.75:
            await self.clock.sleep(self.chance.uniform(0.1, 3.0))
            if self.chance.random() < 0.3:
                server.machine.wall_offset += self.chance.choice([-90_000, 90_000])  # it was set meanwhile
            elif len(self.machines) == 1 and self.chance.random() < 0.3:
                server.machine.lose_its_time()
            server.machine.boot()

    async def _worst_moment(self, server: Server) -> None:
        """Wait a little, more often than not, until something is done and not committed yet."""
        looks = self.chance.choice([0, 50, 50])
        while looks and server.alive and not (server.started and server.recorder.waiting):
            looks -= 1
            await self.clock.sleep(0.03)

    async def _black_out(self) -> None:
        async with asyncio.TaskGroup() as group:
            for machine in self.machines:
                if machine.server is not None and machine.server.alive:
                    group.create_task(self._kill(machine.server))

    async def _pause(self) -> None:
        server = self._pick()
        if server is None or server.paused:
            return
        await self._worst_moment(server)
        seconds = LEASE_SECONDS * self.chance.uniform(0.6, 1.4)
        if not server.alive or server.paused:
            return
        self.note("pause", server.name, seconds)
        server.hits.append((self.now, self.now + seconds))
        server.pause()
        await self.clock.sleep(seconds)
        if server.alive:
            server.go_on(self.loop)

    async def _cut_off(self) -> None:
        seconds = self.chance.choice([0.5, 2.0, LEASE_SECONDS * 1.2])
        self.store_away_until = self.now + seconds
        self._hit_all(seconds)

    async def _fill_disk(self) -> None:
        self.disk_full_until = self.now + self.chance.uniform(0.5, 4.0)

    async def _slow_down(self) -> None:
        self.slow_until = self.now + self.chance.uniform(1.0, 4.0)
        self._hit_all(self.slow_until - self.now + 2.0)

    async def _step_clock(self) -> None:
        """Set a wall clock while the process runs; nothing may follow from that (T3)."""
        self.chance.choice(self.machines).wall_offset += self.chance.choice([-90_000, -1, 1, 90_000])

    async def _roll(self) -> None:
        """Stop a process in order and start it anew."""
        server = self._pick()
        if server is None or not server.started or server.paused:
            return
        server.hits.append((self.now, float("inf")))
        stopping = server.start(server.stop())
        await asyncio.wait([stopping], timeout=15.0)
        if server.alive:
            server.die()
            server.machine.boot()

    async def _lose_backend(self) -> None:
        self.away_until[self.chance.choice(list(self.away_until))] = self.now + self.chance.uniform(0.5, 5.0)

    def _hit_all(self, seconds: float) -> None:
        for server in self.servers:
            server.hits.append((self.now, self.now + seconds))

    # What the storage asks

    def _durations(self, executor: Executor | None) -> tuple[float, float]:
        chance = self.chance.random
        if executor is None:
            return 0.004 * chance(), 0.001
        if self.now < self.slow_until:
            return 1.5 * chance(), 0.5 * chance()
        return 0.02 * chance(), 0.02 * chance()

    async def before(self) -> None:
        """Let the database be away."""
        if self.now < self.store_away_until or (self.store_faults and self.chance.random() < self.store_faults):
            self._hit_one()
            await self.clock.sleep(self.chance.uniform(0.01, 0.3))
            raise StoreUnavailableError("the database is away")

    def statement(self) -> int:
        """Let a statement fail."""
        if self.store_faults and self.chance.random() < self.store_faults:
            self._hit_one()
            return self.chance.randint(1, 5)
        return 0

    def answer(self) -> str:
        """Let an answer get lost."""
        if self.now < self.store_away_until or (self.store_faults and self.chance.random() < self.store_faults):
            self._hit_one()
            return self.chance.choice(["lost", "repeated"])
        return "heard"

    def writing(self) -> None:
        """Let the rules have their look."""
        self.rules.before_write()

    def disk(self) -> None:
        """Let the disk be full."""
        if self.now < self.disk_full_until:
            raise OSError(errno.ENOSPC, "no space left on device")

    def written(self) -> float:
        """Return the time for a file that is written now."""
        return self.epoch + self.now

    def _hit_one(self) -> None:
        server = PROCESS.get()
        if isinstance(server, Server):
            server.hits.append((self.now, self.now))

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "never retrieved" not in context["message"] and isinstance(error, Exception):
            self.breach("S8", f"{context['message']}: {error!r}")

    def bury(self) -> None:
        """End every process and close what is left of it, so that nothing of this world runs in the next one."""
        for server in self.servers:
            server.kill()
        for task in asyncio.all_tasks(self.loop):
            with suppress(BaseException):
                task.get_coro().close()
        self.rules.close()


class Place:
    """Where worlds happen, one after the other: a directory and one open database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._worlds = 0

    def __enter__(self) -> Self:
        """Open the database."""
        gc.disable()  # what it finds, and when, must not be part of a seed's course
        gc.freeze()
        self._runner = asyncio.Runner()
        self._database = self._runner.run(TroubledDatabase.open(self._directory / "slackwater.db"))
        self._database._writer.connection.cursor().execute("PRAGMA synchronous = OFF")  # no power is cut here
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._runner.run(self._database.close())
        self._runner.close()
        gc.unfreeze()
        gc.enable()

    def run(self, seed: int, breaks: Callable[[ExitStack], None] = lambda _: None) -> Report:
        """Run the world of a seed; `breaks` may change the rules of it first."""
        directory = self._directory / "world"
        loop = VirtualLoop(random.Random(seed))  # noqa: S311  # a seed is the point
        try:
            with _scaled(loop.chance), ExitStack() as mutant:
                breaks(mutant)
                self._database.empty()
                loop.run_until_complete(_into(world := [], seed, directory, self._database, loop))
                try:
                    loop.run_until_complete(world[0].run())
                except StuckError as error:
                    world[0].breach("L1", str(error))
                try:
                    return world[0].report()
                finally:
                    world[0].bury()
        finally:
            loop._scheduled.clear()
            loop._ready.clear()
            loop.close()
            shutil.rmtree(directory, ignore_errors=True)
            self._worlds += 1
            if self._worlds % WORLDS_PER_COLLECTION == 0:
                gc.collect()


async def _into(worlds: list[World], seed: int, directory: Path, database: TroubledDatabase, loop: VirtualLoop) -> None:
    """Make a world inside its loop."""
    worlds.append(World(seed, directory, database, loop))


@contextmanager
def _scaled(chance: random.Random) -> Iterator[None]:
    """Make the world small, its time virtual, and everything that is drawn at random follow the seed."""
    with ExitStack() as stack:
        for module, values in SCALE.items():
            for name, value in values.items():
                stack.enter_context(patch.object(module, name, value))
        stack.enter_context(patch.object(clock, "time", Times()))
        stack.enter_context(patch.object(ids, "os", SimpleNamespace(urandom=chance.randbytes)))
        stack.enter_context(patch.object(gate, "random", chance))
        # A set of turns is walked by their hashes, which are addresses otherwise.
        stack.enter_context(
            patch.object(infer.Turn, "__hash__", lambda turn: hash((turn.entry.shard, turn.entry.position)))
        )
        yield
