"""A worker before a backend with slots: prefix groups stay apart, and what is stopped leaves its slot at once."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from slackwater.domain.batch import RequestCounts
from slackwater.flow.plan import PREFIX_BYTES_MIN
from slackwater.ports import Call
from support.worker import WORKSPACE, echo, until, working


def prefixed(count: int, groups: int) -> dict[str, dict[str, Any]]:
    """Return requests that share their system prompts in turn, as from someone who does not think of caches."""
    return {f"r{n}": {"system": f"{n % groups}" + "x" * PREFIX_BYTES_MIN} for n in range(count)}


async def test_each_slot_drains_one_prefix_group_after_the_other(tmp_path: Path) -> None:
    """Of eight interleaved groups never two requests are at the backend together, over all shards of the batch."""
    flying: list[str] = []
    together: list[int] = []

    async def answer(call: Call) -> dict[str, Any]:
        group = call.params["system"][0]
        together.append(flying.count(group))
        flying.append(group)
        await asyncio.sleep(0)  # gives the others their turn
        flying.remove(group)
        return await echo(call)

    async with working(tmp_path, answer, slots=4) as worker:
        done = await worker.ended(await worker.create(prefixed(600, 8)))
    assert done.counts == RequestCounts(succeeded=600)
    starts = sum(before == 0 for before in together)
    assert starts >= 540, "only the last groups may spread, and how late the last is known depends on the machine"


async def test_a_canceled_batch_leaves_its_slots_at_once(tmp_path: Path) -> None:
    """C2, C3: no grace period where somebody else waits for one of a few slots; the lines are `canceled`."""
    left = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        if call.custom_id == "next":
            return await echo(call)
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return {}

    async with working(tmp_path, answer, slots=2, grace_seconds=60) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(10)})
        await until(lambda: len(worker.backend.calls) == 2)
        other = await worker.create({"next": {}})
        await worker.batches.cancel(WORKSPACE, batch.id)
        async with asyncio.timeout(1):
            await left.wait()
        assert (await worker.ended(other)).counts == RequestCounts(succeeded=1)
        done = await worker.ended(batch)
        assert set(map(str, (await worker.lines(done)).values())) == {"{'type': 'canceled'}"}
    assert done.counts == RequestCounts(canceled=10)


async def test_an_expired_batch_leaves_its_slots_at_once(tmp_path: Path) -> None:
    """T2: what its time ran out for is not finished at others' cost."""

    async def answer(_call: Call) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with working(tmp_path, answer, slots=2, grace_seconds=60, expires_after=timedelta(seconds=0.5)) as worker:
        done = await worker.ended(await worker.create({f"r{n}": {} for n in range(10)}))
        await until(lambda: worker.gate.in_flight == 0)
    assert done.counts == RequestCounts(expired=10)


async def test_a_draining_worker_lets_what_is_in_a_slot_come_back(tmp_path: Path) -> None:
    """L4: the end of the process is no reason to throw away what is almost done."""
    release = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        await release.wait()
        return await echo(call)

    async with working(tmp_path, answer, slots=2) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(10)})
        await until(lambda: len(worker.backend.calls) == 2)
        draining = asyncio.create_task(worker.dispatcher.drain(20))
        await asyncio.sleep(0)  # it stops the shards
        release.set()
        await draining
        found = await worker.batches.retrieve(WORKSPACE, batch.id)
    assert found.tally.succeeded == 2


async def test_with_slots_more_groups_are_kept_in_hand(tmp_path: Path) -> None:
    """A group may be as long as a shard: there is one in hand for each slot."""
    asked = Counter[str]()

    async def answer(call: Call) -> dict[str, Any]:
        asked[call.params["system"][0]] += 1
        await asyncio.Event().wait()
        return {}

    async with working(tmp_path, answer, in_flight=6, slots=6) as worker:
        await worker.create(dict(sorted(prefixed(2_048, 8).items(), key=lambda item: item[1]["system"])))
        await until(lambda: len(worker.backend.calls) == 6)
        await until(lambda: worker.dispatcher.held >= 6)
    assert set(asked.values()) == {1}
