"""Synchronous calls: same gate, first in line, told at once what is wrong, and metered like everything else."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, cast

import pytest

from slackwater.clock import SystemClock
from slackwater.domain.batch import Terms
from slackwater.domain.errors import (
    APIError,
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    WireError,
)
from slackwater.domain.model import Route, Routes
from slackwater.domain.pricing import Price, ServiceTier
from slackwater.domain.result import Charge
from slackwater.flow.gate import AWAY_FAILURES, Gate
from slackwater.flow.interactive import Caller, Interactive
from slackwater.ports import Call
from support.worker import message

CALLER = Caller(workspace_id="w", key_id="k", terms=Terms(version="2023-06-01"))
BODY = b'{"model":"claude","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'
PRICE = Price(input_nanousd_per_mtok=1_000_000_000, output_nanousd_per_mtok=5_000_000_000)


class Ledger:
    """Remembers what was charged."""

    def __init__(self) -> None:
        self.charges: list[tuple[ServiceTier, Charge]] = []

    async def charge(self, workspace_id: str, tier: ServiceTier, charge: Charge, now: datetime) -> None:
        assert workspace_id == "w"
        assert now.tzinfo is not None
        self.charges.append((tier, charge))

    async def usage(self, workspace_id: str | None = None) -> list[Any]:
        return [workspace_id]


class Backend:
    """Answers or fails as it is told."""

    name = "b"

    def __init__(self, failure: Exception | None = None, count: int | None = None) -> None:
        self.failure = failure
        self.count = count
        self.asks_for_counts = True
        self.calls: list[Call] = []
        self.at_the_end: Callable[[], None] = lambda: None

    async def infer(self, call: Call) -> dict[str, Any]:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure
        return message("hello")

    async def stream(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure
        start = {**message(), "content": [], "usage": {"input_tokens": 10, "output_tokens": 1}, "model": "upstream"}
        try:
            yield {"type": "message_start", "message": start}
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}
            yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
            yield {"type": "message_stop"}
        finally:
            self.at_the_end()

    async def reads(self) -> frozenset[str]:
        return frozenset()

    async def count_tokens(self, call: Call) -> int | None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure
        return self.count

    async def models(self) -> list[str]:
        return []

    async def close(self) -> None:
        pass


class Refusing:
    """Material that cannot be had."""

    @asynccontextmanager
    async def filled(self, _params: Any, _job: Any) -> AsyncIterator[Any]:
        raise InvalidRequestError("messages.0.content.0.document.source.file: The PDF is password-protected")
        yield


class Desk:
    """An Interactive and everything around it."""

    def __init__(
        self,
        failure: Exception | None = None,
        count: int | None = None,
        *,
        slots: int | None = None,
        tokenizer: Callable[[Any], int] | None = None,
    ) -> None:
        clock = SystemClock()
        self.backend, self.ledger = Backend(failure, count), Ledger()
        self.gate = Gate("b", ceiling=1, adaptive=False, clock=clock, slots=slots, reserved=1 if slots else 0)
        route = Route(id="claude", backend="b", upstream="qwen", price=PRICE, max_tokens=100, tokenizer=tokenizer)
        routes = Routes(routes=(route,))
        self.step = Interactive(
            routes=routes,
            backends={"b": self.backend},
            gates={"b": self.gate},
            material=cast("Any", Refusing()),
            ledger=self.ledger,
            clock=clock,
        )

    async def create(self) -> dict[str, Any]:
        return await self.step.create(self.step.check(BODY, CALLER), CALLER)


async def test_a_call_is_answered_with_the_client_s_model_and_charged_at_full_price() -> None:
    """M1; contract §7: the standard tier, the name that was asked for, the upstream name only upstream."""
    desk = Desk()
    answer = await desk.create()
    assert answer["model"] == "claude"
    assert answer["usage"]["service_tier"] == "standard"
    assert desk.backend.calls[0].upstream == "qwen"
    ((tier, charge),) = desk.ledger.charges
    assert (tier, charge.cost_nanousd) == ("standard", 10 * 1_000 + 5 * 5_000)


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (BackendAwayError("refused"), OverloadedError),
        (BackendAwayError("429", full=True, retry_after_seconds=3), OverloadedError),
        (AttemptFailedError("500", APIError("The backend answered 500.")), APIError),
        (InvalidRequestError("prompt is too long"), InvalidRequestError),
    ],
)
async def test_a_failure_is_told_at_once_in_the_wire_s_types(failure: Exception, raised: type[WireError]) -> None:
    """X7 for people who wait: no retry here, the SDK does that; nothing is charged; the slot is free again."""
    desk = Desk(failure)
    with pytest.raises(raised) as caught:
        await desk.create()
    assert caught.value.retry_after_seconds == getattr(failure, "retry_after_seconds", None)
    assert len(desk.backend.calls) == 1
    assert desk.ledger.charges == []
    assert desk.gate.in_flight == 0


async def test_nobody_waits_for_a_backend_that_is_away() -> None:
    """The answer is a 529 at once, not a request that hangs until the next probe."""
    desk = Desk(BackendAwayError("refused"))
    for _ in range(AWAY_FAILURES):
        with pytest.raises(OverloadedError):
            await desk.create()
    with pytest.raises(OverloadedError):
        await desk.create()
    assert len(desk.backend.calls) == AWAY_FAILURES


async def test_a_refusal_shows_that_the_backend_is_there() -> None:
    """X7: whoever answers 400 is not away; failures before it do not count on."""
    desk = Desk(BackendAwayError("refused"))
    away = desk.backend.failure
    for failure in [*[away] * (AWAY_FAILURES - 1), InvalidRequestError("no"), away]:
        desk.backend.failure = failure
        with pytest.raises(WireError):
            await desk.create()
    assert not desk.gate.away


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        (BODY.replace(b'"claude"', b'"other"'), NotFoundError),
        (BODY.replace(b"10", b"101"), InvalidRequestError),
        (b"{", InvalidRequestError),
    ],
)
def test_a_body_is_checked_before_anything_is_sent(body: bytes, raised: type[WireError]) -> None:
    """Contract §2.3: unknown model, too many output tokens, broken JSON."""
    with pytest.raises(raised):
        Desk().step.check(body, CALLER)


async def test_a_stream_is_named_passed_on_and_charged_by_its_last_word() -> None:
    """Contract §7.1: `message_start` carries the client's model; usage is that of `message_delta`."""
    desk = Desk()
    events = [event async for event in desk.step.stream(desk.step.check(BODY, CALLER), CALLER)]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["model"] == "claude"
    ((_, charge),) = desk.ledger.charges
    assert (charge.usage.input_tokens, charge.usage.output_tokens) == (10, 7)


async def test_a_stream_that_is_left_half_way_is_charged_for_what_was_reported() -> None:
    """M1: leaving is not a way to get input for nothing; the slot is free again."""
    desk = Desk()
    stream = desk.step.stream(desk.step.check(BODY, CALLER), CALLER)
    assert (await anext(stream))["type"] == "message_start"
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    ((_, charge),) = desk.ledger.charges
    assert (charge.usage.input_tokens, charge.usage.output_tokens) == (10, 1)
    assert desk.gate.in_flight == 0


async def test_a_person_goes_before_batch_work_that_is_waiting() -> None:
    """Interactive first: with the only slot taken, the call that came later but waits in person is next."""
    desk = Desk()
    desk.gate.take()
    batch = asyncio.create_task(desk.gate.acquire(interactive=False))
    await asyncio.sleep(0)
    person = asyncio.create_task(desk.create())
    await asyncio.sleep(0)
    desk.gate.release()
    await person
    await batch
    assert desk.backend.calls
    assert desk.gate.in_flight == 1


async def test_a_call_whose_own_documents_are_at_fault_says_nothing_about_its_backend() -> None:
    """X7: one that was not asked is neither there nor away; the circuit stays as it is, also for streams and counts."""
    desk = Desk(BackendAwayError("refused"))
    for _ in range(AWAY_FAILURES - 1):
        with pytest.raises(OverloadedError):
            await desk.create()
    document = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    params = {"model": "claude", "messages": [{"role": "user", "content": [document]}]}
    body = json.dumps({**params, "max_tokens": 10}).encode()
    with pytest.raises(InvalidRequestError, match="password"):
        await desk.step.create(desk.step.check(body, CALLER), CALLER)
    with pytest.raises(InvalidRequestError, match="password"):
        await anext(desk.step.stream(desk.step.check(body, CALLER), CALLER))
    with pytest.raises(InvalidRequestError, match="password"):
        await desk.step.count_tokens(json.dumps(params).encode(), CALLER)
    assert (desk.gate.in_flight, desk.gate.away) == (0, False)
    with pytest.raises(OverloadedError):
        await desk.create()
    assert desk.gate.away


COUNTED = b'{"model":"claude","messages":[{"role":"user","content":"hi"}]}'


@pytest.mark.parametrize(
    ("count", "tokenizer", "expected"),
    [
        (42, lambda _: 7, (42, "backend")),
        (None, lambda params: len(params["messages"]) + 6, (7, "tokenizer")),
        (None, None, (15, "estimate")),
    ],
)
async def test_tokens_are_counted_by_the_backend_else_by_a_tokenizer_of_ours_else_estimated_and_that_is_said(
    count: int | None, tokenizer: Callable[[Any], int] | None, expected: tuple[int, str]
) -> None:
    """Contract §7.2."""
    assert await Desk(count=count, tokenizer=tokenizer).step.count_tokens(COUNTED, CALLER) == expected


async def test_a_count_that_the_backend_is_asked_for_is_one_of_its_calls() -> None:
    """Within its limit and ahead of batch work; it opens the circuit (X7) and does not ask while that is open."""
    desk = Desk(count=42, tokenizer=lambda _: 7)
    desk.gate.take()
    counting = asyncio.ensure_future(desk.step.count_tokens(COUNTED, CALLER))
    batch = asyncio.ensure_future(desk.gate.acquire(interactive=False))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (desk.backend.calls, batch.done()) == ([], False)
    desk.gate.release()
    assert await counting == (42, "backend")
    await batch
    desk.gate.release()
    desk.backend.failure = BackendAwayError("refused")
    for _ in range(AWAY_FAILURES + 2):
        assert await desk.step.count_tokens(COUNTED, CALLER) == (7, "tokenizer")
    assert len(desk.backend.calls) == 1 + AWAY_FAILURES
    assert (desk.gate.away, desk.gate.in_flight) == (True, 0)
    desk.backend.failure = None
    desk.gate._closed_until = 0.0  # it is time for the next probe
    assert await desk.step.count_tokens(COUNTED, CALLER) == (42, "backend")
    assert not desk.gate.away


async def test_a_count_for_which_the_backend_is_not_asked_waits_for_nobody() -> None:
    """Its slots may all be taken, and it may be away."""
    desk = Desk(count=42)
    desk.backend.asks_for_counts = False
    desk.gate.take()
    for _ in range(AWAY_FAILURES):
        desk.gate.failed(full=False, retry_after_seconds=None)
    assert await desk.step.count_tokens(COUNTED, CALLER) == (42, "backend")
    assert desk.gate.away


async def test_a_count_that_fails_is_no_reason_to_tell_the_client() -> None:
    """A marked estimate is better than a 500; what is wrong with the request is told."""
    desk = Desk(AttemptFailedError("500", APIError("The backend answered 500.")))
    assert (await desk.step.count_tokens(COUNTED, CALLER))[1] == "estimate"
    desk.backend.failure = InvalidRequestError("no")
    with pytest.raises(InvalidRequestError):
        await desk.step.count_tokens(COUNTED, CALLER)


async def test_a_stream_that_is_left_is_closed_at_the_backend_before_its_place_is_given_away() -> None:
    """Else the next call would find the backend's own slot still taken."""
    desk, in_flight = Desk(), []
    desk.backend.at_the_end = lambda: in_flight.append(desk.gate.in_flight)
    stream = desk.step.stream(desk.step.check(BODY, CALLER), CALLER)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert in_flight == [1]
    assert desk.gate.in_flight == 0


async def test_until_a_stream_s_first_token_no_batch_request_is_started_in_a_slot() -> None:
    """A person's prompt is not read behind a batch's; from the first token on both are answered side by side."""
    desk = Desk(slots=1)
    seen = []
    async for event in desk.step.stream(desk.step.check(BODY, CALLER), CALLER):
        await asyncio.sleep(0)  # lets the gate hear of it
        seen.append((event["type"], desk.gate.has_room()))
    assert seen[:2] == [("message_start", False), ("content_block_delta", True)]


@pytest.mark.parametrize("failure", [None, AttemptFailedError("500", APIError("The backend answered 500."))])
async def test_after_a_whole_answer_or_none_the_slots_are_the_batch_s_again(failure: Exception | None) -> None:
    """The first token of a whole answer is its last."""
    desk = Desk(failure, slots=1)
    answer = desk.backend.infer
    room = []

    async def infer(call: Call) -> dict[str, Any]:
        room.append(desk.gate.has_room())
        return await answer(call)

    desk.backend.infer = infer  # type: ignore[method-assign]  # looks at the gate while it answers
    with suppress(APIError):
        await desk.create()
    await asyncio.sleep(0)  # lets the gate hear of it
    assert room == [False]
    assert desk.gate.has_room()
