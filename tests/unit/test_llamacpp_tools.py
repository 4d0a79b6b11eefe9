"""Tools on the real engine: every choice, calls that are cut, results that come back."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from slackwater.domain.errors import InvalidRequestError
from support.engine import TIME, WEATHER, WEATHER_CALL, asked, events_of, infer, local, said
from support.gguf import CHAT_TEMPLATE

PARIS = {"city": "Paris"}
TOOLS = [TIME, WEATHER]


def calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(block["name"], block["input"]) for block in message["content"] if block["type"] == "tool_use"]


async def test_a_model_that_wants_to_calls_a_tool(tmp_path: Path) -> None:
    """Contract §7: `auto`, and no choice at all; text before the call stays text."""
    async with local(tmp_path, says=["I will look.", *WEATHER_CALL]) as backend:
        for choice in ({}, {"tool_choice": {"type": "auto"}}):
            message = await infer(backend, asked(tools=TOOLS, **choice))
            assert [block["type"] for block in message["content"]] == ["text", "tool_use"]
            assert (said(message), calls(message)) == ("I will look.", [("get_weather", PARIS)])
            assert message["stop_reason"] == "tool_use"
            assert message["content"][1]["id"].startswith("toolu_")


async def test_a_model_that_would_rather_talk_is_made_to_call(tmp_path: Path) -> None:
    """`any` and `tool`: nothing but a call of a tool that is offered, by its schema, whatever the model would say."""
    async with local(tmp_path, says=["No", "."]) as backend:
        for choice, possible in (
            ({"type": "any"}, {"get_weather", "get_time"}),
            ({"type": "tool", "name": "get_weather"}, {"get_weather"}),
            ({"type": "tool", "name": "get_time"}, {"get_time"}),
        ):
            message = await infer(backend, asked(tools=TOOLS, tool_choice=choice, max_tokens=100))
            assert [block["type"] for block in message["content"]] == ["tool_use"]
            [(name, arguments)] = calls(message)
            assert name in possible
            assert arguments in ({"city": "Paris"}, {"city": "Rome"}, {"zone": "UTC"}, {"zone": "CET"})
            assert ("city" in arguments) == (name == "get_weather")
            assert message["stop_reason"] == "tool_use"


async def test_a_call_that_is_demanded_streams_as_any_other(tmp_path: Path) -> None:
    """Contract §7.1: one block, its input in pieces, no text."""
    async with local(tmp_path, says=["No"]) as backend:
        for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
            events = await events_of(backend, asked(tools=[WEATHER, TIME], tool_choice=choice, max_tokens=100))
            starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
            assert [block["type"] for block in starts] == ["tool_use"]
            deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
            assert {delta["type"] for delta in deltas} == {"input_json_delta"}
            text = "".join(delta["partial_json"] for delta in deltas)
            assert text in ('{"city": "Paris"}', '{"city": "Rome"}', '{"zone": "UTC"}', '{"zone": "CET"}')
            assert len(deltas) > 1
            assert events[-2]["delta"]["stop_reason"] == "tool_use"


async def test_no_tool_is_called_where_none_may_be(tmp_path: Path) -> None:
    """`none`: the model is not even told of the tools."""
    async with local(tmp_path, says=["Fine", "."]) as backend:
        message = await infer(backend, asked(tools=TOOLS, tool_choice={"type": "none"}))
        assert (said(message), message["stop_reason"]) == ("Fine.", "end_turn")
        assert message["usage"]["input_tokens"] < 40


async def test_one_call_at_a_time_where_parallel_calls_are_disabled(tmp_path: Path) -> None:
    """`disable_parallel_tool_use`: what comes after the first call is dropped; otherwise there may be several."""
    first = ("<tool_call>", '\n{"name": "get_weather", "arguments": {"city": "Paris"}}', "\n</tool_call>")
    second = ("\n<tool_call>", '\n{"name": "get_weather", "arguments": {"city": "Rome"}}', "\n</tool_call>\n")
    async with local(tmp_path, says=[*first, *second]) as backend:
        several = await infer(backend, asked(tools=TOOLS))
        assert calls(several) == [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]
        one = await infer(backend, asked(tools=TOOLS, tool_choice={"type": "auto", "disable_parallel_tool_use": True}))
        assert calls(one) == [("get_weather", {"city": "Paris"})]


async def test_a_call_that_is_cut_is_no_call_and_no_text(tmp_path: Path) -> None:
    """What was written of it cannot be a whole block; the raw text that models write calls in never leaks."""
    cut = ("<tool_", "call>", '\n{"name": "get_', 'weather", ', '"arguments": {"city": ', '"Paris"}}', "\n</tool_call>")
    async with local(tmp_path, says=cut) as backend:
        for choice, limit in product(("auto", "any"), range(1, 6)):
            call = asked(tools=TOOLS, tool_choice={"type": choice}, max_tokens=limit)
            message = await infer(backend, call)
            assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
            events = await events_of(backend, call)
            starts = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
            assert "text" not in starts
            assert events[-2]["delta"]["stop_reason"] == "max_tokens"


async def test_results_of_tools_reach_the_model_also_as_errors(tmp_path: Path) -> None:
    """A conversation with a call and its results, of which one failed, counts as much as it is long."""
    async with local(tmp_path, says=["Sunny", "."]) as backend:

        def turns(first: str, **more: Any) -> list[dict[str, Any]]:
            uses = [
                {"type": "tool_use", "id": f"toolu_{n}", "name": "get_weather", "input": {"city": city}}
                for n, city in enumerate(("Paris", "Rome"))
            ]
            results = [
                {"type": "tool_result", "tool_use_id": "toolu_0", "content": [{"type": "text", "text": first}], **more},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
                {"type": "text", "text": "And now?"},
            ]
            return [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": uses},
                {"role": "user", "content": results},
            ]

        message = await infer(backend, asked(tools=TOOLS, messages=turns("sun")))
        assert (said(message), message["stop_reason"]) == ("Sunny.", "end_turn")
        plain = await backend.count_tokens(asked(tools=TOOLS, messages=turns("sun")))
        longer = await backend.count_tokens(asked(tools=TOOLS, messages=turns("sun and wind")))
        failed = await backend.count_tokens(asked(tools=TOOLS, messages=turns("sun", is_error=True)))
        assert plain is not None
        assert longer is not None
        assert longer > plain
        assert failed is not None
        assert failed > plain


async def test_a_stop_sequence_inside_a_call_leaves_no_half_a_call(tmp_path: Path) -> None:
    """The model ran into it while it wrote the input: no block, and the reason says so."""
    async with local(tmp_path, says=WEATHER_CALL) as backend:
        message = await infer(backend, asked(tools=TOOLS, stop_sequences=["Paris"]))
        assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], "stop_sequence", "Paris")
        choice = {"type": "tool", "name": "get_weather"}
        demanded = await infer(backend, asked(tools=TOOLS, stop_sequences=["city"], tool_choice=choice))
        assert demanded["stop_reason"] == "tool_use"


async def test_a_tool_without_arguments_can_be_called(tmp_path: Path) -> None:
    """An empty object is an input."""
    ping = {"name": "ping", "input_schema": {"type": "object", "properties": {}, "additionalProperties": False}}
    async with local(tmp_path) as backend:
        for tools in ([ping], [ping, {**ping, "name": "pong"}]):
            [(name, arguments)] = calls(await infer(backend, asked(tools=tools, tool_choice={"type": "any"})))
            assert (name in ("ping", "pong"), arguments) == (True, {})


async def test_a_schema_that_cannot_be_followed_is_refused_by_its_path(tmp_path: Path) -> None:
    """The engine would drop it without a word, and the call would be anything."""
    wrong = {"name": "odd", "input_schema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/Gone"}}}}
    async with local(tmp_path) as backend:
        with pytest.raises(InvalidRequestError, match=r"tools: JSON schema error at #/properties/a"):
            await infer(backend, asked(tools=[WEATHER, wrong], tool_choice={"type": "tool", "name": "odd"}))


async def test_a_tool_that_is_not_there_cannot_be_demanded(tmp_path: Path) -> None:
    """Contract §2.3."""
    async with local(tmp_path) as backend:
        with pytest.raises(InvalidRequestError, match="Tool 'gone' not found"):
            await infer(backend, asked(tools=TOOLS, tool_choice={"type": "tool", "name": "gone"}))


async def test_a_template_whose_calls_are_no_json_is_left_to_the_server(tmp_path: Path) -> None:
    """Its own parser and grammar know the style: the call is made, even if the model may talk before it."""
    template = (
        "{%- if tools %}<|im_start|>system\n{%- for tool in tools %}{{ tool | tojson }}{%- endfor %}"
        "<|im_end|>\n{%- endif %}"
        "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
        "{%- for call in message.tool_calls or [] %}<tool_call>\n<function={{ call.function.name }}>\n"
        "{%- for key, value in call.function.arguments | items %}<parameter={{ key }}>\n{{ value }}\n"
        "</parameter>\n{%- endfor %}"
        "</function>\n</tool_call>{%- endfor %}<|im_end|>\n{%- endfor %}"
        "{%- if add_generation_prompt %}<|im_start|>assistant\n{%- endif %}"
    )
    words = [
        "<tool_call>",
        "\n<function=get_weather>",
        "\n<parameter=city>",
        "\nParis",
        "\n</parameter>",
        "\n</function>",
        "\n</tool_call>",
    ]
    async with local(tmp_path, says=words, template=template) as backend:
        message = await infer(backend, asked(tools=[WEATHER], tool_choice={"type": "any"}))
        assert calls(message) == [("get_weather", PARIS)]


PLAIN_TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)


async def test_tools_that_the_template_would_drop_are_refused(tmp_path: Path) -> None:
    """Invariant 10: the model would never hear of them, and nobody would know."""
    async with local(tmp_path, says=["Yes"], template=PLAIN_TEMPLATE) as backend:
        for choice in ("auto", "any"):
            for attempt in (backend.infer, backend.count_tokens):
                with pytest.raises(
                    InvalidRequestError, match=r"^tools: the chat template of this model knows no tools"
                ):
                    await attempt(asked(tools=TOOLS, tool_choice={"type": choice}))
        assert said(await infer(backend, asked(tools=TOOLS, tool_choice={"type": "none"}))) == "Yes"


async def test_ids_of_calls_are_what_strict_templates_want(tmp_path: Path) -> None:
    """Mistral's insist on nine letters and digits, and that a result names its call."""
    strict = CHAT_TEMPLATE.replace(
        "{%- for call in message.tool_calls %}",
        "{%- for call in message.tool_calls %}"
        "{%- if call.id | length != 9 %}{{- raise_exception('ids have 9 letters') }}{%- endif %}",
    ).replace("'\\n<tool_response>\\n'", "'\\n<tool_response id=' + message.tool_call_id + '>\\n'")
    turns = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_01ABCDEFGHIJKLMNOP", "name": "get_weather", "input": PARIS}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_01ABCDEFGHIJKLMNOP", "content": "sun"}],
        },
    ]
    async with local(tmp_path, says=["Yes"], template=strict) as backend:
        assert said(await infer(backend, asked(tools=TOOLS, messages=turns))) == "Yes"


async def test_a_conversation_that_the_template_refuses_is_refused_in_its_words(tmp_path: Path) -> None:
    """Not as a failure of the engine, and without the template's source."""
    picky = "{%- if messages | length > 1 %}{{- raise_exception('one turn only') }}{%- endif %}" + PLAIN_TEMPLATE
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    async with local(tmp_path, says=["Yes"], template=picky) as backend:
        with pytest.raises(
            InvalidRequestError, match=r"^messages: the model's chat template refuses them: one turn only$"
        ):
            await infer(backend, asked(messages=turns))
