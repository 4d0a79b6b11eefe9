"""What makes results visible, on both databases: fence, exactly once, counts, money, ends."""

import asyncio
from dataclasses import asdict

import pytest

from slackwater.domain.batch import RequestCounts
from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.result import CommitReport, Flush, ResultRange, Segment
from slackwater.store import Store
from support.stores import (
    LEASE,
    MINE,
    NOW,
    SECOND,
    THEIRS,
    charge,
    committed,
    ended,
    flush,
    leased,
    sealed,
    segment,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_last_request_of_the_last_shard_ends_the_batch(store: Store) -> None:
    """S2, S6: the counts sum to the size at every step; `ended_at` comes with the last result and never before."""
    batch = await sealed(store, (2, 1))
    one, two = await leased(store, batch)
    steps = [
        (segment(one, [1]), RequestCounts(processing=2, succeeded=1), frozenset()),
        (segment(two, [0], kind="errored"), RequestCounts(processing=1, succeeded=1, errored=1), {two.key}),
        (segment(one, [0]), RequestCounts(succeeded=2, errored=1), {one.key}),
    ]
    for number, (part, tally, finished) in enumerate(steps):
        report = await committed(store, part, now=NOW + number * SECOND)
        found = await store.find(MINE, batch.id)
        assert found is not None
        assert found.tally == tally
        assert sum(asdict(found.tally).values()) == sum(asdict(found.counts).values()) == batch.size
        assert report.finished == finished
        last = number == len(steps) - 1
        assert report.ended == ({batch.id} if last else frozenset())
        assert found.ended_at == (NOW + number * SECOND if last else None)
        assert found.processing_status == ("ended" if last else "in_progress")
        assert found.counts == (tally if last else RequestCounts(processing=batch.size))


async def test_a_batch_does_not_end_before_what_happened_to_it(store: Store) -> None:
    """T3: whoever writes its last line may have a clock that is a little behind."""
    expired, canceled = await sealed(store, (1,)), await sealed(store, (1,))
    (one,), (two,) = await leased(store, expired), await leased(store, canceled)
    await store.cancel(MINE, canceled.id, NOW + 3 * SECOND)
    await committed(store, segment(one, kind="expired"), segment(two, kind="canceled"), now=NOW + SECOND)
    for batch, instant in ((expired, expired.expires_at), (canceled, NOW + 3 * SECOND)):
        found = await store.find(MINE, batch.id)
        assert found is not None
        assert found.ended_at == instant


async def test_a_segment_of_a_passed_lease_is_refused(store: Store) -> None:
    """S5: the zombie's lines, counts and charges leave no trace, the other shards of its flush are committed."""
    batch = await sealed(store, (1, 1))
    old, kept = await leased(store, batch)
    await store.renew("worker_1", [kept], NOW + 10 * LEASE)
    (new,) = await leased(store, batch, worker_id="worker_2", now=NOW + 2 * LEASE)
    report = await committed(store, segment(old, blob_key="results/old"), segment(kept, blob_key="results/kept"))
    assert report.fenced == {old.key}
    assert report.finished == {kept.key}
    assert await store.results(MINE, batch.id) == [ResultRange(blob_key="results/kept", offset=0, length=10)]
    assert await store.charges(MINE, batch.id) == [charge("m", 1)]
    found = await store.find(MINE, batch.id)
    assert found is not None
    assert found.tally == RequestCounts(processing=1, succeeded=1)
    assert (await committed(store, segment(new))).ended == {batch.id}


async def test_a_released_lease_fences_after_the_next_one_only(store: Store) -> None:
    """S5: the epoch decides, so that what a stopping worker flushes late is not lost."""
    batch = await sealed(store, (2,))
    (lease,) = await leased(store, batch)
    await store.release([lease])
    assert (await committed(store, segment(lease, [0]))).fenced == frozenset()
    await leased(store, batch)
    assert (await committed(store, segment(lease, [1]))).fenced == {lease.key}


async def test_a_position_is_committed_once(store: Store) -> None:
    """S1: a second line for a request is refused under the same epoch, alone, mixed, and within one flush."""
    batch = await sealed(store, (4,))
    (lease,) = await leased(store, batch)
    await committed(store, segment(lease, [0, 1]))
    for positions in ([0], [1, 2]):
        report = await committed(store, segment(lease, positions))
        assert report.fenced == {lease.key}
    report = await committed(store, segment(lease, [2]), segment(lease, [2, 3]))
    assert report.fenced == {lease.key}
    found = await store.find(MINE, batch.id)
    assert found is not None
    assert found.tally == RequestCounts(processing=1, succeeded=3)
    assert (await committed(store, segment(lease, [3]))).ended == {batch.id}
    assert (await committed(store, segment(lease, [3]))).fenced == {lease.key}


@pytest.mark.parametrize("positions", [(2,), (0, 0), (0, 255)])
async def test_a_segment_that_cannot_be_of_its_shard_is_an_error(store: Store, positions: tuple[int, ...]) -> None:
    """S1: a position beyond the shard or named twice is a bug of the worker; nothing of the flush is written."""
    batch = await sealed(store, (2, 1))
    lease, other = await leased(store, batch)
    with pytest.raises(ValueError, match="positions"):
        await committed(store, segment(other), segment(lease, positions))
    assert await store.find(MINE, batch.id) == batch
    assert await store.results(MINE, batch.id) == []


async def test_a_repeated_token_changes_nothing_and_reports_again(store: Store) -> None:
    """P2: the flush whose answer was lost takes effect once; its report is told again from the rows."""
    batch = await sealed(store, (1, 2))
    one, two = await leased(store, batch)
    first = flush(segment(one), segment(two, [0]))
    report = await store.commit(first, NOW)
    before = (await store.find(MINE, batch.id), await store.results(MINE, batch.id), await store.usage())
    assert await store.commit(first, NOW + SECOND) == report
    assert (await store.find(MINE, batch.id), await store.results(MINE, batch.id), await store.usage()) == before
    last = flush(segment(two, [1]))
    end = await store.commit(last, NOW)
    assert end.ended == {batch.id}
    assert await store.commit(last, NOW + SECOND) == end
    await store.compacted(batch.id, "results/whole", 30)
    assert await store.commit(last, NOW + SECOND) == end
    await store.delete(MINE, batch.id)
    assert (await store.commit(last, NOW + SECOND)).fenced == {two.key}


async def test_the_same_token_at_the_same_time_takes_effect_once(store: Store) -> None:
    """P2: also when the repetition overtakes."""
    batch = await sealed(store, (3,))
    (lease,) = await leased(store, batch)
    same = flush(segment(lease))
    reports = await asyncio.gather(*(store.commit(same, NOW) for _ in range(5)))
    assert {report.ended for report in reports} == {frozenset({batch.id})}
    assert await store.charges(MINE, batch.id) == [charge("m", 3)]


async def test_an_empty_flush_is_fine(store: Store) -> None:
    """Nothing gathered, nothing done."""
    report = await store.commit(flush(), NOW)
    assert report == CommitReport()


async def test_one_flush_may_end_several_batches_of_several_workspaces(store: Store) -> None:
    """S4, W3: results, charges and ledger of each go where they belong, in one transaction."""
    mine = await sealed(store, (1,), models=("a",))
    theirs = await sealed(store, (2,), models=("b",), workspace_id=THEIRS)
    parts = [segment((await leased(store, batch, model=model))[0]) for batch, model in ((theirs, "b"), (mine, "a"))]
    report = await committed(store, *parts)
    assert report.ended == {mine.id, theirs.id}
    assert await store.charges(MINE, mine.id) == [charge("a", 1)]
    assert await store.charges(THEIRS, theirs.id) == [charge("b", 2)]
    assert {(row.workspace_id, row.charge) for row in await store.usage()} == {
        (MINE, charge("a", 1)),
        (THEIRS, charge("b", 2)),
    }


async def test_many_workers_committing_at_once_lose_and_double_nothing(store: Store) -> None:
    """S1, S2, M1: forty shards of four batches, ten workers, flushes that overlap in batches; no deadlock."""
    batches = [await sealed(store, (3,) * 10) for _ in range(4)]
    leases = [lease for batch in batches for lease in await leased(store, batch)]

    async def worker(number: int) -> None:
        own = leases[number::10]
        for position in range(3):
            await committed(store, *(segment(lease, [position]) for lease in own))

    await asyncio.gather(*(worker(number) for number in range(10)))
    for batch in batches:
        found = await store.find(MINE, batch.id)
        assert found is not None
        assert found.counts == RequestCounts(succeeded=30)
        assert found.processing_status == "ended"
        assert sum(part.length for part in await store.results(MINE, batch.id)) == 300
    (line,) = await store.usage(MINE)
    assert line.charge == charge("m", 120)


async def test_a_commit_and_the_next_lease_of_its_shard_agree(store: Store) -> None:
    """S5, X3: a zombie's commit races with the lease that takes its shard: either it is seen as done, or fenced."""
    for _ in range(10):
        batch = await sealed(store, (2,))
        (old,) = await leased(store, batch)
        later = NOW + 2 * LEASE
        report, leases = await asyncio.gather(
            committed(store, segment(old, [0])), leased(store, batch, worker_id="worker_2", now=later)
        )
        if not leases:  # the row was locked: the commit came first
            leases = await leased(store, batch, worker_id="worker_2", now=later)
        assert leases[0].done == (frozenset() if report.fenced else {0})


async def test_an_error_before_the_commit_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """S4, D2: result, usage and state change happen together or not at all; the same flush works afterwards."""
    batch = await sealed(store, (1,))
    (lease,) = await leased(store, batch)
    same = flush(segment(lease))

    def fail(*_: object) -> None:
        message = "the disk is full"
        raise StoreUnavailableError(message)

    with monkeypatch.context() as patch:
        patch.setattr("slackwater.store.commit.add_to_ledger", fail)
        with pytest.raises(StoreUnavailableError):
            await store.commit(same, NOW)
    assert await store.find(MINE, batch.id) == batch
    assert await store.charges(MINE, batch.id) == []
    assert (await store.commit(same, NOW)).ended == {batch.id}


async def test_an_ended_batch_is_frozen(store: Store) -> None:
    """S2, S3, S6: no later commit, lease or cancel changes its counts, its instant or its lines."""
    batch = await ended(store, (1, 1))
    results = await store.results(MINE, batch.id)
    zombie = Segment(
        batch_id=batch.id,
        shard_number=0,
        epoch=1,
        blob_key="results/zombie",
        offset=0,
        length=10,
        positions=(0,),
        types=("canceled",),
    )
    assert (await store.commit(Flush(token="t", segments=(zombie,)), NOW + SECOND)).fenced == {(batch.id, 0)}
    await store.cancel(MINE, batch.id, NOW + SECOND)
    assert await store.lease_closing(worker_id="w", now=NOW + SECOND, until=NOW + LEASE, limit=9) == []
    assert await store.find(MINE, batch.id) == batch
    assert await store.results(MINE, batch.id) == results
