"""Leases are renewed in time, whatever the store does; a shard that is renewed and doubted at the same instant."""

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.domain.errors import StoreUnavailableError
from slackwater.ports import Call
from support.worker import message, working


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


async def test_a_lease_stays_certain_while_the_store_is_away_at_two_renewals_of_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X5, P1: a database that keeps crashing costs no lease as long as it is there for a moment now and then."""
    renewed = asyncio.Event()
    certain: list[bool] = []

    async def slow(call: Call) -> dict[str, Any]:
        await renewed.wait()
        return message(str(call.custom_id))

    async with working(tmp_path, slow, lease_seconds=1.5) as worker:
        renew, asked = worker.store.renew, itertools.count(1)

        async def flapping(worker_id: str, leases: Any, until_: Any) -> frozenset[tuple[str, int]]:
            if next(asked) % 3:
                raise StoreUnavailableError
            certain.extend(holding.certain for holding in worker.dispatcher._holdings.values())
            if len(certain) == 3:
                renewed.set()
            return await renew(worker_id, leases, until_)

        monkeypatch.setattr(worker.store, "renew", flapping)
        batch = await worker.create({"a": {}})
        await worker.ended(batch)
    assert certain == [True] * 3
    assert worker.backend.counts() == {"a": 1}
