"""The sweep: one thing that cannot be done keeps nothing else from being done, and two sweepers do no harm."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from slackwater.blobs import LocalBlobs
from slackwater.domain.batch import Batch
from slackwater.domain.result import ResultLine
from slackwater.flow.sweep import ORPHAN_LOOKS, Sweeper, SweepOptions
from slackwater.wire.lines import canceled_line
from support.worker import WORKSPACE, Worker, working


async def _in_parts(worker: Worker) -> Batch:
    """Return an ended batch whose results lie in two blobs."""
    batch = await worker.create({"a": {}, "b": {}})
    now = worker.clock.now()
    until_then = now + timedelta(seconds=30)
    (lease,) = await worker.store.lease(batch.id, "m", worker_id="worker_1", now=now, until=until_then, limit=1)
    worker.recorder.open(lease)
    for position, name in enumerate("ab"):
        line = ResultLine(position=position, type="canceled", line=canceled_line(name), model="m")
        worker.recorder.add(lease, line)
        assert await worker.recorder.flush()
    return await worker.ended(batch)


async def _results(worker: Worker, batch: Batch) -> tuple[int, bytes]:
    """Return in how many ranges they lie, and their bytes."""
    delivery = await worker.batches.results(WORKSPACE, batch.id)
    return len(delivery.ranges), b"".join([piece async for piece in delivery.body()])


async def test_results_that_cannot_be_joined_keep_nothing_else_from_being_swept(tmp_path: Path) -> None:
    """D2: a damaged batch is set aside for a while; others are joined, and what uploads left behind goes."""
    async with working(tmp_path, running=False) as worker:
        broken, fine = await _in_parts(worker), await _in_parts(worker)
        ranges = await worker.store.results(WORKSPACE, broken.id)
        await worker.blobs.delete(ranges[1].blob_key)
        left = worker.directory / "left-behind"
        left.touch()
        await looked(worker.sweeper, ORPHAN_LOOKS)
        assert (await _results(worker, fine))[0] == 1
        assert not left.exists()


@pytest.mark.parametrize("step_seconds", [-90_000, 90_000])
async def test_the_times_of_files_say_nothing_about_their_age(tmp_path: Path, step_seconds: int) -> None:
    """D1, D2, T3, F8: what was just written keeps its hour, wherever the wall clock stood; what grows is in use."""
    async with working(tmp_path, running=False) as worker:
        await worker.blobs.put("requests/between", [b"put, and not sealed yet"])
        uploading, filling = worker.directory / "uploading", worker.directory / "filling"
        uploading.write_bytes(b"x")
        filling.touch()
        os.truncate(filling, 2**20)  # a body whose length is known has it from the start
        when = uploading.stat().st_mtime + step_seconds
        for path in (tmp_path / "blobs" / "requests" / "between", uploading, filling):
            os.utime(path, (when, when))
        await looked(worker.sweeper, ORPHAN_LOOKS - 1)
        with uploading.open("ab") as file:
            file.write(b"y")
        with filling.open("r+b") as file:
            file.write(b"z" * 2**16)
        assert await worker.blobs.keys("requests/") == ["requests/between"]
        await looked(worker.sweeper, 1)
        assert await worker.blobs.keys("requests/") == []
        assert (uploading.exists(), filling.exists()) == (True, True)
        await looked(worker.sweeper, ORPHAN_LOOKS)
        assert (uploading.exists(), filling.exists()) == (False, False)


async def test_bytes_that_had_a_row_meanwhile_have_their_hour_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1, D2: only looks in a row count."""
    async with working(tmp_path, running=False) as worker:
        await worker.blobs.put("requests/late", [b"x"])
        await looked(worker.sweeper, ORPHAN_LOOKS - 1)
        with monkeypatch.context() as patch:
            patch.setattr(worker.store, "referenced", AsyncMock(side_effect=frozenset))
            await looked(worker.sweeper, 1)
        await looked(worker.sweeper, ORPHAN_LOOKS - 1)
        assert await worker.blobs.keys("requests/") == ["requests/late"]
        await looked(worker.sweeper, 1)
        assert await worker.blobs.keys("requests/") == []


async def looked(sweeper: Sweeper, times: int) -> None:
    """Have so many rounds in which orphans are looked for."""
    for _ in range(times):
        sweeper._orphans_at = float("-inf")
        await sweeper.round()


class _SlowBlobs(LocalBlobs):
    """Waits before every part that it reads."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield the range when told to."""
        self.asked.set()
        await self.go_on.wait()
        async for piece in super().stream(key, offset, length):
            yield piece


async def test_a_sweeper_that_lost_its_hold_in_the_middle_of_a_batch_does_not_touch_the_results(tmp_path: Path) -> None:
    """R1, S3: the next one joins the same batch in the same directory; every byte stays."""
    async with working(tmp_path, running=False) as worker:
        batch = await _in_parts(worker)
        (compaction,) = await worker.store.fragmented(limit=1)
        _, before = await _results(worker, batch)
        slow = _SlowBlobs(tmp_path / "blobs")
        options = SweepOptions(holder="worker_2", results_kept=timedelta(days=29), spool=worker.directory)
        other = Sweeper(
            store=worker.store, blobs=slow, clock=worker.clock, closer=worker.closer, options=options
        )  # of another process
        real = worker.blobs.put_file

        async def put_file(key: str, path: Path) -> int:
            joining.append(asyncio.create_task(other._join(compaction)))
            await slow.asked.wait()
            return await real(key, path)

        joining: list[asyncio.Task[None]] = []
        worker.blobs.put_file = put_file  # type: ignore[method-assign]  # the hold lapses here
        await worker.sweeper.round()
        slow.go_on.set()
        await asyncio.wait(joining)
        assert isinstance(joining[0].exception(), FileNotFoundError)
        assert await _results(worker, batch) == (1, before)


async def test_a_stopped_batch_is_closed_while_large_results_are_being_joined(tmp_path: Path) -> None:
    """C3, T2: closing has its time, housekeeping takes what it takes."""
    async with working(tmp_path, running=False) as worker:
        await _in_parts(worker)
        slow = _SlowBlobs(tmp_path / "blobs")
        worker.sweeper._blobs = slow
        sweeping = asyncio.create_task(worker.sweeper.run())
        await slow.asked.wait()
        batch = await worker.create({"a": {}})
        await worker.batches.cancel(WORKSPACE, batch.id)
        assert (await worker.ended(batch)).counts.canceled == 1
        sweeping.cancel()
        await asyncio.wait([sweeping])
