"""`kill -9` of the server at any moment: nothing lost, nothing doubled, and only what was in flight is asked again."""

import random
import threading
import time
from collections.abc import Callable

import pytest

from support.machine import IN_FLIGHT_MAX, Machine, MakeMachine
from support.waiting import until

REQUESTS = 2_000
KILLS = 10
BACK_AT_WORK_SECONDS = 5.0
FAULTS = "429=0.03,503=0.02,500=0.02"


@pytest.mark.parametrize(
    "kills", [KILLS, pytest.param(200, marks=pytest.mark.slow)], ids=lambda kills: f"{kills} kills"
)
def test_kills_at_random_moments_lose_nothing_and_double_nothing(
    machine: MakeMachine, database: str, kills: int, record_property: Callable[[str, object], None]
) -> None:
    """D1, D2, S1, S2, X2, X3 (F1): every custom_id exactly once, counts right, repeated calls ≤ those in flight."""
    chance = random.Random(20261122)  # noqa: S311  # where to hurt, not what to hide
    one = machine(database, simulate=("--latency-ms", "20", "--capacity", "64", "--faults", FAULTS, "--seed", "7"))
    batches: dict[str, str] = {}
    slowest = 0.0
    for number in range(kills):
        if not any(one.batch(batch_id)["processing_status"] != "ended" for batch_id in batches):
            prefix = f"b{number}"
            batches[one.create(prefix, REQUESTS)] = prefix
        _pass(chance.uniform(0.02, 1.2))
        one.kill()
        slowest = max(slowest, _back_at_work(one, batches))
    for batch_id in batches:
        one.ended(batch_id)
    for batch_id, prefix in batches.items():
        kinds = one.assert_whole(batch_id, prefix, REQUESTS)
        assert kinds["succeeded"] == REQUESTS
    stats = one.simulator.stats()
    refused = sum(count for name, count in stats.items() if name.startswith("fault_"))
    repeated = stats["arrived"] - refused - REQUESTS * len(batches)
    record_property("repeated calls", repeated)
    record_property("slowest return to work, seconds", round(slowest, 2))
    assert 0 <= repeated <= kills * IN_FLIGHT_MAX
    assert slowest <= BACK_AT_WORK_SECONDS
    assert set(one.simulator.arrivals()) == {f"{prefix}-{n}" for prefix in batches.values() for n in range(REQUESTS)}


def test_without_a_fault_every_request_is_sent_exactly_once(machine: MakeMachine, database: str) -> None:
    """X1, X2: no fault and no backend error means one call for each request, not one more."""
    one = machine(database, simulate=("--latency-ms", "5", "--capacity", "64"))
    batch_id = one.create("calm", REQUESTS)
    one.ended(batch_id)
    assert one.assert_whole(batch_id, "calm", REQUESTS)["succeeded"] == REQUESTS
    assert set(one.simulator.arrivals().values()) == {1}


def test_finished_work_is_not_asked_again_after_a_kill(machine: MakeMachine) -> None:
    """X3: what was journaled before the kill is adopted, although no flush had made it visible yet."""
    one = machine(simulate=("--latency-ms", "1", "--capacity", "64"))
    batch_id = one.create("quick", 200)
    until(lambda: one.simulator.stats().get("answered", 0) >= 150)
    one.kill()
    one.start()
    one.ended(batch_id)
    one.assert_whole(batch_id, "quick", 200)
    repeated = one.simulator.stats()["arrived"] - 200
    assert repeated <= IN_FLIGHT_MAX


def _back_at_work(one: Machine, batches: dict[str, str]) -> float:
    """Start the server again; return the seconds until the first call after the kill, or until all is done."""
    before = one.simulator.arrived()
    began = time.monotonic()
    one.start()
    until(
        lambda: (
            one.simulator.arrived() > before
            or all(one.batch(batch_id)["processing_status"] == "ended" for batch_id in batches)
        )
    )
    return time.monotonic() - began


def _pass(seconds: float) -> None:
    """Let time go by in the server: the kill's moment is the point of the test, there is nothing to wait for."""
    threading.Event().wait(seconds)
