"""What is PostgreSQL's own: lost connections, conflicts, commits whose answer was lost, durability of its settings."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from slackwater.clock import SystemClock
from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.events import BatchAdmitted, BatchCancelInitiated, Event
from slackwater.store import Store, StoreNotDurableError
from slackwater.store.hints import CHANNEL
from slackwater.store.postgres import PostgreSQLDatabase, fault
from support.postgres import PostgresServer
from support.stores import LEASE, MINE, NOW, admission, charge, committed, flush, leased, sealed, segment


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Start a server that these tests may crash."""
    started = PostgresServer.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def url(server: PostgresServer) -> str:
    """Address of a fresh database."""
    return server.create_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open a fresh PostgreSQL store."""
    opened = await Store.open(url, clock=SystemClock())
    yield opened
    await opened.close()


async def test_a_server_that_is_away_is_an_error_and_its_return_is_noticed(
    server: PostgresServer, store: Store
) -> None:
    """P1: calls say so while it is away, and work again after its restart; what was committed is there."""
    batch = await sealed(store)
    await asyncio.to_thread(server.crash)
    try:
        for call in (store.find(MINE, batch.id), store.cancel(MINE, batch.id, NOW), store.seal(admission())):
            with pytest.raises(StoreUnavailableError, match="cannot be used"):
                await call
    finally:
        await asyncio.to_thread(server.restart)
    assert await store.find(MINE, batch.id) == batch
    assert await store.cancel(MINE, batch.id, NOW) is not None


async def test_connections_that_broke_unnoticed_are_replaced(server: PostgresServer, store: Store) -> None:
    """P1: after a restart the pool is full of dead connections; no call fails for it."""
    batch = await sealed(store)
    await asyncio.gather(*(store.find(MINE, batch.id) for _ in range(8)))
    await asyncio.to_thread(server.crash)
    await asyncio.to_thread(server.restart)
    assert set(await asyncio.gather(*(store.find(MINE, batch.id) for _ in range(8)))) == {batch}


async def test_a_database_that_cannot_be_reached_is_unavailable(server: PostgresServer) -> None:
    """At the start too: refused connections, unknown databases."""
    away = "postgresql://postgres@127.0.0.1:1/none"
    for address in (away, server.url("none")):
        with pytest.raises(StoreUnavailableError, match="cannot be used"):
            await Store.open(address, clock=SystemClock())


async def test_a_server_that_acknowledges_before_it_syncs_is_refused(server: PostgresServer, url: str) -> None:
    """D1: `synchronous_commit = off` loses accepted batches at a power cut; the message names the remedy."""
    name = url.rsplit("/", 1)[1]
    server.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(StoreNotDurableError, match="ALTER DATABASE"):
        await Store.open(url, clock=SystemClock())


class LostAnswers:
    """Cuts the connection at a commit, before or after the server carries it out."""

    def __init__(self, patch: pytest.MonkeyPatch, *, carried_out: bool, times: int = 1) -> None:
        self.left = times
        commit = AsyncConnection.commit

        async def lose(connection: AsyncConnection) -> None:
            if self.left == 0:
                await commit(connection)
                return
            self.left -= 1
            if carried_out:
                await commit(connection)
            message = "connection was closed in the middle of operation"
            raise DBAPIError("COMMIT", None, ConnectionError(message), connection_invalidated=True)

        patch.setattr(AsyncConnection, "commit", lose)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_commit_whose_answer_was_lost_takes_effect_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, *, carried_out: bool
) -> None:
    """P2: whether the server had carried it out or not, each call answers as if nothing had happened."""

    async def losing(call: Callable[[], Awaitable[Any]]) -> Any:  # whatever the call gives
        with monkeypatch.context() as patch:
            lost = LostAnswers(patch, carried_out=carried_out)
            answer = await call()
            assert lost.left == 0
            return answer

    admitted = admission((1, 2))
    answer = await losing(lambda: store.seal(admitted))
    assert answer.batch == admitted.batch
    assert not answer.duplicate
    one, two = await leased(store, answer.batch)
    report = await losing(lambda: store.commit(flush(segment(one), segment(two)), NOW))
    assert report.finished == {one.key, two.key}
    assert report.ended == {admitted.batch.id}
    assert await store.charges(MINE, admitted.batch.id) == [charge("m", 3)]
    (line,) = await store.usage()
    assert line.charge == charge("m", 3)
    removed = await losing(lambda: store.delete(MINE, admitted.batch.id))
    assert removed.id == admitted.batch.id
    assert await store.find(MINE, admitted.batch.id) is None
    running = await sealed(store)
    canceled = await losing(lambda: store.cancel(MINE, running.id, NOW))
    assert canceled.cancel_initiated_at == NOW


async def test_a_charge_is_not_booked_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """M1: it carries no token, so a lost answer is an error to the caller instead of a second booking."""
    with monkeypatch.context() as patch:
        LostAnswers(patch, carried_out=True)
        with pytest.raises(StoreUnavailableError):
            await store.charge(MINE, "standard", charge(), NOW)
    (line,) = await store.usage()
    assert line.charge == charge()


async def test_a_deadlock_is_resolved_by_repeating(store: Store) -> None:
    """Two transactions that wait for each other both come through, one of them at its second run."""
    ids = [(await sealed(store)).id for _ in range(2)]
    both = asyncio.Barrier(2)
    runs = 0

    def crossing(first: str, second: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            nonlocal runs
            runs += 1
            statement = text("UPDATE batches SET segments = segments + 1 WHERE id = :id")
            connection.execute(statement, {"id": first})
            if runs <= 2:
                await_only(both.wait())
            connection.execute(statement, {"id": second})

        return work

    await asyncio.gather(store.database.write(crossing(*ids)), store.database.write(crossing(*reversed(ids))))
    assert runs == 3
    counts = await store.database.read(
        lambda connection: list(connection.scalars(text("SELECT segments FROM batches")))
    )
    assert counts == [2, 2]


class Pause:
    """Holds the first transaction that is about to run a statement beginning like this, until told to go on."""

    def __init__(self, store: Store, beginning: str) -> None:
        self._beginning = beginning
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        assert isinstance(store.database, PostgreSQLDatabase)
        event.listen(store.database.engine.sync_engine, "before_cursor_execute", self._look)

    def _look(self, *arguments: Any) -> None:  # an event's: connection, cursor, statement, …
        if arguments[2].startswith(self._beginning) and not self.reached.is_set():
            self.reached.set()
            await_only(self.go.wait())


async def until_somebody_waits(store: Store) -> None:
    """Return when a transaction waits for a lock."""
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(10):
        while not await store.database.read(lambda connection: connection.scalar(query)):
            pass


async def test_a_cancel_waits_for_leases_that_are_being_granted(store: Store) -> None:
    """C1: a lease that saw the batch running is committed before the cancel is answered, never after."""
    batch = await sealed(store, (1,))
    pause = Pause(store, "WITH")  # the free shards, which the statement then takes
    lease = asyncio.create_task(leased(store, batch))
    await pause.reached.wait()
    cancel = asyncio.create_task(store.cancel(MINE, batch.id, NOW))
    await until_somebody_waits(store)
    assert not cancel.done()
    pause.go.set()
    assert len(await lease) == 1
    assert await cancel is not None


async def test_a_shard_that_is_being_committed_is_not_leased(store: Store) -> None:
    """S5: the commit that holds the fence finishes; the closing lease passes the shard over meanwhile."""
    batch = await sealed(store, (2,))
    (lease,) = await leased(store, batch)
    await store.cancel(MINE, batch.id, NOW)
    pause = Pause(store, "UPDATE shards")
    commit = asyncio.create_task(committed(store, segment(lease, [0])))
    await pause.reached.wait()
    later = NOW + 2 * LEASE
    assert await store.lease_closing(worker_id="w", now=later, until=later + LEASE, limit=9) == []
    pause.go.set()
    assert not (await commit).fenced
    (closing,) = await store.lease_closing(worker_id="w", now=later, until=later + LEASE, limit=9)
    assert closing.done == {0}


class Refused(Exception):  # noqa: N818  # named as the driver names its own
    """A database error with a state."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "meaning"),
    [
        ("40001", "conflict"),
        ("40P01", "conflict"),
        ("08006", "lost"),
        ("57P01", "lost"),
        ("53100", "unavailable"),
        ("53300", "unavailable"),
        ("25006", "unavailable"),
        ("58030", "unavailable"),
        ("23505", None),
        ("42703", None),
    ],
)
def test_what_an_error_means_is_read_from_its_state(sqlstate: str, meaning: str | None) -> None:
    """D6, P1: conflicts are repeated, an unreachable or full server is said to be so, a mistake of ours is raised."""
    assert fault(DBAPIError("SELECT 1", None, Refused(sqlstate))) == meaning


async def test_several_servers_share_the_work(url: str, store: Store) -> None:
    """X1: leases of separate processes never overlap, and commits of all of them add up."""
    others = [await Store.open(url, clock=SystemClock()) for _ in range(2)]
    batch = await sealed(store, (1,) * 60)

    async def work(one: Store, worker_id: str, now: datetime = NOW) -> int:
        done = 0
        while leases := await leased(one, batch, worker_id=worker_id, now=now, limit=3):
            report = await committed(one, *(segment(lease) for lease in leases))
            assert not report.fenced
            done += len(leases)
        return done

    stores = [store, *others]
    done = await asyncio.gather(*(work(stores[n % 3], f"worker_{n}") for n in range(6)))
    assert sum(done) == 60
    found = await store.find(MINE, batch.id)
    assert found is not None
    assert found.counts.succeeded == 60
    assert await store.charges(MINE, batch.id) == [charge("m", 60)]
    for other in others:
        await other.close()


async def test_a_worker_gets_no_more_than_it_asked_for_whatever_the_plan(store: Store) -> None:
    """X1: the planner may run a subquery once for each row; which shards are taken is decided once."""
    database: Any = store.database
    engine = database.engine.sync_engine

    def hinder(connection: Connection) -> None:  # until a nested loop over the subquery is what is left
        for way in ("hashjoin", "mergejoin", "material", "hashagg", "sort"):
            connection.exec_driver_sql(f"SET enable_{way} = off")

    event.listen(engine, "begin", hinder)
    batch = await sealed(store, (1,) * 30)
    taken = [len(await leased(store, batch, limit=limit)) for limit in (1, 3, 10)]
    assert taken == [1, 3, 10]


@pytest.fixture
async def heard(url: str, store: Store) -> AsyncIterator["asyncio.Queue[Event]"]:
    """Gather what another process on the same database hears."""
    del store  # which has brought the schema up to date
    other, told = await Store.open(url, clock=QuickClock()), asyncio.Queue[Event]()
    listening = asyncio.create_task(other.listen(told.put_nowait))
    yield told
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await other.close()


class QuickClock(SystemClock):
    """Waits a hundredth of what it should."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 100)


async def _told(store: Store, heard: "asyncio.Queue[Event]") -> Event:
    """Seal batches until the other one hears of one: it may not listen yet."""
    async with asyncio.timeout(30):
        while True:
            await sealed(store)
            with suppress(TimeoutError):
                return await asyncio.wait_for(heard.get(), 0.2)


async def test_others_hear_of_batches_and_of_cancels(store: Store, heard: "asyncio.Queue[Event]") -> None:
    """A worker beside the server need not wait for its next look (C2); what nobody of us says is nothing."""
    first = await _told(store, heard)
    assert isinstance(first, BatchAdmitted)
    while not heard.empty():
        heard.get_nowait()
    for words in ("nonsense", "BatchAdmitted a b c", ""):
        await store.database.write(lambda connection, words=words: _notify(connection, words))
    batch = await sealed(store)
    await store.cancel(MINE, batch.id, NOW)
    await store.cancel(MINE, "msgbatch_nobodys", NOW)
    async with asyncio.timeout(10):
        assert [await heard.get(), await heard.get()] == [
            BatchAdmitted(batch_id=batch.id, workspace_id=MINE, size=batch.size),
            BatchCancelInitiated(batch_id=batch.id, workspace_id=MINE),
        ]


async def test_whoever_listens_does_so_again_after_a_loss(store: Store, heard: "asyncio.Queue[Event]") -> None:
    """P1: connections are cut, and hints come again without anybody's help."""
    await _told(store, heard)
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await store.database.write(lambda connection: connection.execute(kill).all())
    while not heard.empty():
        heard.get_nowait()
    await _told(store, heard)


def _notify(connection: Connection, words: str) -> None:
    connection.execute(text("SELECT pg_notify(:channel, :words)"), {"channel": CHANNEL, "words": words})
