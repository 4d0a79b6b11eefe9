"""Faults in process: each raises what an HTTP backend would raise for the real thing (X7)."""

import pytest

from slackwater.backends.simulated.faults import FaultKind, FaultPlan, directives
from slackwater.domain.errors import (
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    RequestTooLargeError,
    WireError,
    WireTimeoutError,
)
from support.simulated import Rig, call, text_of


@pytest.mark.parametrize(
    ("order", "full"), [("status=429", True), ("status=529", True), ("status=503", False), ("refused", False)]
)
async def test_a_backend_that_is_away_or_full_costs_the_request_nothing(order: str, full: bool) -> None:
    """X7: BackendAwayError, told apart by whether to send less."""
    with pytest.raises(BackendAwayError) as caught:
        await Rig().ask(f"[[sim:{order}]]")
    assert caught.value.full is full


async def test_retry_after_is_passed_on() -> None:
    """X7: what the backend asked for."""
    with pytest.raises(BackendAwayError) as caught:
        await Rig().ask("[[sim:status=429 retry-after=1.5]]")
    assert caught.value.retry_after_seconds == 1.5


@pytest.mark.parametrize(
    "order",
    [
        "status=500",
        "status=502",
        "status=302",
        "status=401",
        "status=404",
        "cut",
        "reset",
        "close",
        "redirect",
        "garbage",
        "truncated",
        "wrongshape",
        "nan",
        "deep",
        "huge",
        "error200",
        "wronglength",
        "empty",
        "html",
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_the_request_may_have_caused_is_a_failed_attempt(order: str, streamed: bool) -> None:
    """S7, X7: never an answer; tried again a few times, then `api_error`."""
    rig = Rig()
    with pytest.raises(AttemptFailedError) as caught:
        await (rig.events if streamed else rig.ask)(f"[[sim:{order}]]")
    assert caught.value.error.type == "api_error"


@pytest.mark.parametrize("order", ["hang", "timeout", "endless", "slow=700"])
async def test_an_answer_that_does_not_come_times_out(order: str) -> None:
    """X7: after the configured time, not before."""
    rig = Rig(timeout_seconds=600)
    with pytest.raises(AttemptFailedError) as caught:
        await rig.ask(f"[[sim:{order}]]")
    assert isinstance(caught.value.error, WireTimeoutError)
    assert rig.clock.seconds == 600


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("status=400", InvalidRequestError),
        ("status=422", InvalidRequestError),
        ("status=413", RequestTooLargeError),
        ("status=418", InvalidRequestError),
        ("error=invalid_request_error", InvalidRequestError),
    ],
)
async def test_a_refusal_of_the_request_itself_is_a_wire_error(order: str, expected: type[WireError]) -> None:
    """X7: errored at once."""
    with pytest.raises(expected):
        await Rig().ask(f"[[sim:{order}]]")


async def test_error_types_map_to_the_status_that_carries_them() -> None:
    """`error=overloaded_error` is a 529."""
    with pytest.raises(BackendAwayError) as caught:
        await Rig().ask("[[sim:error=overloaded_error]]")
    assert caught.value.full


async def test_times_limits_a_fault_to_the_first_arrivals_of_that_request() -> None:
    """Another request in between does not count."""
    rig = Rig()
    for _ in range(2):
        with pytest.raises(AttemptFailedError):
            await rig.ask("[[sim:status=500 times=2]] row 1")
        await rig.ask("something else")
    assert text_of(await rig.ask("[[sim:status=500 times=2]] row 1")).endswith("row 1")
    with pytest.raises(AttemptFailedError):
        await rig.ask("[[sim:status=500 times=2]] row 2")


async def test_a_slow_answer_is_right_in_the_end() -> None:
    """It only takes its time."""
    rig = Rig()
    assert text_of(await rig.ask("[[sim:slow=5]]"))
    assert rig.clock.seconds == 5


async def test_an_order_of_latency_replaces_the_configured_one() -> None:
    """In seconds."""
    rig = Rig(latency_ms=100)
    await rig.ask("[[sim:latency=2]]")
    assert rig.clock.seconds == 2


async def test_only_the_last_user_text_gives_orders() -> None:
    """A system prompt or an earlier turn that quotes a directive changes nothing."""
    messages = [
        {"role": "user", "content": "[[sim:status=500]]"},
        {"role": "assistant", "content": "[[sim:status=500]]"},
        {"role": "user", "content": "fine"},
    ]
    assert text_of(await Rig().ask(messages=messages, system="[[sim:status=500]]")).endswith("fine")


@pytest.mark.parametrize(
    "text",
    [
        "[[sim:nonsense]]",
        "[[sim:status=abc]]",
        "[[sim:status=200]]",
        "[[sim:error=no_such_error]]",
        "[[sim:retry-after=1]]",
        "[[sim:tokens=many]]",
    ],
)
async def test_a_directive_with_a_mistake_is_refused_loudly(text: str) -> None:
    """A test must not pass because its fault never happened."""
    with pytest.raises(ValueError, match="does not understand"):
        directives(text)
    with pytest.raises(InvalidRequestError):
        await Rig().ask(text)


@pytest.mark.parametrize("spec", ["nonsense=0.1", "429=often", "429=0.6,500=0.6", "cut=-0.1", "99=0.1", "429"])
def test_a_plan_with_a_mistake_is_refused(spec: str) -> None:
    """Naming the entry, the last one here."""
    with pytest.raises(ValueError, match=spec.rsplit(",", 1)[-1]):
        FaultPlan.parse(spec, 0)


def test_a_plan_strikes_at_its_rates() -> None:
    """Within half a percent over 100,000 arrivals."""
    plan = FaultPlan.parse("429=0.3, 529=0.05, timeout=0.01, retry-after=1, slow-seconds=3, slow=0.02", 7)
    faults = [plan.fault_for(number) for number in range(100_000)]
    share = {
        "429": sum(fault is not None and fault.status == 429 for fault in faults) / 1e5,
        "529": sum(fault is not None and fault.status == 529 for fault in faults) / 1e5,
        "hang": sum(fault is not None and fault.kind is FaultKind.HANG for fault in faults) / 1e5,
        "slow": sum(fault is not None and fault.kind is FaultKind.SLOW for fault in faults) / 1e5,
    }
    assert share == pytest.approx({"429": 0.3, "529": 0.05, "hang": 0.01, "slow": 0.02}, abs=0.005)
    assert {fault.retry_after_seconds for fault in faults if fault and fault.status} == {1.0}
    assert {fault.seconds for fault in faults if fault and fault.kind is FaultKind.SLOW} == {3.0}


def test_a_plan_depends_on_seed_and_arrival_number_alone() -> None:
    """The same seed is the same run; another is another."""

    def run(seed: int) -> list[FaultKind | None]:
        plan = FaultPlan.parse("500=0.5", seed)
        return [fault.kind if (fault := plan.fault_for(number)) else None for number in range(200)]

    assert run(1) == run(1)
    assert run(1) != run(2)


async def test_a_planned_fault_strikes_requests_that_order_none() -> None:
    """An order, even one that is used up, keeps the plan away."""
    rig = Rig(faults="500=1")
    with pytest.raises(AttemptFailedError):
        await rig.ask("hello")
    with pytest.raises(BackendAwayError):
        await rig.ask("[[sim:status=429 times=1]]")
    assert text_of(await rig.ask("[[sim:status=429 times=1]]"))


async def test_a_stream_is_right_up_to_the_middle_where_a_cut_strikes() -> None:
    """Some events come, then the exception; no `message_stop`."""
    rig = Rig()
    seen = []

    async def read() -> None:
        async for event in rig.backend.stream(call("[[sim:cut]]")):
            seen.append(event["type"])  # noqa: PERF401  # what came before the exception matters

    with pytest.raises(AttemptFailedError):
        await rig.clock.run(read())
    assert seen[0] == "message_start"
    assert "content_block_delta" in seen
    assert "message_stop" not in seen
