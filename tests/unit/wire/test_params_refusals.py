"""Every body here is refused with exactly the sentence beside it (contract §1.2, §2.3, §4.1, §7, §10, §12)."""

import base64
from typing import Any

import msgspec
import pytest

from slackwater.wire.params import ParamsError, check_count_tokens, check_messages

CLASSIC = "2023-06-01"
NEWER = "2026-10-21"
ABSENT = object()

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(64)).decode()
EXTRA = "Extra inputs are not permitted"
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}
ORDER = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
EMPTY_TURN = "all messages must have non-empty content except for the optional final assistant message"
BLOCK_TAGS = (
    "'text', 'image', 'document', 'search_result', 'thinking', 'redacted_thinking', 'tool_use', 'tool_result', "
    "'server_tool_use', 'web_search_tool_result', 'web_fetch_tool_result', 'code_execution_tool_result', "
    "'bash_code_execution_tool_result', 'text_editor_code_execution_tool_result', 'tool_search_tool_result', "
    "'advisor_tool_result', 'mcp_tool_result', 'mcp_tool_use', 'container_upload'"
)
EARLY = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def body(**fields: Any) -> dict[str, Any]:
    """Build a valid small body with some fields replaced, or taken away where they are ABSENT."""
    whole = {"model": "m", "max_tokens": 2048, "messages": [user("hi")]} | fields
    return {key: value for key, value in whole.items() if value is not ABSENT}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def says(*blocks: Any) -> dict[str, Any]:
    """Build a body whose one user message has these blocks."""
    return body(messages=[user(list(blocks))])


def talk(*messages: Any, **fields: Any) -> dict[str, Any]:
    return body(messages=list(messages), **fields)


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def text(words: str = "x", **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG} | source}


def document(**fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, **fields}


def use(tool_use_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_use_id, "name": "look", "input": {}, **fields}


def result(tool_use_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": tool_use_id, **fields}


def tool(name: str = "look", **fields: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}, **fields}


def thinking(**fields: Any) -> dict[str, Any]:
    return body(thinking={"type": "enabled", "budget_tokens": 1024}, **fields)


CITATION = {
    "type": "char_location",
    "cited_text": "c",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
SEARCH = {"type": "search_result", "source": "s", "title": "t", "content": [text()]}

SHAPES: list[tuple[dict[str, Any], str]] = [
    ({}, "model: Field required"),
    (body(model=ABSENT), "model: Field required"),
    (body(model=""), "model: String should have at least 1 character"),
    (body(model=7), "model: Input should be a valid string"),
    (body(max_tokens=ABSENT), "max_tokens: Field required"),
    (body(max_tokens="10"), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=10.0), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=True), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
    (body(max_tokens=10**30), "max_tokens: Input should be less than or equal to 9007199254740992"),
    (body(messages=ABSENT), "messages: Field required"),
    (body(messages="hi"), "messages: Input should be a valid list"),
    (body(messages=["hi"]), "messages.0: Input should be a valid dictionary"),
    (body(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    (body(messages=[{"content": "hi"}]), "messages.0.role: Field required"),
    (
        body(messages=[{"role": "tool", "content": "hi"}]),
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    (body(messages=[user("a") | {"name": "Ann"}]), f"messages.0.name: {EXTRA}"),
    (body(messages=[user(None)]), "messages.0.content: Input should be a valid list"),
    (body(messages=[user({"type": "text"})]), "messages.0.content: Input should be a valid list"),
    (body(colour="blue"), f"colour: {EXTRA}"),
    (body(stream="true"), "stream: Input should be a valid boolean"),
    (body(stop_sequences=[""]), "stop_sequences.0: String should have at least 1 character"),
    (body(stop_sequences="x"), "stop_sequences: Input should be a valid list"),
    (body(metadata={"user_id": "u" * 513}), "metadata.user_id: String should have at most 512 characters"),
    (body(metadata={"session": "s"}), f"metadata.session: {EXTRA}"),
    (body(service_tier="batch"), "service_tier: Input should be 'auto' or 'standard_only'"),
    (body(system=5), "system: Input should be a valid list"),
    (body(system=[{"type": "text"}]), "system.0.text: Field required"),
    (body(system=[image()]), "system.0.type: Input should be 'text'"),
    (
        body(cache_control={"type": "forever"}),
        "cache_control: Input tag 'forever' found using 'type' does not match any of the expected tags: 'ephemeral'",
    ),
    (body(thinking={"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
    (
        body(thinking={"type": "enabled", "budget_tokens": 1023}),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    (body(thinking={"budget_tokens": 1024}), "thinking.type: Field required"),
    (body(thinking={"type": "disabled", "budget_tokens": 1024}), f"thinking.disabled.budget_tokens: {EXTRA}"),
    (
        body(output_config={"effort": "huge"}),
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    (
        body(output_config={"format": {"type": "json_schema"}}),
        "output_config.format.json_schema.schema: Field required",
    ),
    (body(temperature=1.5), "temperature: Input should be less than or equal to 1"),
    (body(temperature=-0.1), "temperature: Input should be greater than or equal to 0"),
    (body(temperature="hot"), "temperature: Input should be a valid number"),
    (body(top_p=2), "top_p: Input should be less than or equal to 1"),
    (body(top_k=-1), "top_k: Input should be greater than or equal to 0"),
    (body(store=True), f"store: {EXTRA}"),
    (body(fallbacks=[]), f"fallbacks: {EXTRA}"),
    (body(workspace_id="w"), f"workspace_id: {EXTRA}"),
    (body(container={"name": 1} | {"id": 1}), "container.id: Input should be a valid string"),
]

BLOCKS: list[tuple[dict[str, Any], str]] = [
    (says("hi"), "messages.0.content.0: Input should be a valid dictionary or object to extract fields from"),
    (says({"text": "hi"}), "messages.0.content.0.type: Field required"),
    (
        says({"type": "image_url", "image_url": {}}),
        (
            f"messages.0.content.0: Input tag 'image_url' found using 'type' does not match any of the expected tags: "
            f"{BLOCK_TAGS}"
        ),
    ),
    (says({"type": "text"}), "messages.0.content.0.text.text: Field required"),
    (says({"type": "text", "text": 1}), "messages.0.content.0.text.text: Input should be a valid string"),
    (
        says(text(), image(media_type="image/bmp")),
        (
            "messages.0.content.1.image.source.base64.media_type: "
            "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        ),
    ),
    (says(image(data="not base64!")), "messages.0.content.0.image.source.base64.data: Invalid base64 data"),
    (says(image(data="")), "messages.0.content.0.image.source.base64.data: Invalid base64 data"),
    (
        says({"type": "image", "source": {"type": "url"}}),
        "messages.0.content.0.image.source.url.url: Field required",
    ),
    (says({"type": "image", "source": {"url": "u"}}), "messages.0.content.0.image.source.type: Field required"),
    (
        says({"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": PNG}}),
        "messages.0.content.0.document.source.base64.media_type: Input should be 'application/pdf'",
    ),
    (
        says({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0"}}),
        "messages.0.content.0.document.source.base64.data: Invalid base64 data",
    ),
    (
        says(document(source={"type": "content", "content": [image(data="@@@@")]})),
        "messages.0.content.0.document.source.content.content.0.image.source.base64.data: Invalid base64 data",
    ),
    (says(document(pages=3)), f"messages.0.content.0.document.pages: {EXTRA}"),
    (
        says(document(source={"type": "file"})),
        "messages.0.content.0.document.source.file.file_id: Field required",
    ),
    (
        says(text(cache_control={"type": "ephemeral", "ttl": "2h"})),
        "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    (
        says(result(content=[image(media_type="image/tiff")])),
        (
            "messages.0.content.0.tool_result.content.0.image.source.base64.media_type: "
            "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        ),
    ),
    (says(result(content=5)), "messages.0.content.0.tool_result.content: Input should be a valid list"),
    (
        talk(user("a"), assistant([text(), use(text="t")])),
        f"messages.1.content.1.tool_use.text: {EXTRA}",
    ),
    (
        talk(user("a"), assistant([use("call:1")])),
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    (
        talk(user("a"), assistant([use(input="{}")])),
        "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
    ),
    (
        talk(user("a"), assistant([{"type": "thinking", "thinking": "hm"}])),
        "messages.1.content.0.thinking.signature: Field required",
    ),
    (says({"type": "container_upload"}), "messages.0.content.0.container_upload.file_id: Field required"),
    (says(SEARCH | {"content": "s"}), "messages.0.content.0.search_result.content: Input should be a valid list"),
]

TOOLS: list[tuple[dict[str, Any], str]] = [
    (body(tools=[tool("no spaces")]), "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
    (body(tools=[tool("a\n")]), "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
    (body(tools=[{"name": "look"}]), "tools.0.custom.input_schema: Field required"),
    (body(tools=[{"name": "look", "input_schema": {}}]), "tools.0.custom.input_schema.type: Field required"),
    (
        body(tools=[{"name": "look", "input_schema": {"type": "array"}}]),
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    (body(tools=[tool(parameters={})]), f"tools.0.custom.parameters: {EXTRA}"),
    (
        body(tools=[{"type": "function", "function": {}}]),
        (
            "tools.0: Input tag 'function' found using 'type' does not match any of the expected tags: 'custom', or "
            "the dated type of a server or client tool such as 'web_search_20250305'"
        ),
    ),
    (body(tools=[{"type": 5}]), "tools.0.type: Input should be a valid string"),
    (body(tools=["look"]), "tools.0: Input should be a valid dictionary or object to extract fields from"),
    (
        body(tools=[{"type": "bash_20250124", "name": 5}]),
        "tools.0.bash_20250124.name: Input should be a valid string",
    ),
    (body(tools=[tool(), tool()]), "tools: Tool names must be unique."),
    (
        body(tool_choice={"type": "auto"}),
        "tool_choice: tool_choice may only be specified while providing tools.",
    ),
    (
        body(tools=[tool()], tool_choice={"type": "tool", "name": "touch"}),
        "tool_choice: Tool 'touch' not found in provided tools",
    ),
    (body(tools=[tool()], tool_choice={"type": "tool"}), "tool_choice.tool.name: Field required"),
    (
        body(tools=[tool()], tool_choice={"type": "none", "disable_parallel_tool_use": True}),
        f"tool_choice.none.disable_parallel_tool_use: {EXTRA}",
    ),
    (
        thinking(max_tokens=1024),
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    (thinking(temperature=0.5), "`temperature` may only be set to 1 when thinking is enabled."),
    (thinking(top_p=0.5), "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."),
    (thinking(top_k=5), "`top_k` must be unset when thinking is enabled."),
    (
        thinking(tools=[tool()], tool_choice={"type": "any"}),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
]

CONVERSATIONS: list[tuple[dict[str, Any], str]] = [
    (body(messages=[]), "messages: at least one message is required"),
    (talk(assistant("hi")), 'messages: first message must use the "user" role'),
    (talk({"role": "system", "content": "s"}), 'messages: first message must use the "user" role'),
    (talk(user("")), f"messages.0: {EMPTY_TURN}"),
    (talk(user("a"), assistant([]), user("b")), f"messages.1: {EMPTY_TURN}"),
    (says(text("")), "messages: text content blocks must be non-empty"),
    (says(text(" \n")), "messages: text content blocks must contain non-whitespace text"),
    (talk(user(" ")), "messages: text content blocks must contain non-whitespace text"),
    (body(system=[text("")]), "system: text content blocks must be non-empty"),
    (talk(user("a"), assistant("so ")), "messages: final assistant content cannot end with trailing whitespace"),
    (
        talk(user("a"), assistant([text("so\n")])),
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    (talk(user([use()])), "messages.0: `tool_use` blocks can only be in `assistant` messages"),
    (
        talk(user("a"), assistant([result()])),
        "messages.1: `tool_result` blocks can only be in `user` messages",
    ),
    (
        talk(user("a"), {"role": "system", "content": [image()]}),
        "messages.1: `image` blocks cannot be in `system` messages",
    ),
    (talk(user("a") | {"clear_at": "never"}), f"messages.0.clear_at: {EXTRA}"),
    (
        talk(user("a"), assistant([use("toolu_1"), use("toolu_2")]), user([result("toolu_2")])),
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message."
        ),
    ),
    (
        talk(user("a"), assistant([use()])),
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message."
        ),
    ),
    (
        talk(user("a"), assistant([use()]), user("b"), assistant("c"), user([result()])),
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message."
        ),
    ),
    (
        says(text(), result()),
        (
            "messages.0.content.1: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. Each `tool_result` "
            "block must have a corresponding `tool_use` block in the previous message."
        ),
    ),
    (
        talk(user("a"), assistant([use()]), user([result()]), assistant("b"), user([result()])),
        (
            "messages.4.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. Each `tool_result` "
            "block must have a corresponding `tool_use` block in the previous message."
        ),
    ),
    (
        talk(user("a"), assistant([use()]), user([result(), result()])),
        (
            "messages.2.content.1: each tool_use must have a single result. Found multiple `tool_result` blocks with "
            "id: toolu_1"
        ),
    ),
    (
        talk(user("a"), assistant([use(), use()])),
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
    (
        says(*[text(cache_control=EARLY)] * 5),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        says(*[text(cache_control=EARLY)] * 4, text()) | {"cache_control": EARLY},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        says(*[text(cache_control=EARLY)] * 3)
        | {"tools": [tool(cache_control=EARLY)], "system": [text(cache_control=EARLY)]},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        talk(
            user("a"),
            assistant([use()]),
            user([result(content=[text(cache_control=EARLY)] * 5)]),
        ),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        says(text(cache_control=EARLY), text(cache_control=HOUR)),
        f"messages.0.content.1.cache_control.ttl: {ORDER}",
    ),
    (
        body(tools=[tool(cache_control=EARLY)], system=[text(cache_control=HOUR)]),
        f"system.0.cache_control.ttl: {ORDER}",
    ),
    (says(text(cache_control=EARLY), text()) | {"cache_control": HOUR}, f"cache_control.ttl: {ORDER}"),
    (
        says(text(cache_control=EARLY)) | {"cache_control": HOUR},
        "cache_control.ttl: the last block already has a cache_control block with a different ttl",
    ),
    (
        says(document(citations={"enabled": True}), document()),
        "messages: citations must be enabled on all documents of a request or on none",
    ),
    (
        says(document(citations={"enabled": True})) | {"output_config": {"format": FORMAT}},
        "output_config.format: structured outputs cannot be combined with citations",
    ),
    (
        says(SEARCH | {"citations": {"enabled": True}}) | {"output_format": FORMAT},
        "output_config.format: structured outputs cannot be combined with citations",
    ),
]


@pytest.mark.parametrize(("params", "message"), SHAPES + BLOCKS + TOOLS + CONVERSATIONS)
def test_a_body_that_breaks_a_rule_is_refused_in_the_real_apis_words(params: dict[str, Any], message: str) -> None:
    """What cannot be honored is an invalid_request_error that names the place and the first problem."""
    with pytest.raises(ParamsError) as refused:
        check_messages(msgspec.json.encode(params), version=CLASSIC, batch=False)
    assert refused.value.message == message
    assert refused.value.error_type == "invalid_request_error"
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (body(temperature=1), f"temperature: {EXTRA}"),
        (body(top_p=1), f"top_p: {EXTRA}"),
        (body(top_k=5), f"top_k: {EXTRA}"),
        (
            talk(user("a"), assistant([document()])),
            "messages.1.content.0: `document` blocks can only be in `user` messages",
        ),
        (
            says(text(citations=[CITATION])),
            "messages.0.content.0.text.citations: citations are not permitted on text blocks of a user turn",
        ),
        (
            says(SEARCH | {"content": [text(citations=[CITATION])]}),
            (
                "messages.0.content.0.search_result.content.0.text.citations: "
                "citations are not permitted on text blocks of a user turn"
            ),
        ),
    ],
)
def test_the_newer_version_refuses_what_the_classic_one_takes(params: dict[str, Any], message: str) -> None:
    """Sampling, documents in assistant turns and citations in user turns ended with 2026-10-21 (contract §1.2)."""
    encoded = msgspec.json.encode(params)
    with pytest.raises(ParamsError) as refused:
        check_messages(encoded, version=NEWER, batch=True)
    assert refused.value.message == message
    assert check_messages(encoded, version=CLASSIC, batch=True).params == params


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stream": True}, "stream: streaming is not supported in a batch"),
        ({"speed": "fast"}, "speed: not supported in a batch"),
        ({"store": False}, "store: not supported in a batch"),
        ({"previous_thread_event_id": "e"}, "previous_thread_event_id: not supported in a batch"),
        ({"cache_hint": {}}, "cache_hint: not supported in a batch"),
        ({"context_hint": "c"}, "context_hint: not supported in a batch"),
        ({"fallbacks": [{"model": "n"}]}, "fallbacks: not supported in a batch"),
        ({"max_tokens": 0}, "max_tokens: 0, which only warms a cache, is not supported in a batch"),
        ({"research_preview_2026_02": "active"}, "research_preview_2026_02: not supported in a batch"),
        ({"max_tokens": False}, "max_tokens: Input should be a valid integer"),
    ],
)
def test_a_batch_refuses_what_only_synchronous_calls_may_ask_for(fields: dict[str, Any], message: str) -> None:
    """The exclusion list of contract §4.1, each naming its field."""
    with pytest.raises(ParamsError) as refused:
        check_messages(msgspec.json.encode(body(**fields)), version=CLASSIC, batch=True)
    assert refused.value.message == message


@pytest.mark.parametrize("field", ["max_tokens", "stream", "stop_sequences", "metadata", "service_tier", "container"])
def test_token_counting_refuses_fields_that_only_generation_knows(field: str) -> None:
    """The body of count_tokens is that of messages without what concerns generation (contract §7.2)."""
    with pytest.raises(ParamsError) as refused:
        check_count_tokens(msgspec.json.encode(body(**{"max_tokens": ABSENT, field: 1})), version=CLASSIC)
    assert refused.value.message == f"{field}: {EXTRA}"


def test_a_body_with_a_million_problems_is_refused_without_listing_them() -> None:
    """B6: the answer to a bomb of unknown keys is one short sentence."""
    params = body(messages=[user("a") | {f"k{index}": 0 for index in range(5_000)}])
    with pytest.raises(ParamsError, match="5000 problems"):
        check_messages(msgspec.json.encode(params), version=CLASSIC, batch=False)


def test_a_message_stays_short_when_names_and_ids_are_long() -> None:
    """B11: what a client sent comes back cut, not in full."""
    with pytest.raises(ParamsError) as refused:
        check_messages(msgspec.json.encode(body(**{"k" * 10_000: 1})), version=CLASSIC, batch=False)
    assert refused.value.message == f"{'k' * 100}: {EXTRA}"
    with pytest.raises(ParamsError) as refused:
        check_messages(
            msgspec.json.encode(talk(user("a"), assistant([use("t" * 10_000)]))), version=CLASSIC, batch=False
        )
    assert len(refused.value.message) == 2_000
