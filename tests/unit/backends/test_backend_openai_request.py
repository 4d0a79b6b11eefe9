"""Messages requests as chat completions requests, case by case."""

from dataclasses import replace
from typing import Any

import pytest

from slackwater.backends.openai import Flavour, Options, options_for
from slackwater.backends.openai.request import chat_request
from slackwater.domain.errors import InvalidRequestError

USER = {"role": "user", "content": "Hello"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}
TOOL = {"name": "f", "description": "does f", "input_schema": {"type": "object", "properties": {}}}
OTHER = {"name": "g", "input_schema": {"type": "object"}, "type": "custom", "strict": True}
FUNCTION = {
    "type": "function",
    "function": {"name": "f", "description": "does f", "parameters": TOOL["input_schema"]},
}
OTHER_FUNCTION = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}, "strict": True}}
VLLM = options_for("vllm")


def translated(options: Options = VLLM, **params: Any) -> dict[str, Any]:
    body = {"model": "client", "max_tokens": 9, "messages": [USER], **params}
    return chat_request(body, upstream="up", options=options)


def chat(*messages: dict[str, Any], options: Options = VLLM, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = translated(options, messages=list(messages), **params)["messages"]
    return found


def content(*blocks: dict[str, Any], options: Options = VLLM) -> Any:
    return chat({"role": "user", "content": list(blocks)}, options=options)[-1]["content"]


def refusal(options: Options = VLLM, **params: Any) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        translated(options, **params)
    return refused.value.message


def test_the_smallest_request() -> None:
    """Model and messages, the limit under its name, and nothing that was not asked for."""
    assert translated() == {"model": "up", "messages": [USER], "max_tokens": 9}


def test_the_limit_has_another_name_where_hosted_models_want_it() -> None:
    """Reasoning models refuse `max_tokens`."""
    assert translated(options_for("openai"))["max_completion_tokens"] == 9
    assert "max_tokens" not in translated(options_for("openai"))


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief", [{"role": "system", "content": "Be brief"}]),
        (
            [
                {"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "x"},
            ],
            [{"role": "system", "content": "Be brief\n\nx"}],
        ),
        ("", []),
        ([], []),
        (None, []),
    ],
)
def test_the_system_prompt_becomes_the_first_message(system: Any, expected: list[dict[str, Any]]) -> None:
    """A string or blocks; none when it is empty."""
    assert chat(USER, system=system) == [*expected, USER]


def test_an_image_in_a_system_prompt_is_refused() -> None:
    """System messages are text; an image there is not dropped in silence."""
    assert refusal(system=[PNG]) == "system.image: not supported by this backend"


def test_turns_keep_their_order_and_roles() -> None:
    """Several turns, a later system turn among them."""
    turns = [USER, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "Be kind"}, USER]
    assert chat(*turns) == turns


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a", "b", {"role": "user", "content": "a\n\nb"}),
        ("", "b", {"role": "user", "content": "b"}),
        ("a", [PNG], {"role": "user", "content": [{"type": "text", "text": "a"}, PNG_PART]}),
    ],
)
def test_turns_of_one_speaker_are_combined(first: Any, second: Any, expected: dict[str, Any]) -> None:
    """As the API does it: many chat templates fail on two turns of the same role."""
    assert chat({"role": "user", "content": first}, {"role": "user", "content": second}) == [expected]


def test_turns_of_the_assistant_are_combined_with_their_calls() -> None:
    """Calls and thinking of both stay."""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    thought = {"type": "thinking", "thinking": "hm"}
    turns = [
        {"role": "assistant", "content": [thought, call]},
        {"role": "assistant", "content": [{"type": "text", "text": "x"}, call | {"id": "u"}]},
        {"role": "assistant", "content": [call | {"id": "v"}]},
    ]
    message = chat(USER, *turns)[1]
    assert [made["id"] for made in message["tool_calls"]] == ["t", "u", "v"]
    assert message["content"] == "x"
    assert message["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\n\nb"),
        ([{"type": "text", "text": "a"}, PNG], [{"type": "text", "text": "a"}, PNG_PART]),
        (
            [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "D"}}],
            "<document>\nD\n</document>",
        ),
        (
            [
                {
                    "type": "document",
                    "title": "T",
                    "context": "C",
                    "citations": {"enabled": False},
                    "source": {"type": "text", "media_type": "text/plain", "data": "D"},
                }
            ],
            "<document>\n<title>T</title>\n<context>C</context>\nD\n</document>",
        ),
        (
            [{"type": "document", "source": {"type": "content", "content": "D"}}],
            "<document>\nD\n</document>",
        ),
        (
            [
                {
                    "type": "document",
                    "title": "T",
                    "source": {"type": "content", "content": [{"type": "text", "text": "a"}, PNG]},
                }
            ],
            [
                {"type": "text", "text": "<document>\n<title>T</title>"},
                {"type": "text", "text": "a"},
                PNG_PART,
                {"type": "text", "text": "</document>"},
            ],
        ),
        (
            [{"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "a"}]}],
            "<search_result>\n<title>T</title>\n<source>S</source>\na\n</search_result>",
        ),
    ],
)
def test_content_blocks_become_text_or_parts(blocks: list[dict[str, Any]], expected: object) -> None:
    """Plain text wherever there is only text; images as data URLs; documents between tags, in place."""
    assert content(*blocks) == expected


def test_an_address_passes_only_where_the_operator_says_so() -> None:
    """E1: off by default."""
    image = {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}
    assert content(image, options=options_for("openai", pass_urls=True)) == [
        {"type": "image_url", "image_url": {"url": "https://x/a.png"}}
    ]


BAD_BLOCKS: list[tuple[dict[str, Any], str]] = [
    ({"type": "image", "source": {"type": "url", "url": "http://10.0.0.1"}}, "image.source: url sources"),
    ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, "image.source: file sources"),
    ({"type": "document", "source": {"type": "url", "url": "http://x"}}, "document.source: url sources"),
    ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, "document.source: file sources"),
    (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}},
        "document.source: application/pdf is not supported by this backend",
    ),
    (
        {"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}},
        "document.citations: not supported",
    ),
    (
        {"type": "search_result", "content": [], "citations": {"enabled": True}},
        "search_result.citations: not supported",
    ),
    ({"type": "container_upload", "file_id": "file_1"}, "container_upload: not supported by this backend"),
    ({"type": "a_block_yet_to_come"}, "a_block_yet_to_come: not supported by this backend"),
]


@pytest.mark.parametrize(("block", "text"), BAD_BLOCKS)
def test_a_block_that_cannot_be_said_is_refused_by_its_path(block: dict[str, Any], text: str) -> None:
    """Never dropped in silence, E1 among them: the path says which block it is."""
    messages = [USER, {"role": "user", "content": [{"type": "text", "text": "a"}, block]}]
    assert refusal(messages=messages).startswith(f"messages.1.content.1.{text}")


def test_an_address_in_a_document_with_permission_is_still_refused() -> None:
    """No chat completions server takes documents by address."""
    block = {"type": "document", "source": {"type": "url", "url": "http://x"}}
    options = options_for("openai", pass_urls=True)
    assert "document.source" in refusal(options, messages=[{"role": "user", "content": [block]}])


def test_an_assistants_turn_carries_text_calls_and_thinking() -> None:
    """Arguments are JSON text; thinking goes where the server reads it, encrypted thinking nowhere."""
    turn = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "text": "I will "},
            {"type": "text", "text": "look."},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "é"}},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
        ],
    }
    assert chat(USER, turn, USER)[1] == {
        "role": "assistant",
        "content": "I will look.",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":"é"}'}},
            {"id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


@pytest.mark.parametrize(
    ("flavour", "field"),
    [("vllm", "reasoning_content"), ("sglang", "reasoning_content"), ("ollama", "reasoning"), ("openai", None)],
)
def test_earlier_thinking_goes_where_the_server_reads_it(flavour: Flavour, field: str | None) -> None:
    """Hosted chat completions have no place for it, so it is left out, as the API itself does with old thinking."""
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]}
    message = chat(USER, turn, USER, options=options_for(flavour))[1]
    assert message == {"role": "assistant", "content": "x"} | ({field: "hm"} if field else {})


def test_a_turn_of_calls_alone_has_null_content() -> None:
    """Chat templates tell "said nothing" from "said an empty text"."""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert chat(USER, {"role": "assistant", "content": [call]}, USER)[1]["content"] is None


def test_server_tools_in_history_are_refused() -> None:
    """Their results mean nothing to another server."""
    turn = {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]}
    assert refusal(messages=[USER, turn, USER]) == (
        "messages.1.content.0.server_tool_use: not supported by this backend"
    )


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"content": "42"}, "42"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\n\nb"),
        ({}, ""),
        ({"content": ""}, ""),
        ({"content": "no such city", "is_error": True}, "Error: no such city"),
        (
            {"content": [{"type": "document", "source": {"type": "text", "data": "D"}}]},
            "<document>\nD\n</document>",
        ),
    ],
)
def test_a_tool_result_becomes_a_message_of_the_tool(result: dict[str, Any], expected: str) -> None:
    """Role `tool`, the id of its call, text only, errors marked."""
    block = {"type": "tool_result", "tool_use_id": "toolu_1"} | result
    assert chat({"role": "user", "content": [block]}) == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": expected}
    ]


def test_tool_results_come_first_and_their_images_after_them() -> None:
    """Results must follow the calls at once; images move to the user message that follows, before its own content."""
    turn = {
        "role": "user",
        "content": [
            {"type": "text", "text": "And now?"},
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a"}, PNG]},
            {"type": "tool_result", "tool_use_id": "t2", "content": [PNG]},
        ],
    }
    assert chat(turn) == [
        {"role": "tool", "tool_call_id": "t1", "content": "a"},
        {"role": "tool", "tool_call_id": "t2", "content": "The result is the image in the next message."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Image in the result of tool call t1:"},
                PNG_PART,
                {"type": "text", "text": "Image in the result of tool call t2:"},
                PNG_PART,
                {"type": "text", "text": "And now?"},
            ],
        },
    ]


def test_a_bad_block_in_a_tool_result_is_named_by_its_path() -> None:
    """The path leads into the result."""
    image = {"type": "image", "source": {"type": "url", "url": "http://x"}}
    block = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    assert refusal(messages=[{"role": "user", "content": [block]}]).startswith(
        "messages.0.content.0.tool_result.content.0.image.source"
    )


@pytest.mark.parametrize(
    ("flavour", "choice", "expected"),
    [
        ("vllm", None, {"tools": [FUNCTION, OTHER_FUNCTION]}),
        ("vllm", {"type": "auto"}, {"tools": [FUNCTION, OTHER_FUNCTION]}),
        ("vllm", {"type": "any"}, {"tools": [FUNCTION, OTHER_FUNCTION], "tool_choice": "required"}),
        (
            "vllm",
            {"type": "tool", "name": "g"},
            {
                "tools": [FUNCTION, OTHER_FUNCTION],
                "tool_choice": {"type": "function", "function": {"name": "g"}},
            },
        ),
        ("vllm", {"type": "none"}, {"tools": [FUNCTION, OTHER_FUNCTION], "tool_choice": "none"}),
        (
            "vllm",
            {"type": "any", "disable_parallel_tool_use": True},
            {"tools": [FUNCTION, OTHER_FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        ("llamacpp", {"type": "tool", "name": "g"}, {"tools": [OTHER_FUNCTION], "tool_choice": "required"}),
        ("llamacpp", {"type": "none"}, {}),
        ("ollama", {"type": "auto"}, {"tools": [FUNCTION, OTHER_FUNCTION]}),
        ("ollama", {"type": "none"}, {}),
    ],
)
def test_tools_and_their_choice(flavour: Flavour, choice: Any, expected: dict[str, Any]) -> None:
    """The four choices; where a server ignores a choice, the tools that are sent make it."""
    params = {"tools": [TOOL, OTHER]} | ({"tool_choice": choice} if choice else {})
    body = translated(options_for(flavour), **params)
    assert {key: body[key] for key in ("tools", "tool_choice", "parallel_tool_calls") if key in body} == expected


def test_a_choice_without_tools_is_not_sent() -> None:
    """Servers refuse it, and it has no effect."""
    assert translated(tool_choice={"type": "auto"}, tools=[]) == translated()


@pytest.mark.parametrize(
    ("flavour", "params", "message"),
    [
        (
            "vllm",
            {"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]},
            "tools.1: web_search_20250305 tools are not supported by this backend",
        ),
        (
            "vllm",
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "h"}},
            "tool_choice: Tool 'h' not found in provided tools",
        ),
        (
            "ollama",
            {"tools": [TOOL], "tool_choice": {"type": "any"}},
            "tool_choice: this backend cannot be made to use a tool; only auto and none are supported",
        ),
        ("vllm", {"tools": [TOOL], "tool_choice": {"type": "x"}}, "tool_choice.x: not supported by this backend"),
        ("openai", {"top_k": 5}, "top_k: not supported by this backend"),
        ("ollama", {"top_k": 5}, "top_k: not supported by this backend"),
        ("vllm", {"output_config": {"format": {"type": "xml"}}}, "output_config.format.type: not supported by this"),
        ("vllm", {"container": "c"}, "container: not supported by this backend"),
        ("vllm", {"mcp_servers": [{}]}, "mcp_servers: not supported by this backend"),
        ("vllm", {"inference_geo": "us"}, "inference_geo: not supported by this backend"),
    ],
)
def test_what_cannot_be_honoured_is_refused(flavour: Flavour, params: dict[str, Any], message: str) -> None:
    """Never dropped in silence."""
    assert refusal(options_for(flavour), **params).startswith(message)


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"temperature": 0.0, "top_p": 0.9, "top_k": 40}, {"temperature": 0.0, "top_p": 0.9, "top_k": 40}),
        ({"stop_sequences": ["\n\n", ""]}, {"stop": ["\n\n"]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u-1"}}, {"user": "u-1"}),
        ({"metadata": {}}, {}),
        ({"service_tier": "auto", "cache_control": {"type": "ephemeral"}, "stream": True, "container": None}, {}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        (
            {"output_format": {"type": "json_schema", "schema": {}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {}, "strict": True},
                }
            },
        ),
    ],
)
def test_other_fields(params: dict[str, Any], fields: dict[str, Any]) -> None:
    """Sampling, stops, user and format by their other names; hints without effect are left out."""
    assert translated(**params) == translated() | fields


ON = {"enable_thinking": True, "thinking": True}
OFF = {"enable_thinking": False, "thinking": False}


@pytest.mark.parametrize(
    ("flavour", "params", "fields"),
    [
        ("vllm", {}, {}),
        ("vllm", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"chat_template_kwargs": ON}),
        ("vllm", {"thinking": {"type": "adaptive"}}, {"chat_template_kwargs": ON}),
        ("vllm", {"thinking": {"type": "disabled"}}, {"chat_template_kwargs": OFF}),
        ("vllm", {"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        (
            "llamacpp",
            {"thinking": {"type": "enabled"}, "output_config": {"effort": "max"}},
            {"chat_template_kwargs": ON | {"reasoning_effort": "high"}},
        ),
        ("openai", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
        ("openai", {"thinking": {"type": "enabled", "budget_tokens": 8192}}, {"reasoning_effort": "medium"}),
        ("openai", {"thinking": {"type": "enabled", "budget_tokens": 32768}}, {"reasoning_effort": "high"}),
        ("openai", {"thinking": {"type": "adaptive"}}, {}),
        ("openai", {"thinking": {"type": "disabled"}}, {}),
        (
            "ollama",
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
            {"reasoning_effort": "none"},
        ),
        (
            "openai",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
            {"reasoning_effort": "medium"},
        ),
    ],
)
def test_thinking_and_effort(flavour: Flavour, params: dict[str, Any], fields: dict[str, Any]) -> None:
    """A variable of the chat template or an effort, as the server knows it; silence leaves the model's default."""
    options = options_for(flavour)
    assert translated(options, **params) == translated(options) | fields


def test_thinking_can_be_left_to_the_model() -> None:
    """For templates that refuse variables."""
    options = replace(VLLM, thinking="ignore", effort="ignore")
    params = {"thinking": {"type": "enabled", "budget_tokens": 2048}, "output_config": {"effort": "low"}}
    assert translated(options, **params) == translated(options)


@pytest.mark.parametrize(
    ("flavour", "fields"),
    [
        ("vllm", {"continue_final_message": True, "add_generation_prompt": False}),
        ("sglang", {"continue_final_message": True, "add_generation_prompt": False}),
        ("llamacpp", {}),
        ("openai", {}),
    ],
)
def test_a_prefill_is_continued_where_the_server_can(flavour: Flavour, fields: dict[str, Any]) -> None:
    """A final assistant message is the beginning of the answer."""
    body = translated(options_for(flavour), messages=[USER, {"role": "assistant", "content": "{"}])
    assert body["messages"][-1] == {"role": "assistant", "content": "{"}
    assert {key: body[key] for key in ("continue_final_message", "add_generation_prompt") if key in body} == fields
