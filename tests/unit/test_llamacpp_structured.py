"""Answers by a JSON schema from the real engine, and that asking for one stalls nobody."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slackwater.clock import SystemClock
from slackwater.domain.errors import InvalidRequestError
from slackwater.ports import Call
from support.engine import THINKING_TEMPLATE, TIME, WEATHER, WEATHER_CALL, asked, events_of, image, infer, local, said
from support.gguf import CHAT_TEMPLATE

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"enum": ["Ada", "Grace"]},
        "likes": {"type": "array", "items": {"$ref": "#/$defs/Thing"}, "maxItems": 2},
        "address": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Paris", "Rome"]},
                "since": {"anyOf": [{"type": "null"}, {"enum": [1999]}]},
            },
            "required": ["city", "since"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "likes", "address"],
    "additionalProperties": False,
    "$defs": {"Thing": {"enum": ["tea", "rain"]}},
}


def structured(schema: Any, content: Any = "hello", **params: Any) -> Call:
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    return asked(content, output_config=wanted, **{"max_tokens": 128, **params})


def is_person(text: str) -> bool:
    person = json.loads(text)
    return (
        list(person) == ["name", "likes", "address"]
        and person["name"] in ("Ada", "Grace")
        and set(person["likes"]) <= {"tea", "rain"}
        and person["address"]["city"] in ("Paris", "Rome")
        and person["address"]["since"] in (None, 1999)
    )


async def test_an_answer_follows_its_schema_whatever_the_model_would_say(tmp_path: Path) -> None:
    """Whole and as a stream, on one line, cold and hot."""
    async with local(tmp_path) as backend:
        for temperature in (0, 1, 2):
            ask = partial(infer, backend) if temperature == 0 else backend.infer
            message = await ask(structured(PERSON, temperature=temperature))
            assert is_person(said(message))
            assert "\n" not in said(message)
            assert message["stop_reason"] == "end_turn"
        events = await events_of(backend, structured(PERSON))
        pieces = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
        assert len(pieces) > 10
        assert is_person("".join(pieces))


async def test_usage_counts_the_prompt_as_for_any_other_request(tmp_path: Path) -> None:
    """Contract §7.2: what is counted before is what is read, from the cache or not."""
    async with local(tmp_path) as backend:
        call = structured(PERSON, system="You know people.")
        counted = await backend.count_tokens(call)
        usage = (await infer(backend, call))["usage"]
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == counted


async def test_thinking_is_skipped_where_the_answer_must_be_json(tmp_path: Path) -> None:
    """A template that begins to think for the model, or lets it be told not to: JSON comes at once, counted as used."""
    begins = CHAT_TEMPLATE.replace(
        "<|im_start|>assistant\\n' }}{%- endif %}\n", "<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
    )
    for template in (begins, THINKING_TEMPLATE):
        async with local(tmp_path, template=template) as backend:
            choice = {"type": "tool", "name": "get_time"}
            for call in (
                structured(PERSON),
                structured(PERSON, tools=[WEATHER, TIME]),
                asked(tools=[WEATHER, TIME], tool_choice=choice, max_tokens=100),
                asked(tools=[WEATHER, TIME], tool_choice={"type": "any"}, max_tokens=100),
            ):
                message = await infer(backend, call)
                assert message["stop_reason"] == ("tool_use" if "tool_choice" in call.params else "end_turn")
                assert [block["type"] for block in message["content"]] in (["text"], ["tool_use"])
                usage = message["usage"]
                assert usage["input_tokens"] + usage["cache_read_input_tokens"] == await backend.count_tokens(call)


async def test_a_limit_and_a_stop_sequence_hold_inside_json(tmp_path: Path) -> None:
    """What is cut is no JSON any more, and the reason says why."""
    async with local(tmp_path) as backend:
        short = await infer(backend, structured(PERSON, max_tokens=5))
        assert (short["stop_reason"], short["usage"]["output_tokens"]) == ("max_tokens", 5)
        stopped = await infer(backend, structured(PERSON, stop_sequences=["likes"]))
        assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "likes")
        assert said(stopped).endswith(', "')


async def test_with_tools_the_model_may_call_one_or_answer_by_the_schema(tmp_path: Path) -> None:
    """Both are allowed, and nothing else: free text is thrown away unseen, a call is passed on."""
    async with local(tmp_path, says=["I", " think", " so"]) as backend:
        message = await infer(backend, structured(PERSON, tools=[WEATHER, TIME]))
        assert is_person(said(message))
        pieces = await events_of(backend, structured(PERSON, tools=[WEATHER, TIME]))
        assert [event["type"] for event in pieces].count("message_start") == 1
    async with local(tmp_path, says=WEATHER_CALL) as backend:
        message = await infer(backend, structured(PERSON, tools=[WEATHER, TIME]))
        assert [(block["type"], block["input"]) for block in message["content"]] == [("tool_use", {"city": "Paris"})]
        assert message["stop_reason"] == "tool_use"


async def test_an_image_can_be_described_by_a_schema(tmp_path: Path) -> None:
    """The image goes past the chat endpoint too, and is counted."""
    async with local(tmp_path, sees=True) as backend:
        call = structured(PERSON, [image(), {"type": "text", "text": "Who is it?"}])
        message = await infer(backend, call)
        assert is_person(said(message))
        usage = message["usage"]
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == await backend.count_tokens(call)


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/Gone"}, {"type": "object", "properties": {"a": {"type": "odd"}}}])
async def test_a_schema_that_the_engine_cannot_compile_is_refused(tmp_path: Path, schema: dict[str, Any]) -> None:
    """The engine itself would drop it without a word and let the model say anything."""
    async with local(tmp_path) as backend:
        for _ in range(2):
            with pytest.raises(InvalidRequestError, match=r"^output_config\.format\.schema: "):
                await infer(backend, structured(schema))
            with pytest.raises(InvalidRequestError, match=r"^output_config\.format\.schema: "):
                await events_of(backend, structured(schema))


async def test_a_keyword_that_the_engine_does_not_know_leaves_the_others_in_force(tmp_path: Path) -> None:
    """As the API, which constrains as far as it can."""
    async with local(tmp_path) as backend:
        message = await infer(backend, structured({**PERSON, "not": {"required": ["age"]}}))
        assert is_person(said(message))


async def test_a_prefill_and_a_schema_exclude_each_other(tmp_path: Path) -> None:
    """Both say how the answer begins."""
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "{"}]
    async with local(tmp_path) as backend:
        with pytest.raises(InvalidRequestError, match="prefilled"):
            await infer(backend, structured(PERSON, messages=turns))


async def test_an_enum_of_twenty_thousand_values_stalls_nobody(tmp_path: Path) -> None:
    """By the engine's chat endpoint it would take more than 25 s, in which the neighbours stand still."""
    clock = SystemClock()
    gaps: list[float] = []

    async def neighbour() -> None:
        last = clock.monotonic()
        async for _ in backend.stream(asked("count", max_tokens=3_000)):
            now = clock.monotonic()
            gaps.append(now - last)
            last = now

    values = [f"value number {n}" for n in range(20_000)]
    schema = {"type": "object", "properties": {"a": {"enum": values}}, "required": ["a"], "additionalProperties": False}
    async with local(tmp_path, context_tokens=4_096) as backend:
        await infer(backend, asked(max_tokens=1))
        beside = asyncio.create_task(neighbour())
        began = clock.monotonic()
        message = await infer(backend, structured(schema))
        seconds = clock.monotonic() - began
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        assert json.loads(said(message))["a"] in values
        assert seconds < 10
        assert len(gaps) > 10
        assert max(gaps) < 2
