"""Clients: they create, look, cancel, fetch and delete, repeat what got no answer, and remember what they were told."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, TypeVar

from simulation.machine import Server
from slackwater.domain.batch import Batch, Terms
from slackwater.domain.errors import InvalidRequestError, NotFoundError, StoreUnavailableError
from slackwater.flow.admit import Origin

T = TypeVar("T")
TERMS = Terms(version="2023-06-01")
END_SECONDS = 60.0
"""After trouble is over every batch that can end has ended in this time (L1)."""
TWICE = 0.08
CLOCKS_APART = 1.0
"""By less than this the clocks of two machines differ: what is repeated sooner on another cannot be told from new."""
HEARD = 0.3
"""Of connections that a client gives up: so many of their ends are heard by the server."""
SLOW_BODIES = 0.1
"""Of creates: so slow to be taken in that their client may send them again, elsewhere, meanwhile."""

_nobody = Context()


@dataclass(eq=False)
class Order:
    """A batch as its client means it."""

    key: str
    workspace_id: str
    names: list[str]
    body: bytes
    idempotency_key: str | None
    batches: int = 1
    """How many of it there must be: a body sent again without a marker is another batch."""
    unsure: int = 0
    """How many there may be beyond that: when such a call has to be repeated, nobody can tell what it repeats."""


class Client:
    """One client and everything it does with its batches."""

    def __init__(self, world: Any, number: int) -> None:
        self._world = world
        self._chance = world.chance
        self._number = number
        self._workspace = world.workspaces[number % len(world.workspaces)]
        self._foreign = world.workspaces[(number + 1) % len(world.workspaces)]
        self._spooled = 0

    async def live(self) -> None:
        """Create some batches and see each through."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._chance.randint(1, 2)):
                await self._pass(self._chance.uniform(0, 3))
                order = self._order(f"c{self._number}o{number}")
                self._world.orders.append(order)
                batch, retried = await self._create(order)
                group.create_task(self._follow(order, batch))
                if self._chance.random() < TWICE and order.idempotency_key is None:
                    await self._create_again(group, order, batch, overtook=retried)

    def _order(self, key: str) -> Order:
        chance, witness = self._chance, self._world.witness
        names = [f"{key}-{number}" for number in range(chance.choice([1, 3, 5, 9]))]
        requests = []
        for name in names:
            witness.natures[name] = chance.choices(["plain", "failing", "refused", "long"], [40, 1, 1, 1])[0]
            model = chance.choice(["sonnet", "sonnet", "opus"])
            if chance.random() < 0.02:
                model, witness.natures[name] = "nobody", "nobody"
            message = {"role": "user", "content": name}
            requests.append({"custom_id": name, "params": {"model": model, "max_tokens": 9, "messages": [message]}})
        return Order(
            key=key,
            workspace_id=self._workspace,
            names=names,
            body=json.dumps({"requests": requests}).encode(),
            idempotency_key=key if chance.random() < 0.15 else None,
        )

    async def _create_again(self, group: asyncio.TaskGroup, order: Order, first: Batch, *, overtook: bool) -> None:
        """Send the same body on purpose, without a marker: that is another batch.

        Where the first was a repetition that overtook its own first try, and the clocks of two machines differ, this
        call may be taken for that try.
        """
        self._world.rules.twice.update(order.names)
        batch, retried = await self._create(order)
        if batch.id != first.id:
            order.batches += 1
            group.create_task(self._follow(order, batch))
        elif retried or (overtook and len(self._world.machines) > 1):
            order.unsure += 1
        else:
            self._breach("D3", f"{order.key} was sent twice on purpose and is one batch")

    async def _create(self, order: Order) -> tuple[Batch, bool]:
        """Send a create until it is answered, marked as a repetition from the second time on, as the SDKs do.

        Return the batch and whether it was repeated.
        """
        retried = False

        async def admit(server: Server, *, repeats: bool) -> Batch:
            self._spooled += 1
            spool = server.machine.directory / "spool" / f"{self._number}-{self._spooled}.json"
            arrived_at = server.clock.now()
            if self._chance.random() < SLOW_BODIES:
                await server.clock.sleep(self._chance.choice([2.0, 8.0]) * self._chance.random())
            spool.write_bytes(order.body)
            origin = Origin(
                workspace_id=order.workspace_id,
                key_id="apikey_1",
                terms=TERMS,
                digest=hashlib.sha256(order.body).digest(),
                idempotency_key=order.idempotency_key,
                retried=repeats,
                arrived_at=arrived_at,
            )
            try:
                return await server.admit(spool, origin)
            finally:
                spool.unlink(missing_ok=True)  # the sweep may have been here

        first, began = await self._server(), self._world.now
        server = first
        while True:
            try:
                batch = await self._ask(server, partial(admit, repeats=retried), watched=True)
            except (ConnectionResetError, StoreUnavailableError, OSError):
                retried = True
                await self._pass(self._chance.choice([0.0, self._chance.uniform(0.05, 0.8)]))
                server = await self._server()
                if server.machine is not first.machine:
                    await self._pass(max(0.0, began + CLOCKS_APART - self._world.now))
                if not server.alive:
                    server = await self._server()
                continue
            self._check_object(order, batch)
            return batch, retried

    async def _follow(self, order: Order, batch: Batch) -> None:
        chance, seen = self._chance, batch
        if order.idempotency_key is not None and chance.random() < 0.5:
            await self._reuse_key(order)
        cancel_in = chance.uniform(0, 3) if chance.random() < self._world.cancels else None
        deadline = self._world.quiet_at + self._world.expires_after.total_seconds() * self._world.brief + END_SECONDS
        while seen.processing_status != "ended":
            if self._world.now > deadline:
                self._breach("L1", f"{batch.id} ({order.key}) does not end: {seen.tally}")
                return
            if cancel_in is not None and self._world.now >= cancel_in + (
                batch.created_at.timestamp() - self._world.epoch
            ):
                cancel_in = None
                await self._cancel(batch)
            await self._pass(chance.uniform(0.2, 1.5))
            await self._meddle(batch)
            if batch.id in self._world.rules.gone:
                return
            before, seen = seen, await self._known(batch.id)
            self._check_object(order, seen)
            if _RANKS[seen.processing_status] < _RANKS[before.processing_status]:
                self._breach("S6 D4", f"{batch.id} went back to {seen.processing_status}")
        await self._take_results(order, seen)

    async def _meddle(self, batch: Batch) -> None:
        """Do what must not work."""
        match self._chance.randint(0, 11):
            case 0:
                await self._refused("W1", batch, lambda server: server.batches.retrieve(self._foreign, batch.id))
            case 1:
                page = await self._sure(lambda server: server.batches.page(self._workspace, limit=100))
                if any(one.workspace_id != self._workspace for one in page.items):
                    self._breach("W1", f"{self._workspace} lists what is not its own")
                if batch.id not in {one.id for one in page.items}:
                    self._breach("D4", f"{batch.id} is not in the list")
            case 2:
                await self._results_early(batch)
            case 3:
                await self._delete_early(batch)
            case 4:
                await self._refused("W1", batch, lambda server: server.batches.cancel(self._foreign, batch.id))
            case _:
                self._world.rules.look()

    async def _results_early(self, batch: Batch) -> None:
        """Ask for results; a batch that gives some has ended."""
        try:
            await self._sure(lambda server: server.batches.results(self._workspace, batch.id))
        except NotFoundError:
            return
        found = await self._known(batch.id)
        if found.processing_status != "ended":
            self._breach("S6", f"{batch.id} gave results while it was {found.processing_status}")

    async def _delete_early(self, batch: Batch) -> None:
        """Delete what may not have ended yet; what goes had ended at that instant."""
        rules = self._world.rules
        rules.going.add(batch.id)
        with rules.looking_before_each_write():
            try:
                # Not given up before its end: it could take effect at any later time, when nobody expects it.
                await self._sure(lambda server: server.batches.delete(self._workspace, batch.id), patient=True)
            except InvalidRequestError:
                return
            except NotFoundError:  # an earlier try of this call did it, and its answer was lost
                pass
        rules.gone.add(batch.id)
        if rules.seen[batch.id].row["processing_status"] != "ended":
            self._breach("S1", f"{batch.id} was deleted while it ran")

    async def _refused(self, promise: str, batch: Batch, call: Callable[[Server], Awaitable[object]]) -> None:
        try:
            await self._sure(call)
        except NotFoundError:
            return
        self._breach(promise, f"{batch.id} answers {self._foreign}")

    async def _reuse_key(self, order: Order) -> None:
        """Use an idempotency key with another body: that is an error, not a batch."""
        other = Order(
            key=order.key,
            workspace_id=order.workspace_id,
            names=[],
            body=order.body + b" ",
            idempotency_key=order.idempotency_key,
        )
        try:
            batch, _ = await self._create(other)
        except InvalidRequestError:
            return
        self._breach("D3", f"{order.key}: another body under the same key made {batch.id}")

    async def _cancel(self, batch: Batch) -> None:
        for _ in range(self._chance.choice([1, 1, 2])):
            try:
                found = await self._sure(lambda server: self._cancel_at(server, batch.id))
            except InvalidRequestError:
                found = await self._known(batch.id)
                if found.processing_status != "ended":
                    self._breach("C4", f"{batch.id} refuses a cancel while it is {found.processing_status}")
                return
            if found.processing_status != "canceling" or found.cancel_initiated_at is None:
                self._breach("C3 D7", f"{batch.id} was canceled and is {found.processing_status}")
            await self._pass(self._chance.uniform(0, 0.5))

    async def _cancel_at(self, server: Server, batch_id: str) -> Batch:
        found = await server.batches.cancel(self._workspace, batch_id)
        self._world.rules.cancels.setdefault(batch_id, (self._world.now, server))
        return found

    async def _take_results(self, order: Order, batch: Batch) -> None:
        """Fetch the results twice, from any server, and see that they are what was asked for (S1, R1)."""
        self._world.rules.look()
        first = await self._results(batch)
        await self._pass(self._chance.choice([0.0, 0.5, 3.0]))
        if first != await self._results(batch):
            self._breach("S3 R1", f"results of {batch.id} changed")
        rows = [json.loads(line) for line in first.splitlines()]
        if sorted(row["custom_id"] for row in rows) != sorted(order.names):
            self._breach("S1", f"{batch.id} has lines for {sorted(row['custom_id'] for row in rows)}")
        kinds = [row["result"]["type"] for row in rows]
        if any(
            getattr(batch.counts, kind) != kinds.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")
        ):
            self._breach("S2", f"{batch.id} counts {batch.counts}, its lines are {kinds}")
        if self._chance.random() < 0.3:
            await self._cancel_late(batch)
        if self._chance.random() < 0.3:
            await self._delete(batch)

    async def _cancel_late(self, batch: Batch) -> None:
        try:
            await self._sure(lambda server: server.batches.cancel(self._workspace, batch.id))
        except InvalidRequestError:
            return
        self._breach("C4", f"{batch.id} had ended and was canceled")

    async def _delete(self, batch: Batch) -> None:
        await self._delete_early(batch)
        try:
            await self._sure(lambda server: server.batches.retrieve(self._workspace, batch.id))
        except NotFoundError:
            return
        self._breach("D4 D7", f"{batch.id} was deleted and is there")

    async def _results(self, batch: Batch) -> bytes:
        async def body(server: Server) -> bytes:
            delivery = await server.batches.results(self._workspace, batch.id)
            data = b"".join([piece async for piece in delivery.body()])
            if len(data) != delivery.length:
                self._breach("R2", f"results of {batch.id} are {len(data)} bytes of {delivery.length}")
            return data

        return await self._sure(body)

    async def _known(self, batch_id: str) -> Batch:
        try:
            return await self._sure(lambda server: server.batches.retrieve(self._workspace, batch_id))
        except NotFoundError:
            self._breach("D1 D4", f"{batch_id} is not found")
            raise

    def _check_object(self, order: Order, batch: Batch) -> None:
        counts = batch.counts
        early = batch.processing_status != "ended" and counts.processing != batch.size
        five = astuple(counts)
        if sum(five) != batch.size or min(five) < 0 or early:
            self._breach("S2", f"{batch.id} counts {counts} of {batch.size} while {batch.processing_status}")
        if batch.expires_at - batch.created_at != self._world.expires_after:
            self._breach("T1", f"{batch.id} expires {batch.expires_at - batch.created_at} after its creation")
        if order.names and (batch.size, batch.workspace_id) != (len(order.names), order.workspace_id):
            self._breach("D1 W1", f"{order.key} became {batch}")

    # Calls

    async def _sure(self, call: Callable[[Server], Awaitable[T]], *, patient: bool = False) -> T:
        """Call any server until there is an answer."""
        while True:
            try:
                return await self._ask(await self._server(), call, patient=patient)
            except (ConnectionResetError, StoreUnavailableError, OSError):
                await self._pass(self._chance.uniform(0.05, 0.8))

    async def _server(self) -> Server:
        while True:
            up = [machine.up for machine in self._world.machines if machine.up is not None]
            if up:
                return self._chance.choice(up)
            await self._pass(0.2)

    async def _ask(
        self, server: Server, call: Callable[[Server], Awaitable[T]], *, patient: bool = False, watched: bool = False
    ) -> T:
        """Call one server. Raises ConnectionResetError when it dies, or when its answer gets lost on the way.

        Unless the client is `patient`, the connection may also end before the server is done. A `watched` one's end is
        heard by the server, which lets the call go then; where the network is down it is not.
        """
        loop, world = asyncio.get_running_loop(), self._world
        reply: asyncio.Future[T] = loop.create_future()
        server.calls.add(reply)

        async def work() -> T:
            return await call(server)

        def give_up() -> None:
            if not reply.done() and watched and (server.paused or self._chance.random() < HEARD):
                server.run(lambda: loop.call_soon(task.cancel))
            _reset(reply)

        task = server.start(work())
        if not patient and world.now < world.quiet_at and self._chance.random() < world.lost_replies:
            loop.call_later(self._chance.uniform(0, 0.1), give_up)

        def done(task: asyncio.Task[T]) -> None:
            if not reply.done():
                lost = world.now < world.quiet_at and self._chance.random() < world.lost_replies
                _reset(reply) if lost else _copy(task, reply)

        task.add_done_callback(done, context=_nobody)
        try:
            return await reply
        finally:
            server.calls.discard(reply)

    async def _pass(self, seconds: float) -> None:
        await self._world.clock.sleep(seconds)

    def _breach(self, promise: str, what: str) -> None:
        self._world.breach(promise, what)


_RANKS = {"in_progress": 0, "canceling": 1, "ended": 2}


def _reset(reply: "asyncio.Future[T]") -> None:
    if not reply.done():
        reply.set_exception(ConnectionResetError())


def _copy(task: "asyncio.Task[T]", reply: "asyncio.Future[T]") -> None:
    if task.cancelled():
        _reset(reply)
    elif (error := task.exception()) is not None:
        reply.set_exception(error)
    else:
        reply.set_result(task.result())
