"""Leases: `ports.WorkStore` but for what a commit does, on both databases."""

import asyncio

import pytest

from slackwater.domain.batch import Backlog, Lease, Shard, Terms
from slackwater.store import Store
from support.stores import (
    DAY,
    LEASE,
    MINE,
    NOW,
    SECOND,
    THEIRS,
    committed,
    ended,
    leased,
    sealed,
    segment,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_backlog_lists_free_work_oldest_batch_first_by_model(store: Store) -> None:
    """A pair of batch and model with free shards is one entry; what is held does not count."""
    young = await sealed(store, (1, 1, 1), models=("a", "b"), created_at=NOW + SECOND)
    old = await sealed(store, (1,), models=("z",), workspace_id=THEIRS)
    await ended(store)
    now = NOW + 2 * SECOND
    await leased(store, young, model="a", limit=1, now=now)

    def entry(batch: object, model: str, shards: int) -> Backlog:
        fields = {name: getattr(batch, name) for name in ("workspace_id", "created_at", "expires_at")}
        return Backlog(batch_id=batch.id, model=model, shards=shards, **fields)  # type: ignore[attr-defined]

    expected = [entry(old, "z", 1), entry(young, "a", 1), entry(young, "b", 1)]
    assert await store.backlog(now, limit=10) == expected
    assert await store.backlog(now, limit=2) == expected[:2]
    await leased(store, old, model="z", now=now)
    assert await store.backlog(now, limit=10) == expected[1:]


async def test_backlog_and_lease_leave_out_what_may_not_run(store: Store) -> None:
    """C1, T2: nothing of a batch that is canceling, has ended, or is due to expire."""
    canceling = await sealed(store)
    await store.cancel(MINE, canceling.id, NOW)
    over = await ended(store)
    expiring = await sealed(store)
    for batch, now in ((canceling, NOW), (over, NOW), (expiring, expiring.expires_at)):
        assert await leased(store, batch, now=now) == []
    assert [entry.batch_id for entry in await store.backlog(NOW, limit=10)] == [expiring.id]
    assert await store.backlog(expiring.expires_at, limit=10) == []
    assert await leased(store, expiring, now=expiring.expires_at - SECOND / 1000)


async def test_a_lease_carries_all_that_its_work_needs(store: Store) -> None:
    """The shard, its blob, the batch's terms and instants, and an epoch that has grown by one."""
    batch = await sealed(store, (2, 3), workspace_id=THEIRS)
    (lease,) = await leased(store, batch, limit=1)
    assert lease == Lease(
        batch_id=batch.id,
        workspace_id=THEIRS,
        shard=Shard(number=0, model="m", offset=0, length=900, count=2),
        epoch=1,
        until=NOW + LEASE,
        requests_key=batch.requests_key,
        terms=Terms(version="2026-10-21", betas=("a", "b"), user_profile_id="user_1"),
        created_at=batch.created_at,
        expires_at=batch.expires_at,
    )


async def test_leases_start_with_the_lowest_number_of_their_model(store: Store) -> None:
    """Plan order is what makes prefixes warm."""
    batch = await sealed(store, (1,) * 6, models=("a", "b"))
    assert [lease.shard.number for lease in await leased(store, batch, model="a", limit=2)] == [0, 2]
    assert [lease.shard.number for lease in await leased(store, batch, model="a", limit=2)] == [4]
    assert [lease.shard.number for lease in await leased(store, batch, model="b", limit=9)] == [1, 3, 5]
    assert await leased(store, batch, model="b") == []


async def test_a_lapsed_lease_is_free_and_its_next_holder_knows_what_is_done(store: Store) -> None:
    """X4, L3: only a lease that was not renewed lapses; committed positions are not worked on again (X3)."""
    batch = await sealed(store, (5,))
    (first,) = await leased(store, batch)
    await committed(store, segment(first, [3, 0]))
    assert await leased(store, batch, now=first.until) == []
    assert await store.backlog(first.until, limit=9) == []
    assert len(await store.backlog(first.until + SECOND, limit=9)) == 1
    (second,) = await leased(store, batch, now=first.until + SECOND, worker_id="worker_2")
    assert second.epoch == first.epoch + 1
    assert second.done == {0, 3}


async def test_concurrent_leases_never_share_a_shard(store: Store) -> None:
    """X1: twenty workers at once take every shard exactly once, those of other models not at all."""
    batch = await sealed(store, (1,) * 60, models=("a", "a", "b"))
    racing = [leased(store, batch, model="a", worker_id=f"worker_{n}", limit=3) for n in range(20)]
    taken = [lease.shard.number for leases in await asyncio.gather(*racing) for lease in leases]
    assert len(taken) == len(set(taken))
    rest = await leased(store, batch, model="a")
    assert sorted([*taken, *(lease.shard.number for lease in rest)]) == [n for n in range(60) if n % 3 != 2]
    assert len(await leased(store, batch, model="b")) == 20


async def test_no_lease_is_granted_after_the_answer_to_a_cancel(store: Store) -> None:
    """C1: workers lease in a circle while a cancel comes in; what they got after its answer is nothing."""
    batch = await sealed(store, (1,) * 200)
    answered = False
    granted_late: list[Lease] = []

    async def work(worker_id: str) -> None:
        while True:
            late = answered
            leases = await leased(store, batch, worker_id=worker_id, limit=1)
            if late:
                granted_late.extend(leases)
                return

    workers = [asyncio.create_task(work(f"worker_{n}")) for n in range(8)]
    await leased(store, batch, limit=5)
    await store.cancel(MINE, batch.id, NOW)
    answered = True
    await asyncio.gather(*workers)
    assert granted_late == []
    closing = await store.lease_closing(worker_id="w", now=NOW + DAY / 2, until=NOW + DAY, limit=1000)
    assert len(closing) == 200


async def test_closing_leases_cover_canceled_and_expired_batches_only(store: Store) -> None:
    """C3, T2: what is left gets its line, and the lease says which of the two it is."""
    canceled = await sealed(store, (1, 1), models=("a", "b"))
    await store.cancel(MINE, canceled.id, NOW)
    due = await sealed(store, (1,), created_at=NOW - DAY)
    await sealed(store, (1,))
    await ended(store)
    taken = await store.lease_closing(worker_id="w", now=NOW, until=NOW + LEASE, limit=10)
    found = {(lease.key, lease.canceled) for lease in taken}
    assert found == {((canceled.id, 0), True), ((canceled.id, 1), True), ((due.id, 0), False)}
    assert await store.lease_closing(worker_id="w", now=NOW, until=NOW + LEASE, limit=10) == []


async def test_closing_leases_respect_the_limit_and_held_shards(store: Store) -> None:
    """A shard that a worker still holds is closed after its lease only; batches that are all held hide none."""
    held = await sealed(store, (1, 1, 1), created_at=NOW - SECOND)
    await leased(store, held, limit=3)
    free = await sealed(store, (1, 1))
    for batch in (held, free):
        await store.cancel(MINE, batch.id, NOW)
    first = await store.lease_closing(worker_id="w", now=NOW, until=NOW + LEASE, limit=1)
    assert [lease.key for lease in first] == [(free.id, 0)]
    later = NOW + LEASE + SECOND
    rest = await store.lease_closing(worker_id="w", now=later, until=later + LEASE, limit=4)
    assert [lease.key for lease in rest] == [(held.id, 0), (held.id, 1), (held.id, 2), (free.id, 0)]


async def test_renewing_keeps_what_is_still_ours(store: Store) -> None:
    """X4: a lease with its epoch is extended, even after it lapsed; one that passed on is not."""
    batch = await sealed(store, (1, 1, 1))
    mine = await leased(store, batch)
    later = NOW + LEASE + SECOND
    (lost,) = await leased(store, batch, worker_id="worker_2", now=later, limit=1)
    assert lost.shard.number == 0
    kept = await store.renew("worker_1", mine, later + LEASE)
    assert kept == {(batch.id, 1), (batch.id, 2)}
    assert await leased(store, batch, now=later + SECOND) == []
    assert await store.renew("worker_2", mine, later + LEASE) == frozenset()
    assert await store.renew("worker_1", [], later) == frozenset()


async def test_a_finished_shard_is_not_renewed(store: Store) -> None:
    """Its lease is gone with its last request."""
    batch = await sealed(store, (1, 1))
    one, two = await leased(store, batch)
    await committed(store, segment(one))
    assert await store.renew("worker_1", [one, two], NOW + 2 * LEASE) == {two.key}


async def test_released_shards_are_free_at_once(store: Store) -> None:
    """L4: what a worker gives back is leased again without waiting; a lost lease gives nothing back."""
    batch = await sealed(store, (1, 1))
    first, second = await leased(store, batch)
    await store.release([first])
    await store.release([])
    (again,) = await leased(store, batch, worker_id="worker_2")
    assert again.key == first.key
    assert again.epoch == first.epoch + 1
    await store.release([first, second])
    assert [lease.key for lease in await leased(store, batch)] == [second.key]


async def test_a_dead_workers_leases_are_void(store: Store) -> None:
    """L3: a restarted process takes its own old leases back at once; others keep theirs."""
    batch = await sealed(store, (1, 1, 1))
    mine = await leased(store, batch, limit=2)
    await leased(store, batch, worker_id="worker_2")
    await committed(store, segment(mine[0]))
    assert await store.release_worker("worker_1") == 1
    assert await store.release_worker("worker_1") == 0
    assert await store.renew("worker_1", mine, NOW + DAY) == frozenset()
    assert [lease.key for lease in await leased(store, batch)] == [mine[1].key]


async def test_stopped_names_what_must_not_be_sent(store: Store) -> None:
    """C2: canceling, ended and gone."""
    running = await sealed(store)
    canceling = await sealed(store)
    await store.cancel(MINE, canceling.id, NOW)
    over = await ended(store)
    asked = [running.id, canceling.id, over.id, "msgbatch_gone"]
    assert await store.stopped(asked) == {canceling.id, over.id, "msgbatch_gone"}
    assert await store.stopped([]) == frozenset()


@pytest.mark.parametrize("limit", [0, 1])
async def test_a_lease_of_an_unknown_batch_or_model_is_empty(store: Store, limit: int) -> None:
    """Nothing to lease is not an error."""
    batch = await sealed(store)
    assert await leased(store, batch, model="other", limit=limit) == []
    await store.delete(MINE, (await ended(store)).id)
    assert await store.lease("msgbatch_gone", "m", worker_id="w", now=NOW, until=NOW + LEASE, limit=limit) == []
