"""The recorder: what happens to result lines when commits are slow, fail, are answered late, or not at all."""

import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.domain.batch import Batch, Lease, RequestCounts
from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.result import CommitReport, Flush, ResultLine
from slackwater.flow import record
from slackwater.ports import Call
from slackwater.wire.lines import canceled_line
from support.worker import WORKSPACE, Worker, echo, until, working


async def _lease(worker: Worker, batch: Batch) -> Lease:
    """Lease a batch's only shard, whoever held it."""
    await worker.store.release_worker("worker_1")
    now = worker.clock.now()
    (lease,) = await worker.store.lease(
        batch.id, "m", worker_id="worker_1", now=now, until=now + timedelta(seconds=30), limit=1
    )
    return lease


def _line(position: int) -> ResultLine:
    return ResultLine(position=position, type="canceled", line=canceled_line(f"r{position}"), model="m")


async def test_a_commit_whose_answer_was_lost_is_repeated_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2, X2: what came in since then is not thrown away with it, and nothing is sent twice."""
    monkeypatch.setattr(record, "RETRY_SECONDS", 0.05)
    rest = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        if call.custom_id == "r1":
            await rest.wait()
        return await echo(call)

    async with working(tmp_path, answer) as worker:
        real, tokens = worker.store.commit, list[str]()

        async def commit(flush: Flush, now: datetime) -> CommitReport:
            report = await real(flush, now)
            tokens.append(flush.token)
            if len(tokens) == 1:
                rest.set()
                await until(lambda: worker.gate.in_flight == 0)
                raise StoreUnavailableError
            return report

        worker.store.commit = commit  # type: ignore[method-assign]  # a connection that breaks after the commit
        done = await worker.ended(await worker.create({"r0": {}, "r1": {}}))
        assert len(await worker.lines(done)) == 2
    assert tokens[0] == tokens[1] != tokens[2]
    assert worker.backend.counts() == {"r0": 1, "r1": 1}


async def test_bytes_that_waited_long_for_their_commit_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2, S3: by then the sweep may have taken them for orphans."""
    monkeypatch.setattr(record, "REWRITE_SECONDS", 0.0)
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({"r0": {}})
        lease = await _lease(worker, batch)
        worker.recorder.open(lease)
        worker.recorder.add(lease, _line(0))
        with monkeypatch.context() as patched:
            patched.setattr(worker.store, "commit", _away)
            assert not await worker.recorder.flush()
        for path in (tmp_path / "blobs" / "results").rglob("*"):
            if path.is_file():
                path.unlink()
        assert await worker.recorder.flush()
        assert await worker.lines(await worker.ended(batch)) == {"r0": {"type": "canceled"}}


async def _away(_flush: Flush, _now: datetime) -> CommitReport:
    raise StoreUnavailableError


async def test_a_shard_that_is_lost_while_its_flush_fails_leaves_its_journal_and_nothing_in_memory(
    tmp_path: Path,
) -> None:
    """P1, X3: the lines are adopted by the next lease; what counts as waiting here is forgotten."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({"r0": {}, "r1": {}})
        lease = await _lease(worker, batch)
        worker.recorder.open(lease)
        worker.recorder.add(lease, _line(0))

        async def put(_key: str, _buffers: object) -> int:
            worker.recorder.close(lease)
            raise OSError

        worker.blobs.put = put  # type: ignore[method-assign,assignment]  # a disk that refuses, after the lease has passed on
        assert not await worker.recorder.flush()
        assert worker.recorder.waiting == 0
        assert worker.recorder.open(await _lease(worker, batch)) == {0}
        assert worker.recorder.waiting == 1


async def test_a_late_refusal_of_an_old_epoch_does_not_touch_the_new_one(tmp_path: Path) -> None:
    """S5, X2: the worker that lost a shard and got it back works on."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({"r0": {}, "r1": {}})
        old = await _lease(worker, batch)
        worker.recorder.open(old)
        worker.recorder.add(old, _line(0))
        real = worker.store.commit

        async def commit(flush: Flush, now: datetime) -> CommitReport:
            worker.store.commit = real  # type: ignore[method-assign]  # only this one is slow
            new = await _lease(worker, batch)
            worker.recorder.open(new)
            worker.recorder.add(new, _line(1))
            return await real(flush, now)

        worker.store.commit = commit  # type: ignore[method-assign]  # a commit that comes after the next lease
        assert await worker.recorder.flush()
        assert await worker.recorder.flush()
        assert (await worker.ended(batch)).counts == RequestCounts(canceled=2)


async def test_results_that_the_store_cannot_take_stop_only_their_own_batch(tmp_path: Path) -> None:
    """S8 for batches: an unexpected error is reported, their journal stays, everything else is committed."""
    async with working(tmp_path, lease_seconds=600) as worker:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        real, poison = worker.store.commit, list[str]()

        async def commit(flush: Flush, now: datetime) -> CommitReport:
            if any(segment.batch_id in poison for segment in flush.segments):
                raise ValueError
            return await real(flush, now)

        worker.store.commit = commit  # type: ignore[method-assign]  # a store that cannot take one batch
        bad = await worker.create({f"r{n}": {} for n in range(5)})
        poison.append(bad.id)
        good = await worker.ended(await worker.create({f"r{n}": {} for n in range(5)}))
        await until(lambda: faults)
        await worker.ended(await worker.create({"later": {}}))
        assert good.counts == RequestCounts(succeeded=5)
        assert (await worker.batches.retrieve(WORKSPACE, bad.id)).processing_status == "in_progress"
        poison.clear()
        await worker.store.release_worker("worker_1")
        done = await worker.ended(bad)
    assert done.counts == RequestCounts(succeeded=5)
    assert worker.backend.counts()["r0"] == 2
    assert len(faults) == 1


async def test_journals_that_a_crash_left_behind_go_when_their_batch_has_ended(tmp_path: Path) -> None:
    """T4, I2: killed between a commit and the removal of its journal, nobody would lease that shard again."""
    journals = tmp_path / "journals"
    async with working(tmp_path) as worker:
        ended = await worker.ended(await worker.create({"a": {}}))
    async with working(tmp_path, running=False) as worker:
        open_batch = await worker.create({"b": {}})
        names = [f"{ended.id}.0.1.journal", f"{ended.id}.0.2.journal", f"{open_batch.id}.0.1.journal"]
        for name in names:
            (journals / name).write_bytes(b"")
            os.utime(journals / name, (0, 0) if name != names[1] else None)
        await worker.recorder.tidy()
        assert {path.name for path in journals.iterdir()} == set(names[1:])
