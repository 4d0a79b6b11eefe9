"""Whatever a backend answers, a call ends in a checked Message or in an error that a Backend may raise (S7)."""

import copy
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.backends import options_for
from slackwater.backends.anthropic import stream_error
from slackwater.backends.events import StreamOrder
from slackwater.backends.listing import listed_models, owner_of_models
from slackwater.backends.message import STOP_REASONS, checked_message, plain_message
from slackwater.backends.openai.response import Asked, message_of
from slackwater.backends.openai.stream import ChunkReader
from slackwater.backends.refusals import Answer, decode_or_none, refusal, told
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, WireError
from support.stub import COMPLETION, MESSAGE

EXPECTED = (AttemptFailedError, BackendAwayError, WireError)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 99), st.floats(-9, 9), st.text(max_size=3), st.sampled_from(["text", "x"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "text", "id", "name", "input", "error", "message", "code", "index", "function"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=6,
)
RICH_MESSAGE = MESSAGE | {
    "content": [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ],
    "usage": {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 1},
    },
}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
RICH_COMPLETION: dict[str, Any] = COMPLETION | {
    "choices": [
        {
            "message": {"content": "Hi", "reasoning_content": "hm", "refusal": None, "tool_calls": [CALL]},
            "delta": {"content": "Hi", "reasoning_content": "hm", "refusal": None, "tool_calls": [CALL, CALL]},
            "finish_reason": "stop",
            "stop_reason": "END",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
    "__verbose": {"stopping_word": "END"},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": RICH_MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 1},
    },
    {"type": "message_stop"},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value inside, the whole included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in inner for found in places(child, (*path, key)))]


def spoiled(value: Any, data: st.DataObject) -> Any:
    """Put anything at all in one place of a good answer."""
    *path, last = (None, *data.draw(st.sampled_from(places(value))))
    if last is None:
        return data.draw(JSON)
    value = target = copy.deepcopy(value)
    for key in path[1:]:
        target = target[key]
    target[last] = data.draw(JSON)
    return value


def asked() -> Asked:
    numbers = count(1)
    return Asked(
        model="m",
        max_tokens=9,
        stop_sequences=frozenset({"END"}),
        prefill="",
        options=options_for("llamacpp"),
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
    )


def assert_whole(message: dict[str, Any]) -> None:
    assert message["type"] == "message"
    assert message["stop_reason"] in STOP_REASONS
    assert all(isinstance(block["type"], str) for block in message["content"])
    counts = [message["usage"][key] for key in ("input_tokens", "output_tokens", "cache_read_input_tokens")]
    assert all(isinstance(tokens, int) and tokens >= 0 for tokens in counts)


@settings(deadline=None)
@given(st.data())
def test_a_spoiled_message_is_whole_or_failed(data: st.DataObject) -> None:
    """S7: any value in any place."""
    with suppress(AttemptFailedError):
        assert_whole(checked_message(spoiled(RICH_MESSAGE, data), new_id=lambda prefix: prefix))


@settings(deadline=None)
@given(st.data())
def test_an_answer_of_text_is_read_alike_at_once_or_piece_by_piece(data: st.DataObject) -> None:
    """S7: what the quick look takes is what the full check makes of it, keys in the same order."""
    usage = data.draw(st.sampled_from([MESSAGE["usage"], {**MESSAGE["usage"], "cache_creation_input_tokens": 4}]))
    body = msgspec.json.encode(spoiled(MESSAGE | {"usage": usage}, data) if data.draw(st.booleans()) else MESSAGE)
    quick = plain_message(body, new_id=lambda prefix: prefix)
    if quick is not None:
        whole = checked_message(msgspec.json.decode(body), new_id=lambda prefix: prefix)
        assert msgspec.json.encode(quick) == msgspec.json.encode(whole)


def test_the_usual_answer_needs_no_full_check() -> None:
    """Or the quick look is for nothing."""
    assert plain_message(msgspec.json.encode(MESSAGE), new_id=lambda prefix: prefix) is not None


@settings(deadline=None)
@given(st.data())
def test_a_spoiled_completion_is_whole_or_failed(data: st.DataObject) -> None:
    """S7: any value in any place."""
    with suppress(AttemptFailedError):
        assert_whole(message_of(spoiled(RICH_COMPLETION, data), asked()))


@settings(deadline=None)
@given(st.data())
def test_a_spoiled_chunk_gives_events_in_order_or_fails(data: st.DataObject) -> None:
    """S7: the events up to a failure are still in the API's order."""
    reader, order = ChunkReader(asked=asked()), StreamOrder(new_id=lambda prefix: prefix)
    with suppress(AttemptFailedError):
        for chunk in (RICH_COMPLETION, spoiled(RICH_COMPLETION, data), RICH_COMPLETION):
            events = list(reader.feed(chunk))
            assert [order.passed(event) for event in events] == events
        events = list(reader.end(done=True))
        assert [order.passed(event)["type"] for event in events][-1] == "message_stop"


@settings(deadline=None)
@given(st.integers(0, len(EVENTS) - 1), st.data())
def test_a_spoiled_event_passes_or_fails(at: int, data: st.DataObject) -> None:
    """S7: any value in any place of any event."""
    order = StreamOrder(new_id=lambda prefix: prefix)
    with suppress(AttemptFailedError):
        for number, event in enumerate(EVENTS):
            sent = spoiled(event, data) if number == at else event
            if isinstance(sent, dict) and isinstance(sent.get("type"), str):
                order.passed(sent)
        order.end()


@settings(deadline=None)
@given(JSON, st.integers(100, 599))
def test_any_error_body_gives_an_error(body: Any, status: int) -> None:
    """X7: whatever stands in an error, plain or in a stream, is one of three kinds of failure, with a clean text."""
    for wrapped in (body, {"error": body}, {"detail": body}, {"error": {"message": body, "code": body, "type": body}}):
        errors = [told(status, wrapped, model="m")]
        errors += [stream_error(wrapped, model="m")] if isinstance(wrapped, dict) else []
        assert all(isinstance(error, EXPECTED) for error in errors)
        with suppress(AttemptFailedError):
            listed_models(wrapped)
            owner_of_models(wrapped)


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(100, 599), st.text(max_size=8))
def test_any_bytes_and_any_wait_give_an_error(body: bytes, status: int, wait: str) -> None:
    """X7: garbage in a refusal's body or its retry-after is no other failure."""
    answer = Answer(status=status, headers={"retry-after": wait, "retry-after-ms": wait}, body=body)
    error = refusal(answer, model="m", wall=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    assert isinstance(error, EXPECTED)
    if isinstance(error, BackendAwayError) and error.retry_after_seconds is not None:
        assert 0 <= error.retry_after_seconds <= 86_400
    decode_or_none(body)
