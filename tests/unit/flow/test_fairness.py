"""A large batch holds up nobody: counted in requests, because time depends on the machine."""

from pathlib import Path
from typing import Any

import pytest

from slackwater.clock import SystemClock
from slackwater.ports import Call
from support.worker import echo, until, working

LARGE, SMALL, IN_FLIGHT = 2_000, 10, 8


async def soon(call: Call) -> dict[str, Any]:
    """Answer after a moment, so that there is a queue."""
    await SystemClock().sleep(0.002)
    return await echo(call)


@pytest.mark.parametrize("others", [1, 10])
async def test_small_batches_of_other_workspaces_go_through_a_large_one(tmp_path: Path, others: int) -> None:
    """While one of theirs is worked on, the large one gets no more requests than it, but for what was in flight."""
    async with working(tmp_path, soon, in_flight=IN_FLIGHT) as worker:
        await worker.create({f"large-{number}": {} for number in range(LARGE)})
        await until(lambda: len(worker.backend.calls) >= LARGE // 10)
        bodies: list[dict[str, dict[str, Any]]] = [
            {f"small-{other}-{number}": {} for number in range(SMALL)} for other in range(others)
        ]
        small = [await worker.create(body, workspace_id=f"wrkspc_{other}") for other, body in enumerate(bodies)]
        for batch in small:
            await worker.ended(batch)
        names = [name for name, _ in worker.backend.calls]
    for other in range(others):
        own = [place for place, name in enumerate(names) if name.startswith(f"small-{other}-")]
        between = [name for name in names[own[0] : own[-1]] if name.startswith("large-")]
        assert 0 < len(between) <= SMALL + IN_FLIGHT
