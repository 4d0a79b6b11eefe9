"""Cancel, expiry, lost leases and restarts: what stops, what is kept, what is never sent again."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.clock import SystemClock
from slackwater.domain.batch import RequestCounts
from slackwater.domain.errors import BackendAwayError, InvalidRequestError, NotFoundError, StoreUnavailableError
from slackwater.domain.result import CommitReport, Flush
from slackwater.ports import Call
from support.worker import WORKSPACE, echo, message, until, working


async def test_after_a_cancel_is_answered_nothing_more_is_sent_and_finished_work_stays(tmp_path: Path) -> None:
    """C1, C2, C4: the answer says `canceling`, the rest becomes `canceled`, what was done stays `succeeded`."""
    release = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        if int((call.custom_id or "r0")[1:]) >= 40:
            await release.wait()
        return await echo(call)

    async with working(tmp_path, answer, in_flight=4) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(400)})
        await until(lambda: len(worker.backend.calls) == 44)
        canceling = await worker.batches.cancel(WORKSPACE, batch.id)
        again = await worker.batches.cancel(WORKSPACE, batch.id)
        assert canceling.processing_status == again.processing_status == "canceling"
        assert canceling.counts == RequestCounts(processing=400)
        assert canceling.cancel_initiated_at == again.cancel_initiated_at
        release.set()
        done = await worker.ended(batch)
        lines = await worker.lines(done)
        with pytest.raises(InvalidRequestError) as refused:
            await worker.batches.cancel(WORKSPACE, batch.id)
    assert refused.value.should_retry is False
    assert len(worker.backend.calls) == 44
    assert done.counts == RequestCounts(succeeded=44, canceled=356)
    assert {name for name, line in lines.items() if line["type"] == "succeeded"} == {f"r{n}" for n in range(44)}
    assert lines["r399"] == {"type": "canceled"}


async def test_a_call_that_never_returns_is_aborted_after_the_grace_period(tmp_path: Path) -> None:
    """C3: `canceled` for it, and the batch ends."""

    async def answer(call: Call) -> dict[str, Any]:
        if call.custom_id == "hangs":
            await asyncio.Event().wait()
        return message()

    async with working(tmp_path, answer, grace_seconds=0.3) as worker:
        batch = await worker.create({"hangs": {}, "quick": {}})
        await until(lambda: len(worker.backend.calls) == 2)
        await worker.batches.cancel(WORKSPACE, batch.id)
        done = await worker.ended(batch)
        lines = await worker.lines(done)
    assert lines["hangs"] == {"type": "canceled"}
    assert lines["quick"]["type"] == "succeeded"


async def test_a_batch_canceled_before_anything_was_sent_ends_without_a_call(tmp_path: Path) -> None:
    """C1, C3: nobody needs to be working for a batch to end."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(700)})
        await worker.batches.cancel(WORKSPACE, batch.id)
        await worker.sweeper.round()
        done = await worker.ended(batch)
        assert await worker.lines(done) == {f"r{n}": {"type": "canceled"} for n in range(700)}
    assert worker.backend.calls == []


async def test_requests_waiting_for_their_next_attempt_are_let_go_by_a_cancel(tmp_path: Path) -> None:
    """C2: a backoff of half a minute does not hold up the end."""

    async def answer(_call: Call) -> dict[str, Any]:
        raise BackendAwayError("503", retry_after_seconds=30)

    async with working(tmp_path, answer) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(20)})
        await until(lambda: worker.backend.calls)
        await worker.batches.cancel(WORKSPACE, batch.id)
        done = await worker.ended(batch)
    assert done.counts == RequestCounts(canceled=20)


async def test_nothing_is_sent_at_or_after_the_deadline(tmp_path: Path) -> None:
    """T2: in flight at the deadline may finish, unsent expires, and no call starts later."""

    async def answer(call: Call) -> dict[str, Any]:
        await SystemClock().sleep(0.05)  # an answer takes time
        return await echo(call)

    async with working(tmp_path, answer, in_flight=2, expires_after=timedelta(seconds=0.8)) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(300)})
        created = worker.clock.monotonic()
        done = await worker.ended(batch)
        lines = await worker.lines(done)
    assert max(at for _, at in worker.backend.calls) - created <= 0.85
    assert done.counts.succeeded == len(worker.backend.calls)
    assert done.counts.expired == 300 - done.counts.succeeded
    assert lines["r299"] == {"type": "expired"}


async def test_a_restart_in_the_middle_redoes_only_what_was_in_flight(tmp_path: Path) -> None:
    """X3, L3: journaled results are adopted at once, old leases of the same machine are void at once."""
    stuck = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        if int((call.custom_id or "r0")[1:]) >= 100:
            await stuck.wait()
        return await echo(call)

    async with working(tmp_path, answer, in_flight=4) as worker:

        async def refuse(_flush: Flush, _now: object) -> CommitReport:
            raise StoreUnavailableError

        worker.store.commit = refuse  # type: ignore[method-assign,assignment]  # the process dies before its next flush
        batch = await worker.create({f"r{n}": {} for n in range(120)})
        await until(lambda: len(worker.backend.calls) == 104)
        first = worker.backend.counts()
    async with working(tmp_path) as worker:
        done = await worker.ended(batch)
        lines = await worker.lines(done)
        second = worker.backend.counts()
    assert done.counts == RequestCounts(succeeded=120)
    assert set(first) & set(second) <= {f"r{n}" for n in range(100, 104)}
    assert all(line["message"]["content"][0]["text"] == f"this is {name}" for name, line in lines.items())
    assert not list((tmp_path / "journals").iterdir())


async def test_a_store_that_is_away_costs_no_second_call(tmp_path: Path) -> None:
    """P1: results wait in memory and are committed once when it is back."""
    async with working(tmp_path) as worker:
        real, tries = worker.store.commit, 0

        async def commit(flush: Flush, now: Any) -> CommitReport:
            nonlocal tries
            tries += 1
            if tries <= 2:
                raise StoreUnavailableError
            return await real(flush, now)

        worker.store.commit = commit  # type: ignore[method-assign]  # a store that is away for two flushes
        batch = await worker.ended(await worker.create({f"r{n}": {} for n in range(50)}))
    assert batch.counts == RequestCounts(succeeded=50)
    assert set(worker.backend.counts().values()) == {1}


async def test_a_worker_whose_lease_has_passed_on_drops_its_work(tmp_path: Path) -> None:
    """S5: a zombie's lines are fenced; the batch has each line once, from whoever holds the lease."""
    stuck = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        if not stuck.is_set():
            await stuck.wait()
            return message("from the zombie")
        return await echo(call)

    async with working(tmp_path, answer, in_flight=4) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(4)})
        await until(lambda: len(worker.backend.calls) == 4)
        await worker.store.release_worker("worker_1")
        now = worker.clock.now()
        (stolen,) = await worker.store.lease(
            batch.id, "m", worker_id="other", now=now, until=now + timedelta(seconds=1), limit=1
        )
        stuck.set()
        done = await worker.ended(batch)
        lines = await worker.lines(done)
    assert stolen.epoch == 2
    assert {line["message"]["content"][0]["text"] for line in lines.values()} == {f"this is r{n}" for n in range(4)}


async def test_sends_stop_when_the_lease_is_not_certain_any_more(tmp_path: Path) -> None:
    """X1, X5: after a gap in time longer than the lease nothing is sent under it, and it is asked for anew."""
    async with working(tmp_path, running=False, lease_seconds=30) as worker:
        batch = await worker.create({"a": {}})
        now = worker.clock.now()
        leases = await worker.store.lease(
            batch.id, "m", worker_id="worker_1", now=now, until=now + timedelta(seconds=30), limit=1
        )
        asked_at = worker.clock.monotonic() - 26
        await worker.dispatcher._take_up(leases[0], asked_at)
        (holding,) = worker.dispatcher._holdings.values()
        assert not holding.may_send()
        worker.dispatcher._pump()
        await worker.dispatcher._watch()
        assert worker.dispatcher.held == 0
    assert worker.backend.calls == []


async def test_delete_waits_for_the_end_and_then_leaves_nothing(tmp_path: Path) -> None:
    """Section 16 row 19: a running batch is refused without a retry; a deleted one is gone with its bytes."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({"a": {}})
        with pytest.raises(InvalidRequestError) as refused:
            await worker.batches.delete(WORKSPACE, batch.id)
        assert refused.value.should_retry is False
        await worker.batches.cancel(WORKSPACE, batch.id)
        await worker.sweeper.round()
        assert await worker.batches.delete(WORKSPACE, batch.id) == batch.id
        for call in (worker.batches.retrieve, worker.batches.delete, worker.batches.results, worker.batches.cancel):
            with pytest.raises(NotFoundError):
                await call(WORKSPACE, batch.id)
        assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


async def test_another_workspace_s_batch_is_as_unknown_as_one_that_never_was(tmp_path: Path) -> None:
    """W1, W2: same error, same words."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({"a": {}})
        for call in (
            worker.batches.retrieve,
            worker.batches.cancel,
            worker.batches.delete,
            worker.batches.results,
            worker.batches.progress,
        ):
            with pytest.raises(NotFoundError) as foreign:
                await call("wrkspc_other", batch.id)
            with pytest.raises(NotFoundError) as unknown:
                await call("wrkspc_other", "msgbatch_01nobody")
            assert foreign.value.message == unknown.value.message
        assert (await worker.batches.retrieve(WORKSPACE, batch.id)).processing_status == "in_progress"


async def test_results_are_not_there_before_the_end(tmp_path: Path) -> None:
    """S6: no results, no early counts."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({"a": {}})
        with pytest.raises(NotFoundError):
            await worker.batches.results(WORKSPACE, batch.id)
        assert (await worker.batches.retrieve(WORKSPACE, batch.id)).ended_at is None


async def test_draining_gives_every_lease_back(tmp_path: Path) -> None:
    """L4: what was sent comes back and counts; the rest is free for others at once."""
    release = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        await release.wait()
        return await echo(call)

    async with working(tmp_path, answer, in_flight=4) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(50)})
        await until(lambda: len(worker.backend.calls) == 4)
        draining = asyncio.create_task(worker.dispatcher.drain(20))
        release.set()
        await draining
        found = await worker.batches.retrieve(WORKSPACE, batch.id)
        assert found.tally.succeeded == 4
        (row,) = await worker.store.backlog(worker.clock.now(), limit=10)
        assert row.shards == 1
    assert len(worker.backend.calls) == 4
