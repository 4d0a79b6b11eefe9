"""The simulator as a machine: capacity, speed, queue, prefix cache, and the witness beside it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends.simulated import SimulatedOptions
from slackwater.backends.simulated.cache import BLOCK_TOKENS
from slackwater.domain.errors import AttemptFailedError, BackendAwayError
from support.simulated import Rig, call


@pytest.mark.parametrize(("capacity", "seconds"), [(1, 1.0), (4, 0.3), (10, 0.1)])
async def test_ten_requests_take_as_many_rounds_as_the_capacity_allows(capacity: int, seconds: float) -> None:
    """At most `capacity` are in service at once; the makespan says so."""
    rig = Rig(latency_ms=100, capacity=capacity)
    await rig.ask_all(*(f"row {number}" for number in range(10)))
    assert rig.clock.seconds == pytest.approx(seconds)
    assert rig.backend.engine.stats()["in_service_most"] == capacity


async def test_requests_are_served_in_order_of_arrival() -> None:
    """First come, first served."""
    rig = Rig(latency_ms=100, capacity=1)
    order: list[int] = []

    async def one(number: int) -> None:
        await rig.backend.infer(call(f"row {number}"))
        order.append(number)

    async def together() -> None:
        await asyncio.gather(*(one(number) for number in range(5)))

    await rig.clock.run(together())
    assert order == [0, 1, 2, 3, 4]


async def test_time_is_latency_plus_uncached_input_plus_output() -> None:
    """Each part with its own rate."""
    rig = Rig(latency_ms=500, prefill_tokens_per_second=100, tokens_per_second=10)
    usage = (await rig.ask("[[sim:tokens=20]]" + "x" * 383))["usage"]
    assert rig.clock.seconds == pytest.approx(0.5 + usage["input_tokens"] / 100 + 2.0)


async def test_a_stream_spreads_its_output_over_the_same_time() -> None:
    """The last event comes when the whole answer would."""
    rig = Rig(latency_ms=500, tokens_per_second=10)
    await rig.events("[[sim:tokens=32]]")
    assert rig.clock.seconds == pytest.approx(0.5 + 3.2)


async def test_latency_varies_around_its_median_and_is_fixed_by_the_seed() -> None:
    """Log-normal, by arrival number."""
    engine = Rig(latency_ms=100, latency_sigma=0.5, seed=3).backend.engine
    again = Rig(latency_ms=100, latency_sigma=0.5, seed=3).backend.engine
    drawn = sorted(engine.latency_seconds(number) for number in range(2_001))
    assert drawn == sorted(again.latency_seconds(number) for number in range(2_001))
    assert drawn[1_000] == pytest.approx(0.1, rel=0.1)
    assert drawn[1_682] == pytest.approx(0.1 * 2.718281828**0.5, rel=0.1)


async def test_a_full_queue_refuses_and_says_so() -> None:
    """X7: full, not broken."""
    rig = Rig(latency_ms=100, capacity=1, queue_max=1)

    async def together() -> list[Any]:
        return await asyncio.gather(*(rig.backend.infer(call(str(n))) for n in range(3)), return_exceptions=True)

    answers = await rig.clock.run(together())
    refused = [answer for answer in answers if isinstance(answer, BackendAwayError)]
    assert len(refused) == 1
    assert refused[0].full


@pytest.mark.parametrize("after", ["queued", "granted", "in service", "both at once"])
async def test_a_request_that_is_given_up_frees_its_place(after: str) -> None:
    """Canceled at any moment, the place serves the next one."""
    rig = Rig(latency_ms=100, capacity=1)
    gate = rig.backend.engine.gate
    first = asyncio.ensure_future(rig.backend.infer(call("first")))
    second = asyncio.ensure_future(rig.backend.infer(call("second")))
    await asyncio.sleep(0)
    if after == "in service":
        first.cancel()
    elif after == "queued":
        second.cancel()
    elif after == "both at once":
        first.cancel()
        second.cancel()
    else:
        first.cancel()
        await asyncio.sleep(0)
        second.cancel()

    async def rest() -> None:
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert not [one for one in outcomes if isinstance(one, Exception)]  # a cancellation is none
        await rig.backend.infer(call("third"))

    await rig.clock.run(rest())
    assert (gate.inside, gate.queued) == (0, 0)


async def test_a_failed_request_takes_no_place_and_a_spoiled_one_frees_it() -> None:
    """Faults leave the engine as they found it."""
    rig = Rig(capacity=1)
    for order in ("status=500", "cut", "garbage"):
        with pytest.raises(AttemptFailedError):
            await rig.ask(f"[[sim:{order}]]")
    assert rig.backend.engine.gate.inside == 0


def system(text: str, **control: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, **control}]


def split(message: dict[str, Any]) -> tuple[int, int, int]:
    usage = message["usage"]
    return usage["input_tokens"], usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]


async def test_a_repeated_prefix_is_read_from_the_cache_in_whole_blocks() -> None:
    """Contract §7: input_tokens excludes what was cached; the parts sum to the prompt."""
    rig = Rig(cache_tokens=10_000)
    cold = split(await rig.ask("one", system=system("s" * 4_000)))
    warm = split(await rig.ask("two", system=system("s" * 4_000)))
    assert cold[1:] == (0, 0)
    assert warm[2] == 1_000 // BLOCK_TOKENS * BLOCK_TOKENS
    assert sum(warm) == sum(cold)


async def test_prefill_time_is_paid_for_uncached_tokens_only() -> None:
    """What prefix reuse wins."""
    rig = Rig(cache_tokens=10_000, prefill_tokens_per_second=1_000)
    await rig.ask("one", system=system("s" * 4_000))
    cold = rig.clock.seconds
    await rig.ask("two", system=system("s" * 4_000))
    assert cold == pytest.approx(1.0, abs=0.02)
    assert rig.clock.seconds - cold < 0.03


async def test_two_cold_requests_that_start_together_do_not_help_each_other() -> None:
    """Contract §10: one first, then the fan-out."""
    rig = Rig(cache_tokens=10_000, latency_ms=10)
    prefix = "p" * 4_000
    together = await rig.ask_all(prefix + "one", prefix + "two")
    afterwards = await rig.ask(prefix + "three")
    assert [split(message)[2] for message in together] == [0, 0]
    assert split(afterwards)[2] > 900


async def test_breakpoints_say_what_was_created_and_for_how_long() -> None:
    """Contract §10: from the hit to the last breakpoint, each part with its ttl."""
    rig = Rig(cache_tokens=10_000)
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    five = {"cache_control": {"type": "ephemeral"}}
    asked = {"system": [*system("a" * 4_000, **hour), *system("b" * 2_000, **five)]}
    cold = await rig.ask("one", **asked)
    warm = await rig.ask("two", **asked)
    assert cold["usage"]["cache_creation"] == {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 1_000}
    assert split(cold)[1:] == (1_500, 0)
    assert split(warm)[1] < BLOCK_TOKENS
    assert split(warm)[2] == 1_500 // BLOCK_TOKENS * BLOCK_TOKENS


async def test_moving_a_breakpoint_does_not_change_the_prompt() -> None:
    """`cache_control` is not text."""
    rig = Rig(cache_tokens=10_000)
    await rig.ask("one", system=system("s" * 4_000, cache_control={"type": "ephemeral"}))
    assert split(await rig.ask("one", system=system("s" * 4_000)))[2] > 900


async def test_an_automatic_breakpoint_stands_at_the_end() -> None:
    """Top-level `cache_control`."""
    usage = (await Rig(cache_tokens=10_000).ask("x" * 400, cache_control={"type": "ephemeral"}))["usage"]
    assert usage["input_tokens"] <= 1
    assert usage["cache_creation_input_tokens"] >= 100


async def test_the_least_recently_used_prefix_goes_first() -> None:
    """Three prefixes of 1,000 tokens in a cache of 1,900: interleaved they never hit, grouped they do."""

    async def read_tokens(order: str) -> int:
        rig = Rig(cache_tokens=1_900)
        return sum([split(await rig.ask(f"{n}", system=system(name * 4_000)))[2] for n, name in enumerate(order)])

    assert await read_tokens("abcabcabc") == 0
    assert await read_tokens("aaabbbccc") > 5_000


async def test_without_a_cache_nothing_is_cached() -> None:
    """`cache_tokens` 0."""
    rig = Rig()
    asked = {"system": system("s" * 4_000, cache_control={"type": "ephemeral"})}
    await rig.ask("one", **asked)
    assert split(await rig.ask("one", **asked))[1:] == (0, 0)


async def test_the_witness_has_one_line_per_arrival_whatever_became_of_it(tmp_path: Path) -> None:
    """S7, X2: the oracle of kill tests; faults and queues come after it."""
    path = tmp_path / "witness.jsonl"
    rig = Rig(witness=path)
    await rig.clock.run(rig.backend.infer(call("fine", custom_id="row-1")))
    for _ in range(2):
        with pytest.raises(AttemptFailedError):
            await rig.clock.run(rig.backend.infer(call("[[sim:status=500]]", custom_id="row-2")))
    await rig.backend.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3]
    assert [line["custom_id"] for line in lines] == ["row-1", "row-2", "row-2"]
    assert [line["attempt_of_digest"] for line in lines] == [1, 1, 2]
    assert lines[0]["at"].startswith("2026-01-02T00:00:00")
    assert {(line["protocol"], line["model"], line["stream"]) for line in lines} == {("simulated", "upstream-m", False)}
    assert lines[1]["digest"] == lines[2]["digest"] != lines[0]["digest"]


async def test_a_witness_goes_on_where_an_earlier_run_ended(tmp_path: Path) -> None:
    """Nothing is ever overwritten."""
    path = tmp_path / "witness.jsonl"
    for _ in range(2):
        rig = Rig(witness=path)
        await rig.ask()
        await rig.backend.close()
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"latency_ms": -1}, {"queue_max": -1}, {"cache_tokens": -1}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """Naming the option."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimulatedOptions(**wrong)
