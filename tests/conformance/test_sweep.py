"""`ports.SweepStore` on both databases."""

import asyncio

import pytest

from slackwater.domain.result import ResultRange
from slackwater.ports import Compaction
from slackwater.store import Store
from support.stores import DAY, LEASE, MINE, NOW, SECOND, admission, committed, ended, flush, leased, sealed, segment

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_one_sweeper_holds_at_a_time(store: Store) -> None:
    """The holder keeps it, another gets it only after it lapsed; of many at once one gets it."""
    assert await store.hold("a", NOW, NOW + LEASE)
    assert await store.hold("a", NOW + SECOND, NOW + LEASE)
    assert not await store.hold("b", NOW + LEASE, NOW + 2 * LEASE)
    late = NOW + LEASE + SECOND
    got = await asyncio.gather(*(store.hold(f"s{n}", late, late + LEASE) for n in range(8)))
    assert got.count(True) == 1
    assert not await store.hold("a", late, late + LEASE)


async def test_the_high_water_never_falls(store: Store) -> None:
    """T3: the latest instant ever recorded is what a clock may not go behind."""
    assert await store.high_water(NOW) == NOW
    assert await store.high_water(NOW + DAY) == NOW + DAY
    assert await store.high_water(NOW) == NOW + DAY
    marks = await asyncio.gather(*(store.high_water(NOW + n * DAY) for n in range(5)))
    assert max(marks) == await store.high_water(NOW) == NOW + 4 * DAY


async def test_archiving_takes_results_away_and_leaves_the_batch(store: Store) -> None:
    """T4: by `created_at`, ended batches only, oldest first; the caller learns which blobs nothing refers to now."""
    old = await ended(store, (1, 1), created_at=NOW - 30 * DAY)
    older = await ended(store, (1,), created_at=NOW - 31 * DAY)
    kept = await ended(store, (1,), created_at=NOW - DAY)
    running = await sealed(store, created_at=NOW - 40 * DAY)
    before = NOW - 29 * DAY
    blobs = {batch.id: [part.blob_key for part in await store.results(MINE, batch.id)] for batch in (old, older)}
    charges = await store.charges(MINE, old.id)

    assert sorted(await store.archive_due(NOW, before, limit=1)) == sorted([older.requests_key, *blobs[older.id]])
    keys = await store.archive_due(NOW, before, limit=10)
    assert sorted(keys) == sorted([old.requests_key, *blobs[old.id]])
    assert await store.archive_due(NOW, before, limit=10) == []

    found = await store.find(MINE, old.id)
    assert found is not None
    assert found.archived_at == NOW
    assert found.processing_status == "ended"
    assert found.counts == old.counts
    assert await store.results(MINE, old.id) == []
    assert await store.charges(MINE, old.id) == charges
    assert await store.referenced(keys) == frozenset()
    assert await store.find(MINE, kept.id) == kept
    assert await store.find(MINE, running.id) == running
    assert await store.delete(MINE, old.id) == found


async def test_a_compacted_batch_is_one_range(store: Store) -> None:
    """R1: the same bytes in the same order from one blob; what was replaced is not referred to any more."""
    batch = await ended(store, (1, 2))
    single = await ended(store, (3,))
    running = await sealed(store, (1, 1, 1))
    for lease in (await leased(store, running))[:2]:
        await committed(store, segment(lease))
    ranges = await store.results(MINE, batch.id)
    assert await store.fragmented(limit=10) == [Compaction(batch_id=batch.id, ranges=tuple(ranges))]

    assert await store.compacted(batch.id, "results/whole", 30)
    assert await store.compacted(batch.id, "results/whole", 30)
    assert not await store.compacted(batch.id, "results/another", 30)
    assert await store.results(MINE, batch.id) == [ResultRange(blob_key="results/whole", offset=0, length=30)]
    assert await store.fragmented(limit=10) == []
    assert await store.find(MINE, batch.id) == batch
    keys = ["results/whole", *(part.blob_key for part in ranges)]
    assert await store.referenced(keys) == {"results/whole"}
    assert len(await store.results(MINE, single.id)) == 1

    of_single = [part.blob_key for part in await store.results(MINE, single.id)]
    archived = await store.archive_due(NOW, NOW + DAY, limit=10)
    assert set(archived) == {batch.requests_key, "results/whole", single.requests_key, *of_single}


async def test_compaction_refuses_what_is_not_ended_gone_or_of_another_length(store: Store) -> None:
    """R4, S3: nothing may change or cut what readers see."""
    running = await sealed(store, (1, 1))
    await committed(store, segment((await leased(store, running))[0]))
    assert not await store.compacted(running.id, "results/whole", 10)
    assert not await store.compacted("msgbatch_gone", "results/whole", 10)
    batch = await ended(store, (1, 1))
    with pytest.raises(ValueError, match="bytes"):
        await store.compacted(batch.id, "results/whole", 19)
    assert len(await store.results(MINE, batch.id)) == 2
    await store.archive_due(NOW, NOW + DAY, limit=10)
    assert not await store.compacted(batch.id, "results/whole", 20)


async def test_referenced_keys_are_those_of_rows(store: Store) -> None:
    """D2: whatever no row names may be swept."""
    batch = await sealed(store, (1, 1))
    (lease, _) = await leased(store, batch)
    await committed(store, segment(lease, blob_key="results/known"))
    asked = [batch.requests_key, "results/known", "results/orphan", "requests/orphan"]
    assert await store.referenced(asked) == {batch.requests_key, "results/known"}
    assert await store.referenced([]) == frozenset()


async def test_creates_and_tokens_are_forgotten_when_nobody_repeats_them(store: Store) -> None:
    """D3, P2: a day later; what is younger is still recognised."""
    await store.seal(admission(digest=b"old", idempotency_key="old"))
    await store.seal(admission(digest=b"young", idempotency_key="young", created_at=NOW + DAY))

    async def repeated(name: str) -> bool:
        late = admission(digest=name.encode(), idempotency_key=name, created_at=NOW + DAY)
        return (await store.seal(late)).duplicate

    batch = await sealed(store, (2,))
    (lease,) = await leased(store, batch)
    remembered = flush(segment(lease, [0]))
    await store.commit(remembered, NOW + SECOND)
    await store.forget_creates(NOW + DAY + SECOND)
    assert await repeated("young")
    assert not await repeated("old")
    assert await store.commit(remembered, NOW) != await store.commit(flush(segment(lease, [0])), NOW)
    await store.forget_creates(NOW + 2 * DAY)
    assert (await store.commit(remembered, NOW)).fenced == {lease.key}
