"""What happens to a shard when its lease is renewed and doubted at the same instant."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.worker import working


async def test_a_shard_dropped_while_its_lease_was_being_renewed_is_free_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X5, L2: after a pause the renewal and the doubt meet; the shard does not wait until the new lease lapses."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({"a": {}})
        now, later = worker.clock.now(), worker.clock.now() + timedelta(hours=1)
        (lease,) = await worker.store.lease(batch.id, "m", worker_id="worker_1", now=now, until=later, limit=1)
        await worker.dispatcher._take_up(lease, worker.clock.monotonic())
        holding = worker.dispatcher._holdings[lease.key]
        renew = worker.store.renew

        async def overtaken(worker_id: str, leases: Any, until_: Any) -> frozenset[tuple[str, int]]:
            kept = await renew(worker_id, leases, until_)
            worker.dispatcher._lose(holding)
            return kept

        monkeypatch.setattr(worker.store, "renew", overtaken)
        await worker.dispatcher._renew([holding])
        again = await worker.store.lease(batch.id, "m", worker_id="worker_2", now=now, until=later, limit=1)
    assert [other.epoch for other in again] == [lease.epoch + 1]
