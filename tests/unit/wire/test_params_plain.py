"""A plain body keeps every rule: what is taken without a full check, a full check takes too."""

from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slackwater.wire.params import Checked, ParamsError, Plain, check, check_messages

USUAL: dict[str, Any] = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
CACHED = {"type": "ephemeral"}

words = st.sampled_from(["hi", "", " ", "\u2028", "a\0b", "é" * 3])
numbers = st.sampled_from([0, 1, 0.5, 1.0, 1.5, -1, 2**53, 2**53 + 1, 10**21, True, None, "1"])
controls = st.sampled_from([CACHED, None, {**CACHED, "ttl": "1h"}, {"type": "x"}])
blocks = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "text", "image", None]), "text": words},
        optional={"cache_control": controls, "citations": st.none()},
    ),
    max_size=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": words | blocks},
        optional={"clear_at": st.none()},
    ),
    max_size=3,
)
bodies = st.fixed_dictionaries(
    {"model": st.sampled_from(["m", "", "m" * 257, 1]), "max_tokens": numbers, "messages": messages},
    optional={
        "system": words | blocks,
        "stop_sequences": st.none() | st.lists(words, max_size=2),
        "temperature": numbers,
        "top_p": numbers,
        "top_k": numbers,
        "stream": st.booleans() | st.none(),
        "cache_control": controls,
        "thinking": st.just({"type": "disabled"}),
        "x": st.none(),
    },
)


def outcome(body: bytes, version: str, *, allow_sampling: bool, batch: bool) -> Checked | str:
    """Return what a check says."""
    try:
        return check_messages(body, version=version, batch=batch, allow_sampling=allow_sampling)
    except ParamsError as error:
        return error.message


@given(
    body=bodies,
    version=st.sampled_from(["2023-06-01", "2026-10-21"]),
    allow_sampling=st.booleans(),
    batch=st.booleans(),
)
@example(body=USUAL | {"max_tokens": 8.0}, version="2023-06-01", allow_sampling=True, batch=True)
@example(
    body=USUAL | {"system": [{"type": "text", "text": "s", "cache_control": CACHED}] * 5},
    version="2023-06-01",
    allow_sampling=True,
    batch=True,
)
def test_looking_for_what_is_plain_changes_no_outcome(
    *, body: dict[str, Any], version: str, allow_sampling: bool, batch: bool
) -> None:
    """Neither what is taken nor how the rest is refused (contract §2.3)."""
    raw = msgspec.json.encode(body)
    found = outcome(raw, version, allow_sampling=allow_sampling, batch=batch)
    with patch.object(check, "plain", lambda _: None):
        assert found == outcome(raw, version, allow_sampling=allow_sampling, batch=batch)
    if isinstance(found, Checked) and isinstance(found.params, Plain):
        assert msgspec.json.decode(found.params.named("up")) == {
            key: value for key, value in body.items() if key != "stream"
        } | {"model": "up"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"system": "s", "temperature": 1, "stop_sequences": ["x"], "stream": False},
        {"system": [{"type": "text", "text": "s", "cache_control": CACHED}], "top_p": 0.5},
        {"messages": [*USUAL["messages"], {"role": "assistant", "content": "a"}, USUAL["messages"][0]]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "t"}]}]},
    ],
)
def test_usual_bodies_are_plain(fields: dict[str, Any]) -> None:
    """Or all of this is for nothing."""
    checked = check_messages(msgspec.json.encode(USUAL | fields), version="2023-06-01", batch=True)
    assert isinstance(checked.params, Plain)
    assert checked.params == USUAL | fields


def test_a_plain_body_s_bytes_are_written_anew() -> None:
    """JSON allows a key twice, and readers disagree about which one counts: what was checked is what is sent."""
    raw = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a","content":"b"}],"model":"n"}'
    checked = check_messages(raw, version="2023-06-01", batch=True)
    assert isinstance(checked.params, Plain)
    assert checked.params.named("n") == b'{"model":"n","max_tokens":1,"messages":[{"role":"user","content":"b"}]}'
