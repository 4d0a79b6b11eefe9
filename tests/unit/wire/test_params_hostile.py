"""Whatever the bytes are: `ParamsError` or a checked body, and nothing else (reliability B6, B7)."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.wire.params import Checked, ParamsError, check_count_tokens, check_messages

VERSIONS = ("2023-06-01", "2026-10-21")
SMALL = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'


def with_input(value: bytes) -> bytes:
    """Put `value` into a body as part of a tool's input, where any JSON may stand."""
    return (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":'
        b'[{"type":"tool_use","id":"t","name":"n","input":{"v":' + value + b"}}]},"
        b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]}'
    )


def refusal(body: bytes) -> str:
    with pytest.raises(ParamsError) as refused:
        check_messages(body, version=VERSIONS[0], batch=False)
    return refused.value.message


BROKEN: list[tuple[bytes, str]] = [
    (b"", "unexpected end of data: line 1 column 1 (char 0)"),
    (b"{", "unexpected end of data: line 1 column 2 (char 1)"),
    (b'{"model":"m', "unexpected end of data: line 1 column 12 (char 11)"),
    (b'{"model":tru}', "invalid character: line 1 column 14 (char 13)"),
    (b'{\n  "model": x}', "invalid character: line 2 column 12 (char 13)"),
    (b"\xef\xbb\xbf" + SMALL, "invalid character: line 1 column 1 (char 0)"),
    ("{}".encode("utf-16"), "invalid character: line 1 column 1 (char 0)"),
    (SMALL + b"x", f"trailing characters: line 1 column {len(SMALL) + 2} (char {len(SMALL) + 1})"),
    (SMALL + SMALL, f"trailing characters: line 1 column {len(SMALL) + 2} (char {len(SMALL) + 1})"),
    (b'{"model":NaN}', "invalid character: line 1 column 10 (char 9)"),
    (b'{"model":Infinity}', "invalid character: line 1 column 10 (char 9)"),
    (b'{"model":-Infinity}', "invalid character: line 1 column 11 (char 10)"),
    (b'{"model":01}', "invalid number: line 1 column 11 (char 10)"),
    (b'{"model":1e400}', "Number out of range"),
    (b'{"model":' + b"1" * 5000 + b"}", "Integer value out of range"),
    (b'{"model":"\xff"}', "invalid UTF-8 in a string"),
    (b'{"model":"\xed\xa0\x80"}', "invalid UTF-8 in a string"),
    (b'{"model":"\\ud800"}', "unexpected end of data or a lone surrogate in a \\u escape"),
    (b'{"model":"\\udc00\\ud800"}', "invalid utf-16 surrogate pair: line 1 column 17 (char 16)"),
    (b'{"model":"a\x00"}', "invalid character: line 1 column 12 (char 11)"),
    (b'{"model":"\\u0000"}', "U+0000 is not allowed in strings"),
    (b'{"\\u0000":1}', "U+0000 is not allowed in strings"),
    (with_input(b'"\\u0000"'), "U+0000 is not allowed in strings"),
    (with_input(b"100000000000000000000"), "an integer has more than 20 digits"),
    (with_input(b'[{},{"n":-100000000000000000000}]'), "an integer has more than 20 digits"),
]


@pytest.mark.parametrize(("body", "detail"), BROKEN)
def test_bytes_that_are_not_the_json_of_the_wire_are_refused_with_the_place(body: bytes, detail: str) -> None:
    """B7: odd JSON is a readable refusal; the sentence begins as the real API's does (contract §2.3)."""
    assert refusal(body) == f"The request body is not valid JSON: {detail}"


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"', b"true"])
def test_a_body_that_is_not_an_object_is_refused(body: bytes) -> None:
    """A Messages body is a JSON object."""
    assert refusal(body) == "Input should be a valid dictionary"


@pytest.mark.parametrize(
    "number", [b"99999999999999999999", b"-99999999999999999999", b"18446744073709551616", b"1e20"]
)
def test_numbers_of_twenty_digits_pass_unchanged(number: bytes) -> None:
    """B7: what a 64-bit client writes is kept to the last digit."""
    checked = check_messages(with_input(number), version=VERSIONS[0], batch=False)
    assert checked.params["messages"][1]["content"][0]["input"]["v"] == msgspec.json.decode(number)


def test_an_escaped_backslash_before_u0000_is_not_the_character() -> None:
    r"""B7: the text `\u0000` about the character is not the character."""
    checked = check_messages(with_input(b'"\\\\u0000"'), version=VERSIONS[0], batch=False)
    assert checked.params["messages"][1]["content"][0]["input"]["v"] == "\\u0000"


@pytest.mark.parametrize("depth", [101, 900, 5_000, 100_000])
@pytest.mark.parametrize(("opener", "closer"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused_wherever_it_stands(depth: int, opener: bytes, closer: bytes) -> None:
    """B6: neither the decoder's RecursionError nor pydantic's comes out."""
    deep = opener * depth + b"1" + closer * depth
    for body in (deep, b'{"x":' + deep + b"}", SMALL[:-1] + b',"tools":[{"type":' + deep + b"}]}"):
        refusal(body)
    assert refusal(with_input(deep)) == "The request body is nested too deeply: more than 100 levels"
    tools = b',"tools":[{"name":"n","input_schema":{"type":"object","p":' + deep + b"}}]}"
    assert refusal(SMALL[:-1] + tools) == "The request body is nested too deeply: more than 100 levels"


def test_unclosed_nesting_is_refused() -> None:
    """B6: a million opening brackets are no more than a refusal."""
    assert refusal(b"[" * 1_000_000) == "The request body is nested too deeply: more than 100 levels"


@pytest.mark.parametrize(
    "values", [b"[]," * 1_000_001 + b"1", b"{}," * 1_000_001 + b"1", b'{"":1},' * 1_000_000 + b"1"]
)
def test_bombs_of_tiny_values_are_refused_before_they_unfold(values: bytes) -> None:
    """B6: millions of empty lists would take seconds and gigabytes; real documents are strings."""
    assert refusal(with_input(b"[" + values + b"]")) == (
        "The request body has more than 1000000 objects, lists or fields"
    )


def test_ordinary_nesting_passes() -> None:
    """B6: the limit is far above what schemas and inputs need."""
    deep = b"[" * 80 + b"]" * 80
    assert check_messages(with_input(deep), version=VERSIONS[0], batch=False).model == "m"


def taken_or_refused(check: Callable[[], Checked]) -> Checked | ParamsError:
    """Run a check; anything but a result or a `ParamsError` fails the test."""
    try:
        return check()
    except ParamsError as error:
        return error


def check_anything(body: bytes) -> None:
    """Hold the property: refused readably, or taken unchanged."""
    checks = [
        partial(check_messages, body, version=version, batch=batch) for version in VERSIONS for batch in (False, True)
    ]
    for check in (*checks, partial(check_count_tokens, body, version=VERSIONS[1])):
        outcome = taken_or_refused(check)
        if isinstance(outcome, ParamsError):
            assert 0 < len(outcome.message) <= 2_000
        else:
            assert msgspec.json.decode(msgspec.json.encode(dict(outcome.params))) == msgspec.json.decode(body)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
kinds = st.sampled_from(
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result", "server_tool_use", "x"]
)
names = st.sampled_from(
    [
        "type",
        "text",
        "role",
        "content",
        "source",
        "cache_control",
        "citations",
        "id",
        "tool_use_id",
        "input",
        "name",
        "model",
        "max_tokens",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "stream",
        "output_config",
        "data",
    ]
)
SEEDS: list[dict[str, Any]] = [
    msgspec.json.decode(SMALL),
    msgspec.json.decode(with_input(b"[1,2,{}]")),
    {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "n", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}],
        "tool_choice": {"type": "tool", "name": "n"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"format": {"type": "json_schema", "schema": {}}},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{"type": "text", "text": "t"}]},
                        "citations": {"enabled": True},
                    },
                    {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "t"}]},
                ],
            }
        ],
    },
]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a value."""
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, below in list(keys):
        found.append((value, key))
        found.extend(_places(below))
    return found


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_params_error(body: bytes) -> None:
    """B7: bytes that are hardly ever JSON."""
    check_anything(body)


@given(anything)
def test_arbitrary_json_raises_nothing_but_params_error(value: object) -> None:
    """B7: JSON that is hardly ever a body."""
    check_anything(msgspec.json.encode(value))


@settings(max_examples=400)
@given(st.data())
def test_mutated_bodies_raise_nothing_but_params_error_and_pass_unchanged(data: st.DataObject) -> None:
    """B7: bodies that are nearly right; values replaced, removed, renamed or moved somewhere else."""
    params = msgspec.json.decode(msgspec.json.encode(data.draw(st.sampled_from(SEEDS))))
    for _ in range(data.draw(st.integers(0, 3))):
        places = _places(params)
        if not places:
            break
        container, key = data.draw(st.sampled_from(places))
        change = data.draw(st.sampled_from(["replace", "kind", "remove", "name", "move"]))
        if change == "replace":
            container[key] = data.draw(anything)
        elif change == "kind":
            container[key] = data.draw(kinds)
        elif change == "remove":
            del container[key]
        elif change == "name" and isinstance(container, dict):
            container[data.draw(names)] = data.draw(anything)
        else:
            other, where = data.draw(st.sampled_from(places))
            container[key] = msgspec.json.decode(msgspec.json.encode(other[where]))
    check_anything(msgspec.json.encode(params))


@settings(max_examples=200)
@given(st.integers(0, len(SMALL)), st.binary(max_size=4), st.integers(0, 3))
def test_cut_and_spliced_bodies_raise_nothing_but_params_error(at: int, inserted: bytes, removed: int) -> None:
    """B7: bodies damaged on their way."""
    check_anything(SMALL[:at] + inserted + SMALL[at + removed :])


def test_no_refusal_shows_pydantic_or_python() -> None:
    """B11: a client reads the wire's words, not those of the libraries behind them."""
    messages = [refusal(msgspec.json.encode(value)) for value in ({}, [], {"messages": [{"content": 5}], "model": {}})]
    assert not [message for message in messages if re.search(r"pydantic|msgspec|Traceback|\\x00|<class", message)]
