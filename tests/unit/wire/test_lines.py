"""Lines at rest: what goes in comes out, and result lines are what published readers need (contract §4.6)."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.result import Usage
from slackwater.wire.lines import (
    canceled_line,
    errored_line,
    expired_line,
    finish_message,
    succeeded_line,
    usage_of,
)
from slackwater.wire.stored import decode_requests, encode_request, request_length

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT, max_size=3), max_size=4)


@given(st.lists(st.tuples(VALUES, st.sampled_from([None, 1, "\t"])), min_size=1, max_size=6))
def test_stored_requests_come_back_as_they_were_sent(requests: list[tuple[dict[str, Any], int | str | None]]) -> None:
    """D1: however the client laid its JSON out, line breaks between tokens included."""
    raws = [json.dumps(params, indent=indent, ensure_ascii=False).encode() for params, indent in requests]
    data = b"".join(encode_request(n, n % 3, f"r-{n}", memoryview(raw)) for n, raw in enumerate(raws))
    found = decode_requests(data)
    sizes = [request_length(n, n % 3, f"r-{n}", len(raw)) for n, raw in enumerate(raws)]
    assert sum(sizes) == len(data)
    assert [(one.index, one.group, one.custom_id, one.damaged) for one in found] == [
        (n, n % 3, f"r-{n}", False) for n in range(len(raws))
    ]
    assert [json.loads(bytes(memoryview(one.params))) for one in found] == [params for params, _ in requests]


@given(st.data())
def test_any_flipped_bit_of_a_stored_request_is_noticed(data: st.DataObject) -> None:
    """D5: the line is marked, its neighbours are not."""
    lines = [encode_request(n, 0, f"r-{n}", memoryview(b'{"model":"m","x":"some text"}')) for n in range(3)]
    damaged = bytearray(lines[1])
    at = data.draw(st.integers(0, len(damaged) - 2))
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    if damaged[at] == ord("\n"):
        return
    found = decode_requests(lines[0] + bytes(damaged) + lines[2])
    assert [one.damaged for one in found] == [False, True, False]


def test_result_lines_have_type_first_at_every_level() -> None:
    """Section 16 row 16: a published shell script reads them that way; the envelope is whole."""
    assert (
        succeeded_line("a", {"id": "msg_1"})
        == b'{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_1"}}}\n'
    )
    assert canceled_line("b") == b'{"custom_id":"b","result":{"type":"canceled"}}\n'
    assert expired_line("c") == b'{"custom_id":"c","result":{"type":"expired"}}\n'
    error = InvalidRequestError("max_tokens: Field required", error_code="x")
    assert errored_line("d", error, "req_1") == (
        b'{"custom_id":"d","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error",'
        b'"message":"max_tokens: Field required","details":{"error_code":"x"}},"request_id":"req_1"}}}\n'
    )


@given(TEXT)
def test_a_result_line_is_one_line_for_every_reader(text: str) -> None:
    """R3, section 16 row 15: one LF at the end; U+2028, U+2029 and CR only as escapes; UTF-8."""
    line = succeeded_line("a", {"content": [{"type": "text", "text": f"{text}\u2028\u2029\r\n\x85"}]})
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert b"\r" not in line
    assert "\u2028" not in (decoded := line.decode())
    assert "\u2029" not in decoded
    assert json.loads(line)["result"]["message"]["content"][0]["text"] == f"{text}\u2028\u2029\r\n\x85"


def test_numbers_that_json_does_not_have_cannot_get_into_a_line() -> None:
    """R3: no NaN, no Infinity."""
    assert b"NaN" not in succeeded_line("a", {"x": float("nan"), "y": float("inf")})


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, Usage(input_tokens=3, output_tokens=4)),
        (
            {"input_tokens": 3, "output_tokens": 4, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 5},
            Usage(input_tokens=3, output_tokens=4, cache_creation_5m_input_tokens=10, cache_read_input_tokens=5),
        ),
        (
            {
                "input_tokens": 0,
                "output_tokens": 1,
                "cache_creation_input_tokens": 10,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6},
            },
            Usage(output_tokens=1, cache_creation_5m_input_tokens=4, cache_creation_1h_input_tokens=6),
        ),
        ({"input_tokens": None, "output_tokens": 2, "cache_creation": None}, Usage(output_tokens=2)),
    ],
)
def test_usage_is_read_as_the_api_means_it(usage: dict[str, Any], expected: Usage) -> None:
    """Section 16 row 18: cached tokens stand apart; a write without a lifetime is a five-minute one."""
    assert usage_of({"usage": usage}) == expected


def test_a_finished_message_has_the_api_s_keys_in_its_order_and_keeps_what_the_backend_added() -> None:
    """Contract §7: the client's model name, the whole of usage, unknown keys passed on."""
    told = {
        "stop_details": {"x": 1},
        "usage": {"input_tokens": 1, "output_tokens": 2, "server_tool_use": {"web_search_requests": 1}},
        "content": [],
        "id": "msg_1",
        "model": "upstream",
        "stop_reason": "end_turn",
    }
    message = finish_message(told, usage_of(told), model="asked", service_tier="batch")
    assert list(message) == [
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "usage",
    ]
    assert message["model"] == "asked"
    assert message["usage"] == {
        "input_tokens": 1,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 2,
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "batch",
    }
    assert msgspec.json.decode(succeeded_line("a", message))["result"]["message"] == message
