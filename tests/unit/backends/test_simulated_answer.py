"""The simulator's answers: functions of the request, labelled, and obedient to its parameters."""

import base64
import json
from hashlib import sha256
from typing import Any

import pytest

from slackwater.backends.simulated.prompt import digest_of, read_prompt
from slackwater.domain.errors import InvalidRequestError
from support.simulated import Rig, call, text_of

TOOL = {
    "name": "lookup",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
OTHER_TOOL = {"name": "other", "input_schema": {"type": "object"}}


def blocks(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


async def test_an_answer_is_labelled_and_echoes_the_question_so_that_a_mix_up_shows() -> None:
    """S7: the answer has the marker, the digest of its own request and the last user text."""
    rig = Rig()
    answer = await rig.ask("which river?")
    assert text_of(answer) == f"[simulated {digest_of(call('which river?').params)}] which river?"
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "upstream-m")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)


async def test_the_same_request_has_the_same_answer_in_every_simulator() -> None:
    """Content, stop reason and usage depend on the request alone; model and stream do not count."""
    one = await Rig(seed=1).ask("hello", tools=[TOOL], tool_choice={"type": "any"})
    two = await Rig(seed=2).ask("hello", tools=[TOOL], tool_choice={"type": "any"}, model="another", stream=True)
    assert [one[key] for key in ("content", "stop_reason", "usage")] == [
        two[key] for key in ("content", "stop_reason", "usage")
    ]


async def test_different_requests_have_different_answers() -> None:
    """A temperature is enough."""
    rig = Rig()
    assert text_of(await rig.ask("hello")) != text_of(await rig.ask("hello", temperature=0.5))


async def test_max_tokens_cuts_the_answer() -> None:
    """A token is four bytes; a cut never breaks a character."""
    answer = await Rig().ask("€" * 50, max_tokens=8)
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"]["output_tokens"] <= 8
    assert len(text_of(answer).encode()) <= 32


async def test_an_answer_that_just_fits_is_not_cut() -> None:
    """The limit is inclusive."""
    whole = await Rig().ask("hello")
    exact = await Rig().ask("[[sim:text=" + "x" * 40 + "]]", max_tokens=10)
    assert whole["stop_reason"] == "end_turn"
    assert (exact["stop_reason"], exact["usage"]["output_tokens"]) == ("end_turn", 10)


async def test_a_stop_sequence_ends_the_answer_before_itself() -> None:
    """The earliest one wins and is named."""
    answer = await Rig().ask("one STOP two END three", stop_sequences=["END", "STOP"])
    assert text_of(answer).endswith("one ")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "STOP")


async def test_a_long_question_is_echoed_from_its_end() -> None:
    """2,000 characters are enough to recognise it; the digest covers all of it."""
    answer = await Rig().ask("x" * 5_000 + "the end", max_tokens=10_000)
    assert text_of(answer).endswith("the end")
    assert len(text_of(answer)) < 2_100


@pytest.mark.parametrize(
    ("choice", "text", "expected"),
    [
        ({"type": "any"}, "hello", "lookup"),
        ({"type": "tool", "name": "other"}, "hello", "other"),
        ({"type": "auto"}, "please use tool other now", "other"),
        (None, "please use tool lookup", "lookup"),
        ({"type": "auto"}, "hello", None),
        ({"type": "auto"}, "use tool nothing", None),
        ({"type": "none"}, "use tool lookup", None),
    ],
)
async def test_tools_are_used_when_the_choice_or_the_user_says_so(
    choice: dict[str, Any] | None, text: str, expected: str | None
) -> None:
    """`any` takes the first tool, `auto` waits to be asked for one by name."""
    answer = await Rig().ask(text, tools=[TOOL, OTHER_TOOL], tool_choice=choice)
    used = [block for block in answer["content"] if block["type"] == "tool_use"]
    assert [block["name"] for block in used] == ([expected] if expected else [])
    assert answer["stop_reason"] == ("tool_use" if expected else "end_turn")
    if expected == "lookup":
        assert isinstance(used[0]["input"]["city"], str)


async def test_a_tool_result_is_mentioned_and_does_not_ask_for_the_tool_again() -> None:
    """Only the last user message counts, so that a loop of tool calls ends."""
    messages = [
        {"role": "user", "content": "use tool lookup"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain", "is_error": True},
            ],
        },
    ]
    answer = await Rig().ask(messages=messages, tools=[TOOL])
    assert "[tool_result toolu_1 error: rain]" in text_of(answer)
    assert answer["stop_reason"] == "end_turn"


async def test_structured_output_is_an_instance_of_the_schema_and_nothing_else() -> None:
    """The text is JSON; the digest stands in a free string."""
    schema = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["good", "bad"]},
            "score": {"type": "integer", "minimum": 3},
            "note": {"type": "string"},
        },
        "required": ["mood", "score", "note"],
        "additionalProperties": False,
    }
    answer = await Rig().ask("rate it", output_config={"format": {"type": "json_schema", "schema": schema}})
    value = json.loads(text_of(answer))
    assert (value["mood"], value["score"]) == ("good", 3)
    assert value["note"].startswith("simulated ")


async def test_an_impossible_schema_is_an_invalid_request() -> None:
    """X7: an error of the request itself."""
    schema = {"$ref": "#/$defs/nowhere"}
    with pytest.raises(InvalidRequestError):
        await Rig().ask("rate it", output_config={"format": {"type": "json_schema", "schema": schema}})


@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
async def test_thinking_comes_first_and_counts_as_output(kind: str) -> None:
    """A thinking block has a signature."""
    plain = await Rig().ask("hello")
    answer = await Rig().ask("hello", thinking={"type": kind, "budget_tokens": 1_024})
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]
    assert answer["content"][0]["signature"]
    assert answer["usage"]["output_tokens"] > plain["usage"]["output_tokens"]


async def test_images_and_documents_are_described_by_type_size_and_digest() -> None:
    """What arrived can be compared with what was sent."""
    picture = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"twelve bytes").decode()}
    paper = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1").decode()}
    text = {"type": "text", "media_type": "text/plain", "data": "the whole document"}
    answer = await Rig().ask(
        messages=blocks(
            {"type": "image", "source": picture},
            {"type": "document", "source": paper},
            {"type": "document", "source": text},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "text", "text": "what is this?"},
        )
    )
    said = text_of(answer)
    assert "[image/png 12 bytes]" in said
    assert "[application/pdf 6 bytes " in said
    assert f"[document text 18 characters {sha256(b'the whole document').hexdigest()[:8]}]" in said
    assert "[image url https://example.com/a.png]" in said
    assert said.endswith("what is this?")


async def test_directives_choose_the_answer_its_length_and_its_stop_reason() -> None:
    """`text=` is the whole answer, without the marker."""
    rig = Rig()
    assert text_of(await rig.ask("[[sim:text=exactly this, = and all]]")) == "exactly this, = and all"
    assert (await rig.ask("[[sim:tokens=123]]"))["usage"]["output_tokens"] == 123
    assert (await rig.ask("[[sim:tokens=2]]"))["usage"]["output_tokens"] == 2
    assert (await rig.ask("[[sim:stop=refusal]]"))["stop_reason"] == "refusal"


async def test_a_message_that_cannot_be_read_is_an_invalid_request() -> None:
    """S8: and nothing worse."""
    for messages in ([], None, [{"role": "user"}], [{"role": "user", "content": [{"type": "text"}]}]):
        with pytest.raises(InvalidRequestError):
            await Rig().ask(messages=messages)


async def test_the_count_of_tokens_is_the_one_that_is_billed() -> None:
    """`count_tokens` and `usage` agree."""
    rig = Rig()
    asked = call("hello " * 100, system="be brief", tools=[TOOL])
    counted = await rig.backend.count_tokens(asked)
    assert counted == (await rig.clock.run(rig.backend.infer(asked)))["usage"]["input_tokens"]
    assert counted == read_prompt(asked.params).tokens > 150


async def test_the_model_list_says_that_it_is_simulated() -> None:
    """Nobody takes it for a model."""
    assert all("simulated" in name for name in await Rig().backend.models())


async def test_a_stream_tells_the_same_as_the_whole_answer() -> None:
    """Contract §7.1: order of events, deltas that add up, cumulative usage at the end."""
    asked: dict[str, Any] = {
        "text": "use tool lookup " + "words " * 30,
        "tools": [TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
    }
    whole = await Rig().ask(**asked)
    events = await Rig().events(**asked)
    assert events[0]["message"]["content"] == []
    assert events[0]["message"]["stop_reason"] is None
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == whole["stop_reason"] == "tool_use"
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    thinking, text, tool = whole["content"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == thinking["thinking"]
    assert "".join(delta.get("text", "") for delta in deltas) == text["text"]
    assert json.loads("".join(delta.get("partial_json", "") for delta in deltas)) == tool["input"]
