"""Bodies that are taken as they are, under which version, and what is read from them (contract §1.2, §7)."""

import base64
from typing import Any

import msgspec
import pytest

from slackwater.wire.params import Checked, check_count_tokens, check_messages

CLASSIC = "2023-06-01"
NEWER = "2026-10-21"
CACHED = {"type": "ephemeral"}
CACHED_HOUR = {"type": "ephemeral", "ttl": "1h"}
DATA = base64.b64encode(bytes(5000)).decode()


def body(*content: Any, **fields: Any) -> dict[str, Any]:
    """Build a small body whose one user message has this content."""
    return {"model": "m", "max_tokens": 2048, "messages": [{"role": "user", "content": list(content) or "hi"}]} | fields


def talk(*contents: Any, **fields: Any) -> dict[str, Any]:
    """Build a body of messages by turns, the user first."""
    messages = [
        {"role": "assistant" if index % 2 else "user", "content": content} for index, content in enumerate(contents)
    ]
    return body(messages=messages, **fields)


def text(words: str = "x", **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def use(tool_use_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_use_id, "name": "look", "input": {"q": [1, {"n": None}]}, **fields}


def result(tool_use_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": tool_use_id, **fields}


def source(kind: str, **fields: Any) -> dict[str, Any]:
    return {"source": {"type": kind, **fields}}


TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {}, "additionalProperties": False}}
IMAGE = {"type": "image", **source("base64", media_type="image/webp", data=DATA)}
PDF = {"type": "document", **source("base64", media_type="application/pdf", data=DATA)}
NOTE = {"type": "document", **source("text", media_type="text/plain", data="words")}
SEARCH = {"type": "search_result", "source": "s", "title": "t", "content": [text()]}
THINKING = {"type": "enabled", "budget_tokens": 1024}
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}

TAKEN: list[dict[str, Any]] = [
    body(),
    body(max_tokens=0),
    body(stream=True),
    body(stream=False),
    body(text(citations=None, cache_control=None)),
    body(text("a"), IMAGE, PDF, NOTE),
    body({"type": "image", **source("url", url="https://example.org/a.png")}),
    body({"type": "image", **source("file", file_id="file_1"), "transformations": {"oversized_image": "error"}}),
    body({"type": "document", **source("file", file_id="file_1"), "title": "t", "context": "c"}),
    body({"type": "document", **source("url", url="https://example.org/a.pdf")}),
    body({"type": "document", **source("content", content="words")}),
    body({"type": "document", **source("content", content=[text(), IMAGE]), "citations": {"enabled": True}}),
    body(NOTE | {"citations": {"enabled": True}}, NOTE | {"citations": {"enabled": True}}),
    body(SEARCH | {"citations": {"enabled": True}}),
    body({"type": "container_upload", "file_id": "file_1"}),
    body(system=""),
    body(system="Be brief."),
    body(system=[text(cache_control=CACHED_HOUR)], tools=[TOOL | {"cache_control": CACHED_HOUR}]),
    body(text(cache_control=CACHED), cache_control=CACHED),
    body(*[text(cache_control=CACHED)] * 4, cache_control=CACHED),
    body(text(cache_control=CACHED_HOUR), text(cache_control=CACHED), cache_control={"type": "ephemeral", "ttl": "5m"}),
    body(metadata={"user_id": "u" * 512}),
    body(metadata={"user_id": None}),
    body(service_tier="standard_only", inference_geo="us", stop_sequences=["\n"], container=None, user_profile_id="p"),
    body(container="container_1", diagnostics={"previous_message_id": None}),
    body(speed="fast", context_management={"edits": []}, mcp_servers=[{"type": "url", "name": "n", "url": "u"}]),
    body(output_config={"effort": "max", "format": FORMAT}),
    body(output_format=FORMAT),
    body(tools=[TOOL | {"type": "custom", "strict": True, "description": "d"}], tool_choice={"type": "any"}),
    body(
        tools=[TOOL | {"type": None}], tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True}
    ),
    body(tool_choice={"type": "none"}),
    body(
        tools=[
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
            {"type": "computer_20250124", "name": "computer", "display_width_px": 800, "display_height_px": 600},
            {"type": "code_execution_20250825", "name": "code_execution"},
            {"type": "memory_20250818", "name": "memory"},
            {"type": "mcp_toolset", "mcp_server_name": "n"},
        ],
        tool_choice={"type": "tool", "name": "of_the_toolset"},
    ),
    body(thinking=THINKING),
    body(thinking={"type": "disabled"}),
    body(thinking={"type": "adaptive", "display": "summarized"}),
    talk("a", "b", "c"),
    talk("a", "prefilled"),
    talk("a", ""),
    talk("a", []),
    talk("a", [use()], [result(content="r"), text()]),
    talk("a", [use()], [result(is_error=True, content=[text(), IMAGE, NOTE, SEARCH])]),
    talk("a", [text(), use("toolu_1"), use("toolu_2")], [result("toolu_2"), result("toolu_1", content=[])]),
    talk(
        "a",
        [
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"anything": ["goes"]}]},
            {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_2", "content": {"stdout": ""}},
            text("so", citations=[]),
        ],
    ),
    body(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": [use()]},
            {"role": "assistant", "content": [use("toolu_2")]},
            {"role": "system", "content": "The rules changed.", "clear_at": "never"},
            {"role": "user", "content": [result()]},
            {"role": "user", "content": [result("toolu_2")]},
        ]
    ),
]

CLASSIC_ONLY: list[dict[str, Any]] = [
    body(temperature=0.5, top_p=0.9, top_k=5),
    body(temperature=0),
    body(thinking=THINKING, temperature=1, top_p=0.95),
    talk("a", [NOTE]),
    body(
        text(
            citations=[
                {
                    "type": "web_search_result_location",
                    "cited_text": "c",
                    "encrypted_index": "e",
                    "title": None,
                    "url": "u",
                }
            ]
        )
    ),
]


@pytest.mark.parametrize("params", TAKEN)
@pytest.mark.parametrize("version", [CLASSIC, NEWER])
def test_a_body_that_keeps_the_rules_comes_back_as_it_was_sent(params: dict[str, Any], version: str) -> None:
    """Nothing is dropped, coerced or filled in; a backend gets what the client wrote."""
    checked = check_messages(msgspec.json.encode(params), version=version, batch=False)
    told = (checked.params, checked.model, checked.max_tokens, checked.stream)
    assert told == (params, "m", params["max_tokens"], params.get("stream", False))


@pytest.mark.parametrize("params", CLASSIC_ONLY)
def test_the_classic_version_takes_what_the_newer_one_dropped(params: dict[str, Any]) -> None:
    """The version of the call, or of the batch, decides (contract §1.2)."""
    assert check_messages(msgspec.json.encode(params), version=CLASSIC, batch=True).params == params


def test_sampling_can_be_kept_under_the_newer_version() -> None:
    """`allow_sampling` is the extension for people whose local models need a temperature (contract §1.2)."""
    params = body(temperature=0.2)
    checked = check_messages(msgspec.json.encode(params), version=NEWER, batch=True, allow_sampling=True)
    assert checked.params["temperature"] == 0.2


def test_a_budget_may_exceed_the_output_when_thinking_is_interleaved() -> None:
    """Under the interleaved-thinking beta the budget spans the whole turn."""
    params = body(thinking=THINKING, max_tokens=100)
    checked = check_messages(
        msgspec.json.encode(params), version=CLASSIC, betas=("interleaved-thinking-2025-05-14",), batch=False
    )
    assert checked.max_tokens == 100


@pytest.mark.parametrize("fields", [{"stream": False}, {"speed": None}, {"research_preview_2026_02": "inactive"}])
def test_a_batch_takes_the_harmless_forms_of_excluded_parameters(fields: dict[str, Any]) -> None:
    """`stream: false` says what a batch does anyway (contract §4.1)."""
    checked = check_messages(msgspec.json.encode(body(**fields)), version=NEWER, batch=True)
    assert checked.stream is False


def test_token_counting_takes_a_prompt_without_max_tokens() -> None:
    """The body of count_tokens has no output to bound (contract §7.2)."""
    params = body(IMAGE, system="s", tools=[TOOL], tool_choice={"type": "auto"}, thinking=THINKING)
    del params["max_tokens"]
    checked = check_count_tokens(msgspec.json.encode(params), version=NEWER)
    assert checked == Checked(params=params, model="m", max_tokens=0, stream=False, material=True)


def test_a_slice_of_a_larger_buffer_is_checked_like_bytes() -> None:
    """Requests of a batch are slices of a mapped file."""
    encoded = msgspec.json.encode(body())
    view = memoryview(b"[" + encoded + b"]")[1:-1]
    assert check_messages(view, version=NEWER, batch=True).params == body()
