"""A batch that is stopped between the decision to send a request and the first step of the task that sends it."""

from pathlib import Path

import pytest

from slackwater.flow.holding import Held, Tasks
from support.worker import WORKSPACE, until, working


async def test_a_cancel_before_a_task_s_first_step_leaks_neither_slot_nor_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3: a task that is canceled before it ran executes nothing of its own, no `finally` either.

    Found by the SDKs' acceptance tests, which cancel a few milliseconds after they create: the batch never ended, and
    its slots were gone for everybody else.
    """
    start = Tasks.start

    def start_and_stop(tasks: Tasks, held: Held) -> None:
        start(tasks, held)
        worker.dispatcher.stop(held[0].lease.batch_id)

    async with working(tmp_path) as worker:
        with monkeypatch.context() as patched:
            patched.setattr(Tasks, "start", start_and_stop)
            batch = await worker.create({"r0": {}, "r1": {}})
            await until(lambda: batch.id in worker.dispatcher._stops)
        await worker.batches.cancel(WORKSPACE, batch.id)
        done = await worker.ended(batch)
        assert worker.gate.in_flight == 0
        assert await worker.lines(done) == {"r0": {"type": "canceled"}, "r1": {"type": "canceled"}}
    assert worker.backend.calls == []
