"""`ports.BatchStore` on both databases."""

import asyncio
from datetime import timedelta

import pytest

from slackwater.clock import SystemClock
from slackwater.domain.batch import RequestCounts
from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.ids import BATCH, IdSource
from slackwater.domain.result import ResultRange
from slackwater.store import Store
from support.stores import (
    DAY,
    LEASE,
    MINE,
    NOW,
    SECOND,
    THEIRS,
    admission,
    charge,
    committed,
    ended,
    leased,
    sealed,
    segment,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_sealed_batch_is_found_at_once_just_as_it_was_admitted(store: Store) -> None:
    """D4: the first read after the seal sees it. T1: both instants are kept to the microsecond."""
    admitted = admission((2, 3))
    answer = await store.seal(admitted)
    assert not answer.duplicate
    assert answer.batch == admitted.batch
    found = await store.find(MINE, admitted.batch.id)
    assert found == admitted.batch
    assert found.expires_at - found.created_at == DAY
    assert found.created_at.microsecond == 123456


async def test_a_foreign_batch_is_like_none(store: Store) -> None:
    """W1, W2: every call of another workspace gets what it would get for an id that never was."""
    batch = await ended(store)
    for batch_id in (batch.id, "msgbatch_unknown"):
        assert await store.find(THEIRS, batch_id) is None
        assert await store.cancel(THEIRS, batch_id, NOW) is None
        assert await store.delete(THEIRS, batch_id) is None
        assert await store.results(THEIRS, batch_id) == []
        assert await store.charges(THEIRS, batch_id) == []
    assert (await store.page(THEIRS, limit=10)).items == ()
    messages = set()
    for batch_id in (batch.id, "msgbatch_unknown"):
        with pytest.raises(InvalidRequestError) as caught:
            await store.page(THEIRS, limit=10, after_id=batch_id)
        messages.add(caught.value.message.replace(batch_id, "…"))
    assert len(messages) == 1
    assert await store.find(MINE, batch.id) == batch


async def test_the_same_body_without_a_retry_mark_is_a_new_batch(store: Store) -> None:
    """D3: a call with retry count 0 and no key is always a new batch."""
    first = await store.seal(admission(digest=b"same"))
    second = await store.seal(admission(digest=b"same"))
    assert not second.duplicate
    assert second.batch.id != first.batch.id


async def test_a_retried_create_gets_the_first_batch(store: Store) -> None:
    """D3: same workspace, key and body, marked as retried, within 15 minutes."""
    first = await store.seal(admission(digest=b"same"))
    later = NOW + timedelta(minutes=15) - SECOND
    second = await store.seal(admission(digest=b"same", retried=True, created_at=later))
    assert second.duplicate
    assert second.batch == first.batch
    assert len((await store.page(MINE, limit=10)).items) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"digest": b"other"},
        {"key_id": "apikey_2"},
        {"workspace_id": THEIRS},
        {"created_at": NOW + timedelta(minutes=15)},
    ],
)
async def test_a_retried_create_that_differs_is_a_new_batch(store: Store, other: dict[str, object]) -> None:
    """D3: another body, key or workspace, or a later time, is another create."""
    await store.seal(admission(digest=b"same"))
    again = await store.seal(admission(**{"digest": b"same", "retried": True, **other}))
    assert not again.duplicate


async def test_an_idempotency_key_gets_the_first_batch_for_a_day(store: Store) -> None:
    """D3: the same key within 24 hours answers with the same batch, retried or not, whichever API key is used."""
    first = await store.seal(admission(digest=b"same", idempotency_key="k"))
    again = await store.seal(
        admission(digest=b"same", idempotency_key="k", key_id="apikey_2", created_at=NOW + DAY - SECOND)
    )
    assert again.duplicate
    assert again.batch == first.batch
    late = await store.seal(admission(digest=b"same", idempotency_key="k", created_at=NOW + DAY))
    assert not late.duplicate
    latest = await store.seal(admission(digest=b"same", idempotency_key="k", created_at=NOW + DAY + SECOND))
    assert latest.batch == late.batch


async def test_an_idempotency_key_with_another_body_is_refused(store: Store) -> None:
    """D3: 400, and nothing is made; the same key in another workspace is another key."""
    await store.seal(admission(digest=b"same", idempotency_key="k"))
    with pytest.raises(InvalidRequestError, match="another request body"):
        await store.seal(admission(digest=b"other", idempotency_key="k"))
    assert len((await store.page(MINE, limit=10)).items) == 1
    foreign = await store.seal(admission(digest=b"other", idempotency_key="k", workspace_id=THEIRS))
    assert not foreign.duplicate


async def test_a_clients_own_key_decides_alone(store: Store) -> None:
    """D3: a create with a fresh idempotency key is new, even when it is a retry of a body that was seen before."""
    await store.seal(admission(digest=b"same", idempotency_key="k1"))
    other = await store.seal(admission(digest=b"same", idempotency_key="k2", retried=True))
    assert not other.duplicate


@pytest.mark.parametrize("mark", [{"retried": True}, {"idempotency_key": "k"}])
async def test_of_racing_repetitions_one_makes_the_batch(store: Store, mark: dict[str, object]) -> None:
    """D3: twenty at once, one batch; all others are told that they repeat it."""
    racing = [store.seal(admission(digest=b"same", **mark)) for _ in range(20)]
    answers = await asyncio.gather(*racing)
    assert [answer.duplicate for answer in answers].count(False) == 1
    assert len({answer.batch.id for answer in answers}) == 1
    assert len((await store.page(MINE, limit=100)).items) == 1


async def test_a_create_that_its_own_repetition_overtook_is_one_batch(store: Store) -> None:
    """D3, P2: under way on one server, repeated and sealed on another; that batch is this call's and no other's."""
    ahead = await store.seal(admission(digest=b"same", retried=True, created_at=NOW + SECOND))
    assert not ahead.duplicate
    late = admission(digest=b"same", arrived_at=NOW, created_at=NOW + 2 * SECOND)
    for _ in range(2):  # the answer to the first commit was lost
        sealed = await store.seal(late)
        assert (sealed.duplicate, sealed.batch) == (True, ahead.batch)
    other = await store.seal(admission(digest=b"same", arrived_at=NOW, created_at=NOW + 2 * SECOND))
    assert not other.duplicate


@pytest.mark.parametrize("mark", [{"retried": True}, {}])
async def test_a_call_that_comes_when_the_batch_of_its_repetition_was_deleted_makes_no_other(
    store: Store, mark: dict[str, object]
) -> None:
    """D3: nobody waits for that one any more, so the error is not seen; a call of later is new."""
    ahead = await ended(store, digest=b"same", retried=True, created_at=NOW + SECOND)
    await store.delete(MINE, ahead.id)
    late = admission(digest=b"same", arrived_at=NOW, created_at=NOW + 2 * SECOND, **mark)
    for _ in range(2):
        with pytest.raises(InvalidRequestError, match=f"made {ahead.id}, which has been deleted"):
            await store.seal(late)
    call = admission(digest=b"same", arrived_at=NOW + 3 * SECOND, created_at=NOW + 4 * SECOND, **mark)
    assert not (await store.seal(call)).duplicate


async def test_a_seal_whose_answer_was_lost_does_not_bring_a_deleted_batch_back(store: Store) -> None:
    """P2, D3: it is repeated with the same id, when its batch has come and gone."""
    batch = await ended(store, digest=b"same")
    await store.delete(MINE, batch.id)
    admitted = admission(digest=b"same", batch_id=batch.id)
    with pytest.raises(InvalidRequestError, match="deleted"):
        await store.seal(admitted)
    assert await store.find(MINE, admitted.batch.id) is None


async def test_an_idempotency_key_outlives_its_batch(store: Store) -> None:
    """D3: for 24 hours it makes no second batch, deleted or not."""
    first = await ended(store, digest=b"same", idempotency_key="k")
    await store.delete(MINE, first.id)
    with pytest.raises(InvalidRequestError, match=f"made {first.id}, which has been deleted"):
        await store.seal(admission(digest=b"same", idempotency_key="k", created_at=NOW + DAY - SECOND))
    assert not (await store.seal(admission(digest=b"same", idempotency_key="k", created_at=NOW + DAY))).duplicate


@pytest.mark.parametrize(
    "call",
    [
        {"arrived_at": NOW + SECOND},
        {"arrived_at": NOW, "digest": b"other"},
        {"arrived_at": NOW, "key_id": "apikey_2"},
        {"arrived_at": NOW, "workspace_id": THEIRS},
    ],
)
async def test_what_no_repetition_overtook_is_a_new_batch(store: Store, call: dict[str, object]) -> None:
    """D3: another body, key or workspace, or a call that came after the repetition was sealed."""
    await store.seal(admission(digest=b"same", retried=True, created_at=NOW + SECOND))
    found = await store.seal(admission(**{"digest": b"same", "created_at": NOW + 2 * SECOND, **call}))
    assert not found.duplicate


async def test_equal_creates_that_nobody_repeated_are_never_one(store: Store) -> None:
    """D3: also when they are under way at the same time."""
    first = await store.seal(admission(digest=b"same", arrived_at=NOW, created_at=NOW + SECOND))
    second = await store.seal(admission(digest=b"same", arrived_at=NOW, created_at=NOW + 2 * SECOND))
    assert not second.duplicate
    assert second.batch.id != first.batch.id


async def test_sealing_the_same_batch_again_changes_nothing(store: Store) -> None:
    """P2: a seal whose answer was lost is repeated with the same id."""
    admitted = admission((1, 1))
    first = await store.seal(admitted)
    await leased(store, first.batch, limit=1)
    again = await store.seal(admitted)
    assert not again.duplicate
    assert again.batch == first.batch
    assert [backlog.shards for backlog in await store.backlog(NOW, limit=10)] == [1]


@pytest.mark.parametrize("turns", [1, 3, 10])
async def test_a_canceled_call_is_whole_or_undone_and_does_not_disturb_the_next(store: Store, turns: int) -> None:
    """D2: a client that hangs up in the middle of its create leaves all of it or nothing, and the store in order."""
    admitted = admission((1,) * 300)
    call = asyncio.create_task(store.seal(admitted))
    loop = asyncio.get_running_loop()
    for _ in range(turns):
        turn = asyncio.Event()
        loop.call_soon(turn.set)
        await turn.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    batch = await sealed(store)
    assert await store.find(MINE, batch.id) == batch
    found = await store.find(MINE, admitted.batch.id)
    assert found in {None, admitted.batch}
    free = {entry.batch_id: entry.shards for entry in await store.backlog(NOW, limit=9)}
    assert free.get(admitted.batch.id) == (300 if found else None)


async def test_pages_walk_both_ways_and_never_skip_or_repeat(store: Store) -> None:
    """Contract §3: newest first in both directions; equal instants are told apart by id."""
    ids = [(await sealed(store, batch_id=f"msgbatch_{n}", created_at=NOW + (n // 3) * SECOND)).id for n in range(8)]
    newest_first = list(reversed(ids))
    await sealed(store, workspace_id=THEIRS)

    first = await store.page(MINE, limit=3)
    assert [batch.id for batch in first.items] == newest_first[:3]
    assert first.has_more
    second = await store.page(MINE, limit=3, after_id=newest_first[2])
    assert [batch.id for batch in second.items] == newest_first[3:6]
    third = await store.page(MINE, limit=3, after_id=newest_first[5])
    assert [batch.id for batch in third.items] == newest_first[6:]
    assert not third.has_more

    back = await store.page(MINE, limit=3, before_id=newest_first[6])
    assert [batch.id for batch in back.items] == newest_first[3:6]
    assert back.has_more
    front = await store.page(MINE, limit=3, before_id=newest_first[3])
    assert [batch.id for batch in front.items] == newest_first[:3]
    assert not front.has_more
    assert (await store.page(MINE, limit=3, before_id=newest_first[0])).items == ()


async def test_an_unknown_cursor_is_refused(store: Store) -> None:
    """Contract §3: 400 that names the parameter; both at once likewise."""
    for name in ("after_id", "before_id"):
        with pytest.raises(InvalidRequestError, match=name):
            await store.page(MINE, limit=3, **{name: "msgbatch_unknown"})
    batch = await sealed(store)
    with pytest.raises(InvalidRequestError, match="Only one"):
        await store.page(MINE, limit=3, after_id=batch.id, before_id=batch.id)


async def test_who_deletes_while_paging_goes_on_where_he_was(store: Store) -> None:
    """Section 16 row 25: the cursor of a deleted batch is still a place, in both directions; nothing is passed over."""
    clock = SystemClock()
    ids = IdSource(lambda: int(clock.now().timestamp() * 1000))
    for _ in range(9):
        await ended(store, (1,), batch_id=ids.new(BATCH), created_at=clock.now())
        await clock.sleep(0.002)
    everything = [batch.id for batch in (await store.page(MINE, limit=20)).items]
    for batch_id in everything[3:6]:
        assert await store.delete(MINE, batch_id) is not None
    older = await store.page(MINE, limit=20, after_id=everything[4])
    newer = await store.page(MINE, limit=20, before_id=everything[4])
    assert [batch.id for batch in older.items] == everything[6:]
    assert [batch.id for batch in newer.items] == everything[:3]


async def test_a_canceled_batch_keeps_its_first_instant(store: Store) -> None:
    """C4: cancel is idempotent. S2: the counts still sum to the size."""
    batch = await sealed(store, (3,))
    first = await store.cancel(MINE, batch.id, NOW + SECOND)
    assert first is not None
    assert first.processing_status == "canceling"
    assert first.cancel_initiated_at == NOW + SECOND
    assert await store.cancel(MINE, batch.id, NOW + 2 * SECOND) == first
    assert await store.find(MINE, batch.id) == first
    assert first.tally == RequestCounts(processing=3)


async def test_cancel_leaves_an_ended_batch_as_it_is(store: Store) -> None:
    """C4, S6: ended is ended."""
    batch = await ended(store)
    assert await store.cancel(MINE, batch.id, NOW + SECOND) == batch
    assert await store.find(MINE, batch.id) == batch


async def test_results_committed_before_a_cancel_stay(store: Store) -> None:
    """C4: what was committed is delivered; the rest gets its own outcome, and the batch ends."""
    batch = await sealed(store, (3,))
    (lease,) = await leased(store, batch)
    await committed(store, segment(lease, [1], blob_key="results/a"))
    await store.cancel(MINE, batch.id, NOW)
    await committed(store, segment(lease, [0, 2], kind="canceled", blob_key="results/b"), now=NOW + SECOND)
    found = await store.find(MINE, batch.id)
    assert found is not None
    assert found.processing_status == "ended"
    assert found.ended_at == NOW + SECOND
    assert found.counts == RequestCounts(succeeded=1, canceled=2)
    assert [part.blob_key for part in await store.results(MINE, batch.id)] == ["results/a", "results/b"]


async def test_only_an_ended_batch_is_deleted_and_nothing_of_it_stays(store: Store) -> None:
    """Contract §4.5; its money stays in the ledger (M1)."""
    running = await sealed(store, (2,))
    assert await store.delete(MINE, running.id) == running
    assert await store.find(MINE, running.id) == running

    batch = await ended(store, (2, 2))
    before = await store.usage()
    keys = [batch.requests_key, *(part.blob_key for part in await store.results(MINE, batch.id))]
    assert await store.referenced(keys) == frozenset(keys)
    assert await store.delete(MINE, batch.id) == batch
    assert await store.find(MINE, batch.id) is None
    assert await store.results(MINE, batch.id) == []
    assert await store.charges(MINE, batch.id) == []
    assert await store.referenced(keys) == frozenset()
    assert await store.delete(MINE, batch.id) is None
    assert await store.usage() == before


async def test_a_batch_deleted_meanwhile_fences_its_workers(store: Store) -> None:
    """S5: a zombie's segment for a batch that is gone is refused."""
    batch = await sealed(store, (1,))
    (old,) = await leased(store, batch)
    (new,) = await leased(store, batch, now=NOW + 2 * LEASE)
    await committed(store, segment(new))
    await store.delete(MINE, batch.id)
    report = await committed(store, segment(old))
    assert report.fenced == {old.key}


async def test_charges_add_up_by_model(store: Store) -> None:
    """M1: what the segments say is what the batch used, sorted by model."""
    batch = await sealed(store, (2, 1, 2), models=("b", "a"))
    for model in ("a", "b"):
        for lease in await leased(store, batch, model=model):
            await committed(store, segment(lease))
    assert await store.charges(MINE, batch.id) == [charge("a", 1), charge("b", 4)]


async def test_results_keep_commit_order_and_join_neighbours(store: Store) -> None:
    """R1: ranges come in the order of their commits; what lies side by side in one blob is one range."""
    batch = await sealed(store, (2, 2, 2))
    one, two, three = await leased(store, batch)
    await committed(store, segment(three, blob_key="results/x"))
    await committed(store, segment(one, blob_key="results/y"), segment(two, blob_key="results/y", offset=20))
    expected = [
        ResultRange(blob_key="results/x", offset=0, length=20),
        ResultRange(blob_key="results/y", offset=0, length=40),
    ]
    assert await store.results(MINE, batch.id) == expected
    assert await store.results(MINE, batch.id) == expected
