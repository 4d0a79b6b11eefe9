"""Dispatch: what every worker does. Take leases, send requests as schedule and gates allow, have results recorded.

A worker holds several shards, of different batches where there are several, and picks its next request across them. All
its state can be lost at any instant: leases lapse, journals are adopted, nothing else is remembered.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from slackwater.domain.batch import Backlog, Lease
from slackwater.domain.errors import APIError, StoreUnavailableError
from slackwater.domain.events import BatchAdmitted, BatchCancelInitiated, Event
from slackwater.domain.ids import REQUEST, IdSource
from slackwater.domain.limits import SHARD_REQUESTS_MAX
from slackwater.domain.result import CommitReport, ResultLine
from slackwater.flow.gate import Gate
from slackwater.flow.holding import Held, Holding, Tasks
from slackwater.flow.infer import Infer, StoppedError, Turn
from slackwater.flow.plan import MIXED
from slackwater.flow.record import Recorder
from slackwater.flow.schedule import Schedule
from slackwater.flow.stored import Entry, ShardKey, requests_of
from slackwater.ports import Blobs, Clock, WorkStore
from slackwater.wire.lines import errored_line

HELD_SHARDS_MAX = 64
"""Bounds memory (a shard is at most 8 MiB, usually far less) and the leases to renew."""
HELD_BATCHES_MAX = 512
"""First shards are taken beyond `HELD_SHARDS_MAX`: a small batch does not wait for a large one's shard to be done."""
HELD_BYTES_MAX = 96 * 2**20
BACKLOG_ROWS = 1_024
AHEAD_REQUESTS_MIN = 512
AHEAD_PER_SLOT = 4
"""Unsent requests kept in hand for a backend: enough that its slots never wait for a lease."""
POLL_SECONDS = 1.0
RECENT_STOPS = 1_024
UNREADABLE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchOptions:
    """How a worker behaves."""

    worker_id: str
    lease_seconds: float
    grace_seconds: float
    """How long a request that was sent may go on after its batch was stopped (C3)."""
    released: asyncio.Event
    """Set when a shard of a stopped batch was given back: there is something to close."""


class Dispatcher:
    """One worker."""

    def __init__(
        self,
        *,
        store: WorkStore,
        blobs: Blobs,
        clock: Clock,
        ids: IdSource,
        recorder: Recorder,
        infer: Infer,
        gates: Mapping[str, Gate],
        options: DispatchOptions,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._recorder = recorder
        self._infer = infer
        self._gates = gates
        self._options = options
        self._schedule = Schedule({name: gate.slots for name, gate in gates.items() if gate.slots is not None})
        self._holdings: dict[ShardKey, Holding] = {}
        self._stops: OrderedDict[str, None] = OrderedDict()
        self._hungry = asyncio.Event()
        self._room = asyncio.Event()
        self._backlogged: frozenset[str] = frozenset()
        """Backends of which the last look left shards that may be taken: only then is it worth looking again soon."""
        self._tasks = Tasks(carry=self._carry, finish=self._finish, following=self._next)
        self._turn = 0
        self._turns: dict[str, int] = {}
        """When each batch with free shards was last given a turn, so that none is passed over for ever."""
        self._unreadable: dict[str, float] = {}
        """Batches whose requests could not be read here, and when it is worth trying again."""
        self._draining = False
        recorder.listen(self._committed)
        for gate in gates.values():
            gate.on_room.append(self._room)

    @property
    def held(self) -> int:
        """How many shards this worker holds."""
        return len(self._holdings)

    def hear(self, event: Event) -> None:
        """React at once to what happens in this process; other processes' doings are polled."""
        if isinstance(event, BatchAdmitted):
            self._hungry.set()
        elif isinstance(event, BatchCancelInitiated):
            self.stop(event.batch_id)

    async def run(self) -> None:
        """Work until canceled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease_forever())
            group.create_task(self._pump_forever())
            group.create_task(self._renew_forever())
            group.create_task(self._watch_forever())

    async def drain(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Take nothing new, let what was sent come back until it is enough, give all leases back (L4)."""
        self._draining = True
        deadline = self._clock.monotonic() + seconds
        for holding in list(self._holdings.values()):
            self._halt(holding)
        while any(one.turns for one in self._holdings.values()) and self._clock.monotonic() < deadline and not enough():
            await self._clock.sleep(0.02)
        for holding in list(self._holdings.values()):
            holding.abort()
        await self._recorder.flush()
        leases = [holding.lease for holding in self._holdings.values()]
        for lease in leases:
            self._recorder.close(lease)
        self._holdings.clear()
        with suppress(StoreUnavailableError):
            await self._store.release(leases)

    def stop(self, batch_id: str) -> None:
        """Send nothing more of a batch (C2)."""
        self._stops[batch_id] = None
        while len(self._stops) > RECENT_STOPS:
            self._stops.popitem(last=False)
        for holding in self._of_batch(batch_id):
            self._halt(holding)

    # Leases

    async def _lease_forever(self) -> None:
        while True:
            self._hungry.clear()
            taken, self._backlogged = 0, frozenset()
            if not self._draining and not self._recorder.full:
                with suppress(StoreUnavailableError, OSError):
                    taken = await self._lease_some()
            if not taken:
                self._expect(())
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._hungry.wait()

    async def _lease_some(self) -> int:
        """Take shards of every batch that has none in hand, and more where a backend would run dry; return how many."""
        if self._is_full():  # the end of a shard in hand is what to wait for, not each request's
            return 0
        backlog = await self._store.backlog(self._clock.now(), limit=BACKLOG_ROWS)
        turns, taken = self._turns, 0
        self._turns = {row.batch_id: turns.get(row.batch_id, 0) for row in backlog}
        held = Counter((holding.lease.batch_id, holding.backend) for holding in self._holdings.values())

        def in_hand(row: Backlog) -> int:
            return held[row.batch_id, self._infer.backend_of(row.model)]

        self._expect(row.model for row in backlog if self._wanted(row, in_hand(row)))
        for row in sorted(backlog, key=lambda row: (in_hand(row), turns.get(row.batch_id, 0))):
            wanted = self._wanted(row, in_hand(row))
            if wanted == 0:
                continue
            asked_at, now = self._clock.monotonic(), self._clock.now()
            leases = await self._store.lease(
                row.batch_id,
                row.model,
                worker_id=self._options.worker_id,
                now=now,
                until=now + timedelta(seconds=self._options.lease_seconds),
                limit=wanted,
            )
            self._turn += 1
            self._turns[row.batch_id] = self._turn
            for lease in leases:
                taken += await self._take_up(lease, asked_at)
            if self._is_full():
                break
        left = (row for row in backlog if self._free(row, in_hand(row)))
        self._backlogged = frozenset(self._infer.backend_of(row.model) for row in left)
        return taken

    def _free(self, row: Backlog, held: int) -> bool:
        """Tell whether more may be taken of a batch and model of which `held` shards are in hand."""
        if row.batch_id in self._stops or self._clock.monotonic() < self._unreadable.get(row.batch_id, 0.0):
            return False
        gate = self._gates.get(self._infer.backend_of(row.model))
        return held == 0 or (len(self._holdings) < HELD_SHARDS_MAX and not (gate and gate.away))

    def _wanted(self, row: Backlog, held: int) -> int:
        """Return how many shards to take of it."""
        if held == 0 or not self._free(row, held):
            return int(self._free(row, held))
        return max(0, min(4, -(-self._missing(self._infer.backend_of(row.model)) // SHARD_REQUESTS_MAX)))

    def _missing(self, backend: str) -> int:
        """Return how many unsent requests there are too few; each slot may have a group as long as a shard."""
        gate, ahead = self._gates.get(backend), AHEAD_REQUESTS_MIN
        if gate is not None:
            ahead = max(ahead, SHARD_REQUESTS_MAX * gate.slots if gate.slots else AHEAD_PER_SLOT * gate.limit)
        return ahead - self._schedule.unsent(backend)

    def _expect(self, models: Iterable[str]) -> None:
        """Hear for which models shards are about to come, or that none are: then groups in hand may spread."""
        self._schedule.expecting = frozenset(self._infer.backend_of(model) for model in models)
        self._room.set()

    def _is_full(self) -> bool:
        held_bytes = sum(holding.lease.shard.length for holding in self._holdings.values())
        return len(self._holdings) >= HELD_BATCHES_MAX or held_bytes >= HELD_BYTES_MAX

    async def _take_up(self, lease: Lease, asked_at: float) -> bool:
        """Begin to work on a shard; False when its requests cannot be read here."""
        if (requests := await requests_of(lease, self._blobs)) is None:
            self._unreadable[lease.batch_id] = self._clock.monotonic() + UNREADABLE_SECONDS
            await self._store.release([lease])
            return False
        if (former := self._holdings.get(lease.key)) is not None:
            self._lose(former)
        done = self._recorder.open(lease)
        backend = self._infer.backend_of(lease.shard.model)
        entries = [
            Entry(place, request, lease.key, backend) for place, request in enumerate(requests) if place not in done
        ]
        holding = Holding(
            lease=lease,
            backend=backend,
            renewed_at=asked_at,
            lease_seconds=self._options.lease_seconds,
            clock=self._clock,
            open=len(entries),
        )
        self._holdings[lease.key] = holding
        self._schedule.add(workspace_id=lease.workspace_id, expires_at=lease.expires_at, entries=entries)
        if not entries:
            self._recorder.hurry()
        if lease.batch_id in self._stops or self._draining:
            self._halt(holding)
        self._room.set()
        return True

    async def _renew_forever(self) -> None:
        times = 3  # in a lease's life; where the store is away sooner, since it may be back for a moment
        while True:
            await self._clock.sleep(self._options.lease_seconds / times)
            times = 30
            with suppress(StoreUnavailableError):
                await self._renew(list(self._holdings.values()))
                times = 3

    async def _renew(self, holdings: Sequence[Holding]) -> None:
        asked_at = self._clock.monotonic()
        until = self._clock.now() + timedelta(seconds=self._options.lease_seconds)
        kept = await self._store.renew(self._options.worker_id, [holding.lease for holding in holdings], until)
        for holding in holdings:
            if holding.lease.key in kept:
                holding.renewed_at = asked_at
            elif self._holdings.get(holding.lease.key) is holding:
                self._lose(holding)
        # What was dropped meanwhile, as after a pause, would be nobody's until the renewed lease lapses.
        await self._store.release([one.lease for one in holdings if one.lost and one.lease.key in kept])

    # Requests

    async def _pump_forever(self) -> None:
        while True:
            await self._room.wait()
            self._room.clear()
            self._pump()

    def _pump(self) -> None:
        while (following := self._next()) is not None:
            self._tasks.start(following)
        if any(self._missing(name) > 0 for name in self._backlogged):
            self._hungry.set()

    def _has_room(self, backend: str) -> bool:
        return backend == MIXED or self._gates[backend].has_room()

    def _next(self) -> Held | None:
        """Begin the next turn, if one may begin now."""
        if self._recorder.full:
            return None
        entry = self._schedule.next(now=self._clock.now(), has_room=self._has_room)
        if entry is None:
            return None
        holding = self._holdings[entry.shard]
        gate = self._gates.get(holding.backend)
        if gate is not None:
            gate.take()
        turn = Turn(entry, holding.lease, holding.may_send, gate)
        holding.turns.add(turn)
        return holding, turn

    def _finish(self, holding: Holding, turn: Turn) -> None:
        turn.let_go()
        self._came_back(turn)
        holding.turns.discard(turn)
        self._room.set()

    def _came_back(self, turn: Turn) -> None:
        if not turn.came_back:
            turn.came_back = True
            self._schedule.came_back(turn.entry)

    async def _carry(self, holding: Holding, turn: Turn) -> None:
        try:
            line = await self._infer(turn, self._came_back)
        except StoppedError:
            self._doubt(holding)
            return
        except Exception as error:  # noqa: BLE001  # a fault of ours must not cost the request's neighbours theirs (S8)
            line = self._fault(turn, error)
        if holding.lost:
            return
        self._recorder.add(holding.lease, line)
        holding.open -= 1
        if holding.open == 0 and all(other.open == 0 for other in self._of_batch(holding.lease.batch_id)):
            self._recorder.hurry()  # nothing else of the batch is open here: its end may be near

    def _fault(self, turn: Turn, error: Exception) -> ResultLine:
        context = {"message": "a request met an unexpected error", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        line = errored_line(turn.entry.request.custom_id, APIError(), self._ids.new(REQUEST))
        return ResultLine(position=turn.entry.position, type="errored", line=line, model=turn.lease.shard.model)

    # Endings

    def _of_batch(self, batch_id: str) -> list[Holding]:
        return [holding for key, holding in self._holdings.items() if key[0] == batch_id]

    def _halt(self, holding: Holding) -> None:
        self._schedule.drop(holding.lease.key)
        holding.stop(slots_too=not self._draining)

    def _lose(self, holding: Holding) -> None:
        self._schedule.drop(holding.lease.key)
        holding.lose()
        self._recorder.close(holding.lease)
        self._holdings.pop(holding.lease.key, None)
        self._hungry.set()

    def _doubt(self, holding: Holding) -> None:
        """Ask anew for a shard whose lease was not certain when a request was to be sent (X5).

        A renewal that comes after that makes it certain again, and then nobody would remember the request.
        """
        if holding.stopped_at is None and not holding.lost and self._clock.now() < holding.lease.expires_at:
            self._lose(holding)

    def _committed(self, report: CommitReport) -> None:
        for key in report.fenced | report.finished:  # one may have been finished under a later lease, by the closer
            if (holding := self._holdings.get(key)) is not None:
                self._lose(holding)
        self._room.set()  # there may be room in memory again

    async def _watch_forever(self) -> None:
        while True:
            await self._clock.sleep(POLL_SECONDS / 4)
            with suppress(StoreUnavailableError):
                await self._watch()

    async def _watch(self) -> None:
        """Notice what other processes and the clock did, and give stopped shards back."""
        now, instant = self._clock.now(), self._clock.monotonic()
        ids = {key[0] for key in self._holdings}
        stopped = await self._store.stopped(ids) if ids else frozenset()
        for holding in list(self._holdings.values()):
            if holding.stopped_at is None and not holding.certain:
                self._lose(holding)
            elif holding.stopped_at is None:
                if holding.lease.batch_id in stopped or holding.lease.expires_at <= now:
                    self._halt(holding)
            elif holding.turns and instant - holding.stopped_at >= self._options.grace_seconds:
                holding.abort()
        idle = [one for one in self._holdings.values() if one.stopped_at is not None and not one.turns]
        if idle and not self._draining:
            await self._give_back(idle)

    async def _give_back(self, holdings: Sequence[Holding]) -> None:
        """Release shards of stopped batches; whoever closes the batch writes what is left of them."""
        if not await self._recorder.flush():
            return
        given = [holding for holding in holdings if self._holdings.pop(holding.lease.key, None) is holding]
        for holding in given:
            self._recorder.close(holding.lease)
        await self._store.release([holding.lease for holding in given])
        self._options.released.set()
