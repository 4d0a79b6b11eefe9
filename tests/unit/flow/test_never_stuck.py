"""What must not stop a worker for ever, or the server with it: full memory, doubtful leases, damage, closed shards."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.domain.batch import Backlog, Batch, RequestCounts
from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.result import CommitReport, Flush
from slackwater.flow import dispatch, record
from slackwater.flow.holding import Holding
from slackwater.ports import Call
from support.worker import WORKSPACE, echo, until, working


async def test_a_worker_whose_memory_was_full_goes_on_when_the_store_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1, L2: with everything in hand leased and nothing in flight, the commit itself is what wakes the worker."""
    monkeypatch.setattr(record, "HELD_BYTES_MAX", 1)
    monkeypatch.setattr(record, "RETRY_SECONDS", 0.05)
    async with working(tmp_path, in_flight=2) as worker:
        real, away = worker.store.commit, True

        async def commit(flush: Flush, now: Any) -> CommitReport:
            if away:
                raise StoreUnavailableError
            return await real(flush, now)

        worker.store.commit = commit  # type: ignore[method-assign]  # a store that is away until told otherwise
        batch = await worker.create({f"r{n}": {} for n in range(10)})
        await until(lambda: worker.recorder.full and worker.gate.in_flight == 0)
        away = False
        done = await worker.ended(batch)
    assert done.counts == RequestCounts(succeeded=10)


async def test_a_worker_whose_disk_was_low_begins_nothing_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    """P4, L2: what was sent comes back and is recorded; the rest waits, and nothing has to happen to wake it."""
    low, answers = False, asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        await answers.wait()
        return await echo(call)

    async with working(tmp_path, answer, in_flight=2) as worker:
        worker.recorder._disk_low = lambda: low
        batch = await worker.create({f"r{n}": {} for n in range(6)})
        await until(lambda: worker.gate.in_flight == 2)
        low = True
        later = await worker.create({"later": {}})
        answers.set()
        await until(lambda: worker.gate.in_flight == 0)
        await worker.recorder.flush()
        progress = await worker.batches.progress(batch.workspace_id, batch.id)
        assert progress.batch.tally == RequestCounts(processing=4, succeeded=2)
        assert len(worker.backend.calls) == 2
        low = False
        for one in (batch, later):
            assert (await worker.ended(one)).counts.succeeded == one.size
    assert set(worker.backend.counts().values()) == {1}


async def test_a_request_refused_by_a_doubtful_lease_is_sent_later_although_the_lease_was_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X5, L2: after a pause a renewal may come before anybody notices; the request it refused is not forgotten."""
    may_send, doubts = Holding.may_send, iter([False])
    monkeypatch.setattr(Holding, "may_send", lambda holding: next(doubts, True) and may_send(holding))
    async with working(tmp_path, lease_seconds=1) as worker:
        done = await worker.ended(await worker.create({"a": {}, "b": {}}))
    assert done.counts == RequestCounts(succeeded=2)


async def test_a_shard_that_was_closed_elsewhere_is_dropped_with_what_is_unsent_of_it(tmp_path: Path) -> None:
    """T2, S5: its lease lapsed while this worker was paused over the deadline; nothing of it is started any more."""
    async with working(tmp_path, running=False, expires_after=timedelta(seconds=1.5)) as worker:
        batch = await worker.create({"a": {}})
        now = worker.clock.now()
        (lease,) = await worker.store.lease(batch.id, "m", worker_id="worker_1", now=now, until=now, limit=1)
        await worker.dispatcher._take_up(lease, worker.clock.monotonic())
        await until(lambda: worker.clock.now() > lease.expires_at)
        assert await worker.closer.close_some() == 1
        worker.dispatcher._pump()
        assert (await worker.ended(batch)).counts == RequestCounts(expired=1)
        assert worker.dispatcher.held == 0
    assert worker.backend.calls == []


def _requests_blob(directory: Path, batch: Batch) -> Path:
    return directory / "blobs" / batch.requests_key


@pytest.mark.parametrize("how", ["a line break more", "a line break less"])
async def test_damage_to_a_line_break_costs_only_the_requests_beside_it(tmp_path: Path, how: str) -> None:
    """D5, S1, S8: a shard has as many requests as ever; none is sent as another, each has one line, the batch ends."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(6)})
        blob = _requests_blob(tmp_path, batch)
        data = bytearray(blob.read_bytes())
        at = data.index(b"is r2")
        data[at if how == "a line break more" else data.index(b"\n", at)] = 10 if how == "a line break more" else 11
        blob.write_bytes(data)
    async with working(tmp_path) as worker:
        lines = await worker.lines(await worker.ended(batch))
    damaged = {"r2"} if how == "a line break more" else {"r2", "r3"}
    assert set(lines) == {f"r{n}" for n in range(6)}
    assert {name for name, line in lines.items() if line["type"] == "errored"} == damaged
    assert worker.backend.counts() == dict.fromkeys(set(lines) - damaged, 1)
    for name in set(lines) - damaged:
        assert lines[name]["message"]["content"][0]["text"] == f"this is {name}"


async def test_a_stopped_batch_that_cannot_be_read_holds_up_the_end_of_no_other(tmp_path: Path) -> None:
    """C3, S8 for batches: the shards leased with it are closed all the same."""
    async with working(tmp_path, running=False) as worker:
        lost = await worker.create({"a": {}})
        fine = await worker.create({"b": {}})
        _requests_blob(tmp_path, lost).unlink()
        for batch in (lost, fine):
            await worker.batches.cancel(WORKSPACE, batch.id)
        await worker.sweeper.round()
        assert (await worker.ended(fine)).counts == RequestCounts(canceled=1)
        assert (await worker.batches.retrieve(WORKSPACE, lost.id)).processing_status == "canceling"


async def test_a_worker_whose_hands_are_full_does_not_ask_for_more_after_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L2, design of the hot path: only the end of a shard makes room, and then the next batch is taken at once."""
    monkeypatch.setattr(dispatch, "HELD_BATCHES_MAX", 1)
    async with working(tmp_path, running=False) as worker:
        batches = [await worker.create({f"r{n}": {} for n in range(60)}) for _ in range(2)]
    async with working(tmp_path, in_flight=1) as worker:
        real, looks = worker.store.backlog, list[int]()

        async def backlog(now: datetime, *, limit: int) -> list[Backlog]:
            looks.append(worker.dispatcher.held)
            return await real(now, limit=limit)

        worker.store.backlog = backlog  # type: ignore[method-assign]  # counts
        for batch in batches:
            assert (await worker.ended(batch)).counts.succeeded == 60
    assert set(looks) <= {0}


@pytest.mark.parametrize("why", ["refused", "draining"])
async def test_a_worker_that_can_take_nothing_looks_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """P1, L4: free shards and idle slots wake each other only where something can be taken, not round and round."""
    looks = 0
    real = dispatch.Dispatcher._expect

    def expect(dispatcher: dispatch.Dispatcher, models: Any) -> None:
        nonlocal looks
        looks += 1
        real(dispatcher, models)

    async def lease(*_: Any, **__: Any) -> list[Any]:
        raise StoreUnavailableError

    monkeypatch.setattr(dispatch.Dispatcher, "_expect", expect)
    async with working(tmp_path, in_flight=2) as worker:
        worker.store.lease = lease  # type: ignore[method-assign]  # reads go on, writes do not: a full disk
        batch = await worker.create({"a": {}})
        await until(lambda: looks > 2)
        worker.dispatcher._draining = why == "draining"
        before, began = looks, worker.clock.monotonic()
        await until(lambda: worker.clock.monotonic() - began >= 1.5)
        assert looks - before <= 8
        del worker.store.lease
        worker.dispatcher._draining = False
        assert (await worker.ended(batch)).counts == RequestCounts(succeeded=1)
