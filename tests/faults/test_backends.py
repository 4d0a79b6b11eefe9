"""A backend that is full, away or broken, under a real server: what it did is not what a client reads."""

from collections.abc import Callable
from typing import Final

import pytest

from slackwater.backends.simulated.faults import FaultKind
from support.machine import MakeMachine
from support.table import PROPERTY

FULL: Final = "429=0.1,503=0.1,529=0.1,500=0.05,retry-after=0.1"
SPOILED: Final = [kind for kind in FaultKind if kind not in {FaultKind.STATUS, FaultKind.REFUSED}]
TIMES_MAX: Final = 5
"""How often a request that may be to blame itself is tried."""
RSS_GROWTH_MAX: Final = 64 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("count", [300, 10_000])
def test_a_backend_that_refuses_a_third_of_all_calls_answers_all_of_them_in_the_end(
    machine: MakeMachine, count: int, record_property: Callable[[str, object], None]
) -> None:
    """F15, X7: 30 % of 429, 503 and 529, and 5 % of 500; every request succeeds, with at most 1.6 calls for each."""
    one = machine(simulate=("--latency-ms", "20", "--capacity", "64", "--faults", FULL, "--seed", "3"))
    batch_id = one.create("full", count)
    one.ended(batch_id, deadline_seconds=60 + count / 20)
    assert one.assert_whole(batch_id, "full", count) == {"succeeded": count}
    calls = one.simulator.arrived()
    record_property(PROPERTY, {"accepted": count, "finished": count, "repeated": calls - count})
    assert count < calls <= 1.6 * count


@pytest.mark.slow
@pytest.mark.parametrize("each", [1, 20])
def test_no_misbehaviour_of_a_backend_becomes_an_answer(machine: MakeMachine, each: int) -> None:
    """F16, S7, S8, X7: cut, garbled, endless, redirected, of another shape; its neighbours are answered as ever."""
    one = machine(simulate=("--latency-ms", "5", "--capacity", "64"), timeout_seconds=3)
    before = one.server.rss_bytes()
    texts = {
        f"{kind}-{number}".replace("=", "-"): f"[[sim:{kind}]]"
        for kind in [*SPOILED, "tokens=9"]
        for number in range(each)
    }
    batch_id = one.create_with(texts)
    one.ended(batch_id, deadline_seconds=60 + 3 * each)
    lines = {line["custom_id"]: line["result"] for line in one.results(batch_id)}
    assert lines.keys() == texts.keys()
    for name, result in lines.items():
        if name.startswith((FaultKind.SLOW, "tokens")):
            assert result["type"] == "succeeded", result
        else:
            assert result["type"] == "errored", (name, result)
    stats = one.simulator.stats()
    assert stats.get("redirects_followed", 0) == 0
    assert max(one.simulator.arrivals().values()) <= TIMES_MAX
    assert one.server.rss_bytes() - before <= RSS_GROWTH_MAX
