"""The simulator in process and over HTTP are one: every order has the same outcome through every backend."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from slackwater.backends.anthropic import AnthropicBackend
from slackwater.backends.openai import OpenAIBackend
from slackwater.backends.simulated import SimulatedBackend, SimulatedOptions
from slackwater.backends.simulated.engine import Engine
from slackwater.backends.simulated.faults import FaultKind
from slackwater.backends.simulated.server import SimulatorServer
from slackwater.clock import SystemClock
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, WireError
from slackwater.ports import Backend, Call
from support.simulated import call

STATUSES = (302, 400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504, 529)
KINDS = sorted(set(FaultKind) - {FaultKind.STATUS, FaultKind.HUGE, FaultKind.SLOW})
ORDERS = [
    *(f"status={status}" for status in STATUSES),
    *KINDS,
    "slow=0.02",
    "huge=80",
    "status=429 retry-after=1.5",
    "error=overloaded_error",
    "error=timeout_error",
    "stop=refusal",
    "text=exactly this",
    "tokens=40",
]


@asynccontextmanager
async def backends(timeout_seconds: float = 20) -> AsyncIterator[dict[str, Backend]]:
    clock = SystemClock()
    options = SimulatedOptions(latency_ms=0, timeout_seconds=timeout_seconds)
    server = SimulatorServer(Engine(options, clock))
    url = f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}"
    common: dict[str, Any] = {"url": url, "new_id": lambda prefix: f"{prefix}_1", "wall": clock.now}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        made: dict[str, Backend] = {
            "simulated": SimulatedBackend(name="s", options=options, clock=clock, new_id=common["new_id"]),
            "anthropic": AnthropicBackend(name="a", timeout_seconds=timeout_seconds, **common),
            "openai": OpenAIBackend(name="o", timeout_seconds=timeout_seconds, **common),
        }
        for backend in made.values():
            stack.push_async_callback(backend.close)
        yield made


async def outcome(backend: Backend, asked: Call, *, stream: bool) -> tuple[Any, ...]:
    try:
        if stream:
            events = [event async for event in backend.stream(asked)]
            return ("answered", events[-1]["type"])
        message = await backend.infer(asked)
    except BackendAwayError as away:
        return ("away", away.full, away.retry_after_seconds)
    except AttemptFailedError as failed:
        return ("failed", failed.error.type)
    except WireError as refused:
        return ("refused", refused.type)
    usage = message["usage"]
    return ("answered", message["stop_reason"], usage["output_tokens"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("order", ORDERS)
async def test_an_order_has_the_same_outcome_through_every_backend(order: str, stream: bool) -> None:
    """S7, X7, F15, F16: the same class of error, or an answer everywhere."""
    asked = call(f"[[sim:{order}]] " + "words " * 20)
    never = order in {FaultKind.HANG, FaultKind.ENDLESS}
    async with backends(timeout_seconds=0.3 if never else 20) as made:
        outcomes = {name: await outcome(backend, asked, stream=stream) for name, backend in made.items()}
    assert outcomes["anthropic"] == outcomes["openai"] == outcomes["simulated"]
    well = order.startswith(("slow", "stop", "text", "tokens"))
    assert (outcomes["simulated"][0] == "answered") == well


async def test_usage_and_content_are_the_same_through_every_backend() -> None:
    """S7: tools, thinking, structured output and a cut answer survive both protocols.

    The digest in the text names the body that arrived, so it differs between the protocols; its length does not.
    """
    tool = {"name": "lookup", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    schema = {"type": "object", "properties": {"mood": {"enum": ["good"]}}, "required": ["mood"]}
    questions = [
        call("use tool lookup", tools=[tool]),
        call("rate it", output_config={"format": {"type": "json_schema", "schema": schema}}),
        call("long " * 50, max_tokens=20),
        call("one STOP two", stop_sequences=["STOP"]),
    ]
    async with backends() as made:
        for asked in questions:
            answers = [await backend.infer(asked) for backend in made.values()]
            kinds = [[block["type"] for block in answer["content"]] for answer in answers]
            assert kinds[0] == kinds[1] == kinds[2]
            assert len({answer["stop_reason"] for answer in answers}) <= (2 if asked is questions[-1] else 1)
            assert len({answer["usage"]["output_tokens"] for answer in answers}) == 1
