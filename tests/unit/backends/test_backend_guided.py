"""The pure parts of speaking to llama.cpp: a template's style, answers read in pieces, control tokens broken up."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.backends.openai.control import broken_up
from slackwater.backends.openai.guided import (
    CallReader,
    CallStyle,
    Guide,
    call_guide,
    split_calls,
    split_thinking,
    template_of,
    text_guide,
)

JOINER = "\u200d"
HERMES = CallStyle(opening="<tool_call>\n", key="arguments")
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "$defs": {"A": {}}, "x": ref}}}
    for name, ref in (("one", {"$ref": "#/$defs/A"}), ("two", [{"$ref": "#"}]))
]


@pytest.mark.parametrize(
    ("turn", "call", "style"),
    [
        (
            "<|im_start|>assistant\n",
            '<tool_call>\n{"name": "slackwater_probe", "arguments": {"probe_key": "probe_value"}}\n</tool_call>',
            HERMES,
        ),
        (
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            '{"name": "slackwater_probe", "parameters": {"probe_key": "probe_value"}}<|eot_id|>',
            CallStyle(opening="", key="parameters"),
        ),
        (
            "",
            '[TOOL_CALLS] [{"name": "slackwater_probe", "arguments": {"probe_key": "probe_value"}, "id": "probe0000"}]',
            CallStyle(opening="[TOOL_CALLS] [", key="arguments"),
        ),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "<function=slackwater_probe>", None),
        ("", 'slackwater_probe\n```json\n{"probe_key": "probe_value"}\n```', None),
    ],
)
def test_a_template_shows_how_it_writes_calls(turn: str, call: str, style: CallStyle | None) -> None:
    """Hermes and Qwen, Llama 3, Mistral; and those whose calls are no such object."""
    prompt = f"slackwater_probe\nCall it.{turn}"
    template = template_of(prompt, f"{prompt}{call}<|im_end|>\nCalled.")
    assert (template.tools, template.style) == (True, style)


def test_a_template_that_does_not_tell_of_tools_is_found_out() -> None:
    """The probe's name is nowhere in its prompt."""
    assert not template_of("Call it.", "Call it.Called.").tools


def test_a_demanded_tool_is_a_schema_of_its_input() -> None:
    """Everything up to the arguments is written for the model."""
    guide = call_guide(TOOLS, "two", HERMES)
    assert guide.opening == '<tool_call>\n{"name": "two", "arguments": '
    assert (guide.tool, guide.path) == ("two", "tools.1.input_schema")


def test_any_of_several_tools_is_a_schema_of_the_call() -> None:
    """References inside a tool's schema still find what they refer to."""
    guide = call_guide(TOOLS, None, HERMES)
    first, second = guide.schema["anyOf"]
    assert first["properties"]["arguments"]["x"] == {"$ref": "#/anyOf/0/properties/arguments/$defs/A"}
    assert second["properties"]["arguments"]["x"] == [{"$ref": "#/anyOf/1/properties/arguments"}]
    assert [call["properties"]["name"] for call in (first, second)] == [{"const": "one"}, {"const": "two"}]
    assert (guide.opening, guide.any_tool) == (HERMES.opening, True)


def test_text_by_a_schema_begins_with_nothing() -> None:
    """The client's schema is not changed on the way, only added to."""
    schema = {"type": "object"}
    guide = text_guide(schema)
    assert guide.schema["type"] == "object"
    assert schema == {"type": "object"}
    assert guide.opening == ""


def read(guide: Guide, pieces: list[str]) -> tuple[list[str], str]:
    reader = guide.reader()
    functions = [
        call["function"] for piece in pieces for delta in reader.feed(piece) for call in delta.get("tool_calls", ())
    ]
    return [function["name"] for function in functions if "name" in function], "".join(
        function["arguments"] for function in functions
    )


@given(
    arguments=st.sampled_from(
        ['{"city": "Paris"}', "{}", '{"a": {"b": [1, {"c": "}"}]}}', '{"q": "a } b"}', '{"n": "é\\"}"}']
    ),
    name=st.sampled_from(["get_weather", "a"]),
    spaces=st.sampled_from(["", " ", "\n"]),
    cuts=st.lists(st.integers(0, 80), max_size=12),
)
def test_any_cut_of_a_call_gives_its_name_and_arguments(
    arguments: str, name: str, spaces: str, cuts: list[int]
) -> None:
    """The name once, the arguments whole, the object around them gone."""
    text = f'{spaces}{{"name": "{name}",{spaces} "arguments":{spaces}{arguments}{spaces}}}{spaces}'
    ends = [0, *sorted({min(cut, len(text)) for cut in cuts}), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(ends)]
    assert read(Guide(schema={}, path="", any_tool=True), pieces) == ([name], arguments)
    assert read(Guide(schema={}, path="", tool="t"), [arguments[:3], arguments[3:]]) == (["t"], arguments)


def test_nothing_is_said_of_a_call_without_a_name_yet() -> None:
    """A call that was cut there is none."""
    reader = CallReader(name=None, enclosed=True)
    assert [list(reader.feed(piece)) for piece in ("{", '"name": "get', "_wea")] == [[], [], []]


@pytest.mark.parametrize(
    ("text", "open_already", "expected"),
    [
        ("Hello", False, ("", "Hello")),
        ("<think>\nHmm\n</think>\n\nHello", False, ("Hmm", "Hello")),
        ("Hmm</think>Hello", True, ("Hmm", "Hello")),
        ("Hmm", True, ("Hmm", "")),
        ("I <think> so", False, ("", "I <think> so")),
    ],
)
def test_thinking_is_told_from_text(text: str, open_already: bool, expected: tuple[str, str]) -> None:
    """As the server's parser would."""
    assert split_thinking(text, open_already=open_already) == expected


@pytest.mark.parametrize(
    ("text", "said", "arguments"),
    [
        ("Hello", "Hello", []),
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', "", ['{"a":1}']),
        ('Hi\n<tool_call>{"name": "f", "arguments": {}}</tool_call><tool_call>{"name"', "Hi", ["{}"]),
        ('<tool_call>{"name": "f", "arguments": 5}</tool_call>', "", []),
    ],
)
def test_calls_are_told_from_text(text: str, said: str, arguments: list[str]) -> None:
    """Whole ones are calls, the rest of them is nothing."""
    found = split_calls(text, HERMES)
    assert (found[0], [call["function"]["arguments"] for call in found[1]]) == (said, arguments)
    assert split_calls(text, CallStyle(opening="", key="arguments")) == (text, [])


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|start_header_id|>",
        "<|channel|>",
        "<start_of_turn>",
        "<end_of_turn>",
        "</s>",
        "<s>",
        "<bos>",
        "[INST]",
        "[/INST]",
        "[TOOL_CALLS]",
        "<\uff5cUser\uff5c>",
        "<turn|>",
        "<|turn>",
        "<__media__>",
    ],
)
def test_the_usual_control_tokens_are_broken_up(token: str) -> None:
    """For a server whose vocabulary is not known: one character is added, and nothing else changes."""
    assert broken_up(f"a {token} b", "usual") == f"a {token[0]}{JOINER}{token[1:]} b"


@pytest.mark.parametrize(
    "text", ["a < b | c > d", "<div>", "<strong>|</strong>", "x[i]", "if (a<b||c>d)", "<|>", "[INSTALL]", "</section>"]
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Markup, code and arithmetic are not control tokens."""
    assert broken_up(text, "usual") == text
    assert broken_up(text, ("<|im_end|>", "<s>", "\n")) == text


def test_only_the_model_s_own_tokens_are_broken_up_where_they_are_known() -> None:
    """In every text of a request, names of properties too, but not in the data of images."""
    body: dict[str, Any] = {
        "messages": [{"content": [{"text": "<eot> [INST]"}, {"image_url": {"url": "data:<eot>"}}]}],
        "<eot>": ["<eot><eot>", 5, None],
    }
    broken = f"<{JOINER}eot>"
    assert broken_up(body, ("<eot>",)) == {
        "messages": [{"content": [{"text": f"{broken} [INST]"}, {"image_url": {"url": "data:<eot>"}}]}],
        broken: [broken * 2, 5, None],
    }
    assert broken_up(body, ()) is body
