"""Chat completions as Messages: blocks, stop reasons, usage, and streams that mean the same however they are cut."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.backends import OpenAIBackend, Options, options_for
from slackwater.backends.events import StreamOrder, assembled
from slackwater.backends.openai.response import Asked, message_of, usage_of
from slackwater.backends.openai.stream import ChunkReader
from slackwater.domain.errors import (
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    NotFoundError,
)
from support.stub import COMPLETION, Stub, call, reply, sse

NONE_CACHED = {
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}
USAGE = {"prompt_tokens": 10, "completion_tokens": 3}


def asked(options: Options | None = None, **fields: Any) -> Asked:
    numbers = count(1)
    defaults: dict[str, Any] = {
        "model": "client-model",
        "max_tokens": 64,
        "stop_sequences": frozenset({"END"}),
        "prefill": "",
        "options": options or options_for("vllm"),
        "new_id": lambda prefix: f"{prefix}_{next(numbers)}",
    }
    return Asked(**(defaults | fields))


def completion(message: dict[str, Any], finish: Any = "stop", usage: Any = USAGE, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish, **choice}], "usage": usage}


def tool_call(arguments: Any = '{"a":1}', name: Any = "f", **more: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}} | more


TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}


def test_a_whole_answer() -> None:
    """An id of our own, the client's model name, every key of contract §7."""
    message = message_of(COMPLETION, asked())
    assert message == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "client-model",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 3} | NONE_CACHED,
    }


TEXT = {"type": "text", "text": "Hi"}
THINKING = {"type": "thinking", "thinking": "hm", "signature": ""}


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": "Hi"}, [TEXT]),
        ({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}, [TEXT]),
        ({"content": None}, []),
        ({"content": ""}, []),
        ({"content": "Hi", "reasoning_content": "hm"}, [THINKING, TEXT]),
        ({"content": "Hi", "reasoning": "hm"}, [THINKING, TEXT]),
        ({"content": "Hi", "reasoning": "hm", "reasoning_content": "hm"}, [THINKING, TEXT]),
        ({"content": "Hi", "reasoning_content": None, "tool_calls": None, "refusal": None}, [TEXT]),
        ({"content": None, "tool_calls": [tool_call()]}, [TOOL_USE]),
        ({"content": "Hi", "tool_calls": [tool_call()]}, [TEXT, TOOL_USE]),
        ({"content": "\n\n", "tool_calls": [tool_call()]}, [TOOL_USE]),
        ({"content": "\n", "reasoning_content": "hm"}, [THINKING]),
        ({"content": "\n"}, [{"type": "text", "text": "\n"}]),
        (
            {"tool_calls": [tool_call(), tool_call("{}", "g", id="toolu_x")]},
            [TOOL_USE, {"type": "tool_use", "id": "toolu_x", "name": "g", "input": {}}],
        ),
        ({"tool_calls": [tool_call({"a": 1})]}, [TOOL_USE]),
        ({"tool_calls": [tool_call("")]}, [TOOL_USE | {"input": {}}]),
        ({"tool_calls": [tool_call(None)]}, [TOOL_USE | {"input": {}}]),
        ({"function_call": {"name": "f", "arguments": '{"a":1}'}}, [TOOL_USE]),
    ],
)
def test_the_blocks_of_an_answer(message: dict[str, Any], content: list[dict[str, Any]]) -> None:
    """Thinking, text, calls, in this order; white space stands as text only where it is alone."""
    assert message_of(completion(message, "stop"), asked())["content"] == content


@pytest.mark.parametrize(
    ("finish", "choice", "expected"),
    [
        ("stop", {}, ("end_turn", None)),
        ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
        ("stop", {"matched_stop": "END"}, ("stop_sequence", "END")),
        ("stop", {"stop_reason": 151645}, ("end_turn", None)),
        ("stop", {"matched_stop": 151645}, ("end_turn", None)),
        ("stop", {"stop_reason": "</s>"}, ("end_turn", None)),
        ("length", {}, ("max_tokens", None)),
        ("content_filter", {}, ("refusal", None)),
        ("eos", {}, ("end_turn", None)),
        ("tool_calls", {}, ("end_turn", None)),
    ],
)
def test_why_an_answer_stopped(finish: str, choice: dict[str, Any], expected: tuple[str, str | None]) -> None:
    """A stop sequence is told where the server reports the one it met, and only if the client asked for it."""
    message = message_of(completion({"content": "Hi"}, finish, **choice), asked())
    assert (message["stop_reason"], message["stop_sequence"]) == expected


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call"])
def test_an_answer_with_calls_stopped_for_them(finish: str) -> None:
    """Some servers say `stop` when a named tool was demanded."""
    assert message_of(completion({"tool_calls": [tool_call()]}, finish), asked())["stop_reason"] == "tool_use"


def test_llamacpp_reports_its_stop_sequence_beside_the_choices() -> None:
    """Asked with `verbose`, it says which word it met."""
    answer = completion({"content": "Hi"}) | {"__verbose": {"stopping_word": "END"}}
    assert message_of(answer, asked())["stop_sequence"] == "END"


@pytest.mark.parametrize(
    ("flavour", "used", "expected"),
    [
        ("llamacpp", 3, "model_context_window_exceeded"),
        ("llamacpp", 64, "max_tokens"),
        ("vllm", 3, "max_tokens"),
    ],
)
def test_a_full_context_is_told_from_a_reached_limit(flavour: Any, used: int, expected: str) -> None:
    """Llama.cpp says `length` for both."""
    answer = completion({"content": "Hi"}, "length", {"prompt_tokens": 1, "completion_tokens": used})
    assert message_of(answer, asked(options_for(flavour)))["stop_reason"] == expected


def test_a_refusal_is_text_and_a_stop_reason() -> None:
    """What a model does is succeeded (contract §16.18)."""
    message = message_of(completion({"content": None, "refusal": "I cannot"}), asked())
    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": "I cannot"}], "refusal")


def test_a_call_that_was_cut_by_the_limit_is_left_out() -> None:
    """Half a JSON text is not a call; the stop_reason says what happened."""
    cut = completion({"content": "Hi", "tool_calls": [tool_call('{"a":')]}, "length")
    message = message_of(cut, asked())
    assert (message["content"], message["stop_reason"]) == ([TEXT], "max_tokens")


def test_a_repeated_prefill_is_cut_off() -> None:
    """Llama.cpp repeats the beginning it was given."""
    answer = completion({"content": '{"a": 1}'})
    assert message_of(answer, asked(prefill='{"a"'))["content"][0]["text"] == ": 1}"
    assert message_of(answer, asked(prefill="other"))["content"][0]["text"] == '{"a": 1}'


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, {"input_tokens": 10, "output_tokens": 3}),
        (
            USAGE | {"prompt_tokens_details": {"cached_tokens": 8}},
            {"input_tokens": 2, "cache_read_input_tokens": 8, "output_tokens": 3},
        ),
        (USAGE | {"prompt_tokens_details": {"cached_tokens": 99}}, {"input_tokens": 0, "cache_read_input_tokens": 10}),
        (USAGE | {"prompt_tokens_details": None, "completion_tokens_details": None}, {"input_tokens": 10}),
        (USAGE | {"prompt_tokens_details": {"cached_tokens": None}}, {"input_tokens": 10}),
        (
            USAGE | {"completion_tokens_details": {"reasoning_tokens": 2}},
            {"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 2}},
        ),
        (None, {"input_tokens": 0, "output_tokens": 0}),
    ],
)
def test_usage_excludes_what_was_cached(usage: Any, expected: dict[str, Any]) -> None:
    """Contract §7: prompt_tokens include cached tokens, input_tokens do not. No usage at all gives zeros."""
    counted = usage_of(usage, required=False)
    assert counted == {"input_tokens": 0, "output_tokens": 3} | NONE_CACHED | counted | expected


WRONG: dict[str, Any] = {
    "no choices": {"usage": USAGE},
    "empty choices": {"choices": [], "usage": USAGE},
    "choices of text": {"choices": ["x"], "usage": USAGE},
    "no message": {"choices": [{"finish_reason": "stop"}], "usage": USAGE},
    "a message of text": {"choices": [{"message": "x", "finish_reason": "stop"}], "usage": USAGE},
    "content that is a number": completion({"content": 7}),
    "content with an image": completion({"content": [{"type": "image_url"}]}),
    "no finish_reason": completion({"content": "Hi"}, None),
    "aborted": completion({"content": "Hi"}, "abort"),
    "an unknown finish_reason": completion({"content": "Hi"}, "because"),
    "calls that are no list": completion({"tool_calls": {"a": 1}}),
    "a call without function": completion({"tool_calls": [{"id": "x"}]}),
    "a call without name": completion({"tool_calls": [tool_call(name=None)]}),
    "arguments cut without a limit": completion({"tool_calls": [tool_call('{"a":')]}),
    "arguments that are a list": completion({"tool_calls": [tool_call("[1]")]}),
    "arguments with NaN": completion({"tool_calls": [tool_call('{"a":NaN}')]}),
    "arguments that are a number": completion({"tool_calls": [tool_call(7)]}),
    "arguments without bottom": completion({"tool_calls": [tool_call('{"a":' + "[" * 200 + "]" * 200 + "}")]}),
    "usage of text": completion({"content": "Hi"}, usage="x"),
    "negative usage": completion({"content": "Hi"}, usage={"prompt_tokens": -1}),
    "fractional usage": completion({"content": "Hi"}, usage={"prompt_tokens": 1.5}),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_shape_is_never_an_answer(answer: dict[str, Any]) -> None:
    """S7: truncated, unparsable or wrong-shaped answers are failed attempts."""
    with pytest.raises(AttemptFailedError):
        message_of(answer, asked())


def test_usage_can_be_demanded() -> None:
    """For operators who bill by it."""
    strict = replace(options_for("vllm"), usage_required=True)
    with pytest.raises(AttemptFailedError):
        message_of(completion({"content": "Hi"}, usage=None), asked(strict))


# Streams.


def read(chunks: Iterable[Any], asking: Asked | None = None, *, done: bool = True) -> list[dict[str, Any]]:
    """Return the events of some chunks, checked to be in the API's order."""
    asking = asking or asked()
    reader = ChunkReader(asked=asking)
    order = StreamOrder(new_id=asking.new_id)
    events = [order.passed(event) for chunk in chunks for event in reader.feed(chunk)]
    events += [order.passed(event) for event in reader.end(done=done)]
    order.end()
    return events


def chunk(finish: str | None = None, usage: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage}


LAST = {"choices": [], "usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 4}}}


def test_a_stream_of_text() -> None:
    """The exact events, in the exact order of contract §7.1."""
    chunks = [chunk(role="assistant", content=""), chunk(content="H"), chunk(content="i"), chunk("stop"), LAST]
    assert read(chunks) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "client-model",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0} | NONE_CACHED,
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "H"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "i"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 6, "output_tokens": 3} | NONE_CACHED | {"cache_read_input_tokens": 4},
        },
        {"type": "message_stop"},
    ]


def piece(index: int | None, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"index": index, "function": function} | more


async def message_from(chunks: Iterable[Any], asking: Asked | None = None) -> dict[str, Any]:
    async def events() -> AsyncIterator[dict[str, Any]]:
        for event in read(chunks, asking):
            yield event

    return await assembled(events(), new_id=lambda prefix: f"{prefix}_0")


async def test_calls_that_interleave_become_blocks_that_do_not() -> None:
    """Parallel calls by index: the first passes on at once, the second waits for its turn."""
    chunks = [
        chunk(tool_calls=[piece(0, "", id="c0", name="f")]),
        chunk(tool_calls=[piece(1, '{"b"', id="c1", name="g")]),
        chunk(tool_calls=[piece(0, '{"a":1}')]),
        chunk(tool_calls=[piece(1, ":2}")]),
        chunk("tool_calls"),
        LAST,
    ]
    message = await message_from(chunks)
    assert [(block["name"], block["input"]) for block in message["content"]] == [("f", {"a": 1}), ("g", {"b": 2})]
    assert message["stop_reason"] == "tool_use"


async def test_calls_under_one_index_are_told_apart_by_their_ids() -> None:
    """Some servers number every parallel call 0, some not at all."""
    for index in (0, None):
        chunks = [
            chunk(tool_calls=[piece(index, '{"a":1}', id="c0", name="f")]),
            chunk(tool_calls=[piece(index, '{"b":2}', id="c1", name="g")]),
            chunk("tool_calls"),
            LAST,
        ]
        assert [block["input"] for block in (await message_from(chunks))["content"]] == [{"a": 1}, {"b": 2}]


async def test_what_comes_after_a_call_waits_for_its_end() -> None:
    """Text or thinking after a call becomes a block of its own behind the calls."""
    chunks = [
        chunk(content="\n", tool_calls=[piece(0, "{", id="c0", name="f")]),
        chunk(content=" well"),
        chunk(reasoning_content="hm"),
        chunk(tool_calls=[piece(0, "}")]),
        chunk("stop"),
        LAST,
    ]
    message = await message_from(chunks)
    assert [block["type"] for block in message["content"]] == ["tool_use", "text", "thinking"]
    assert message["content"][1]["text"] == " well"


async def test_a_prefill_is_cut_off_however_it_comes() -> None:
    """The repeated beginning may be spread over chunks, incomplete, or not repeated at all."""
    for pieces, rest in (
        (['{"', 'a"', ": 1}"], ": 1}"),
        (['{"a": 1}'], ": 1}"),
        (['{"'], '{"'),
        (['{"b', '"}'], '{"b"}'),
    ):
        chunks = [*(chunk(content=text) for text in pieces), chunk("stop"), LAST]
        message = await message_from(chunks, asked(prefill='{"a"'))
        assert message["content"] == [{"type": "text", "text": rest}]


async def test_a_refusal_in_a_stream() -> None:
    """The refusal's text streams as text."""
    message = await message_from([chunk(refusal="I "), chunk(refusal="cannot"), chunk("stop"), LAST])
    assert (message["content"][0]["text"], message["stop_reason"]) == ("I cannot", "refusal")


async def test_a_stop_sequence_in_a_stream() -> None:
    """Reported in the choice, or beside the choices in any chunk."""
    told = chunk("stop")
    told["choices"][0]["stop_reason"] = "END"
    assert (await message_from([chunk(content="x"), told, LAST]))["stop_sequence"] == "END"
    verbose = chunk(content="x") | {"__verbose": {"stopping_word": "END"}}
    assert (await message_from([verbose, chunk("stop"), LAST]))["stop_sequence"] == "END"


CUT: dict[str, tuple[list[Any], bool]] = {
    "nothing": ([], False),
    "only the end mark": ([], True),
    "no finish_reason": ([chunk(content="x"), LAST], True),
    "no end mark and no usage": ([chunk(content="x"), chunk("stop")], False),
    "cut in a call": ([chunk(tool_calls=[piece(0, "{", id="c", name="f")])], False),
    "a call that never got a name": ([chunk(tool_calls=[piece(0, "{}", id="c")]), chunk("stop"), LAST], True),
    "a chunk that is a list": ([[1]], True),
    "a chunk without choices": ([{}], True),
    "a delta of text": ([{"choices": [{"delta": "x"}]}], True),
    "calls that are no list": ([chunk(tool_calls={"a": 1})], True),
    "a call that is text": ([chunk(tool_calls=["x"])], True),
    "an unknown finish_reason": ([chunk("because"), LAST], True),
    "usage that is text": ([chunk("stop"), LAST | {"usage": "x"}], True),
}


@pytest.mark.parametrize(("chunks", "done"), CUT.values(), ids=CUT.keys())
def test_a_stream_that_is_cut_or_wrong_is_a_failed_attempt(chunks: list[Any], *, done: bool) -> None:
    """S7: no end is made up for a stream that has none."""
    with pytest.raises(AttemptFailedError):
        read(chunks, done=done)


def cut_text(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


WORDS = st.text(alphabet=st.sampled_from('ab \n{"é🙂'), max_size=12)
INPUTS = st.dictionaries(WORDS, st.one_of(WORDS, st.integers(-9, 9), st.lists(st.booleans())), max_size=3)


@settings(deadline=None)
@given(WORDS, WORDS, st.lists(INPUTS, max_size=3), WORDS, st.sampled_from(["stop", "length"]), st.data())
async def test_any_cut_of_the_chunks_gives_the_whole_answer(  # what hypothesis draws
    thinking: str, text: str, inputs: list[dict[str, Any]], prefill: str, finish: str, data: st.DataObject
) -> None:
    """The message assembled from a stream is the message translated from the whole completion, ids aside."""
    calls = [tool_call(json.dumps(value), f"f{index}", id=f"c{index}") for index, value in enumerate(inputs)]
    usage = USAGE | {"prompt_tokens_details": {"cached_tokens": 3}}
    said = {"content": text, "reasoning_content": thinking, "tool_calls": calls}
    whole = message_of(completion(said, finish, usage), asked(prefill=prefill))
    chunks = [chunk(role="assistant", content="")]
    chunks += [chunk(reasoning_content=part) for part in cut_text(data, thinking)]
    chunks += [chunk(content=part) for part in cut_text(data, text)]
    for index, made in enumerate(calls):
        first, *rest = cut_text(data, made["function"]["arguments"])
        chunks.append(chunk(tool_calls=[piece(index, first, id=made["id"], name=made["function"]["name"])]))
        chunks += [chunk(tool_calls=[piece(index, part)]) for part in rest]
    chunks += [chunk(finish), {"choices": [], "usage": usage}]
    assembled_message = await message_from(chunks, asked(prefill=prefill))
    assert without_ids(assembled_message) == without_ids(whole)


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    blocks = [{key: value for key, value in block.items() if key != "id"} for block in message["content"]]
    return message | {"id": "", "content": blocks}


# The client.


@pytest.fixture
def made(stub: Stub, plain: dict[str, Any]) -> Any:
    """Make backends of a flavour against the stub."""
    return lambda options=None, suffix="": OpenAIBackend(url=stub.url + suffix, options=options, **plain)


async def test_a_call_goes_to_chat_completions_with_a_bearer_key(made: Any, stub: Stub) -> None:
    """Under the root of the url, whether or not it ends in /v1."""
    stub.answers = [reply(COMPLETION)]
    for suffix in ("", "/v1", "/v1/"):
        backend = made(options_for("vllm"), suffix)
        message = await backend.infer(call())
        assert message["model"] == "client-model"
        await backend.close()
    assert {request.path for request in stub.received} == {"/v1/chat/completions"}
    assert stub.received[0].headers["authorization"] == "Bearer sk-backend-secret"
    assert stub.received[0].json["model"] == "upstream/model"


@pytest.mark.parametrize(
    ("owner", "flavour"),
    [("vllm", "vllm"), ("sglang", "sglang"), ("llamacpp", "llamacpp"), ("library", "ollama"), ("someone", "auto")],
)
async def test_a_server_that_is_not_named_is_asked_who_it_is(made: Any, stub: Stub, owner: str, flavour: str) -> None:
    """Once, at the first call; a stranger gets cautious defaults."""
    backend = made()
    stub.answers = [
        reply({"data": [{"id": "m", "owned_by": owner}]}),
        sse(chunk(content="x"), chunk("stop"), LAST) if flavour == "llamacpp" else reply(COMPLETION),
    ]
    await backend.infer(call())
    await backend.infer(call())
    assert [request.method for request in stub.received] == ["GET", "POST", "POST"]
    assert (await backend._known_options()).flavour == flavour
    await backend.close()


async def test_a_server_without_a_list_of_models_gets_cautious_defaults(made: Any, stub: Stub) -> None:
    """A 404 there is no reason to fail."""
    backend = made()
    stub.answers = [reply(status=404), reply(COMPLETION)]
    assert (await backend.infer(call()))["stop_reason"] == "end_turn"
    await backend.close()


async def test_llamacpp_is_always_asked_for_a_stream(made: Any, stub: Stub) -> None:
    """It notices a caller that has gone only while it streams; no connection is used twice."""
    backend = made(options_for("llamacpp"))
    stub.answers = [sse(chunk(content="Hi"), chunk("stop"), LAST)]
    message = await backend.infer(call())
    assert message["content"] == [TEXT]
    assert message["usage"]["cache_read_input_tokens"] == 4
    sent = stub.received[0]
    assert sent.json["stream"] is True
    assert sent.json["return_progress"] is True
    assert sent.headers["connection"] == "close"
    await backend.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "busy", "code": 429}, BackendAwayError),
        ({"message": "no such model", "code": 404}, NotFoundError),
        ({"message": "bad", "code": 400}, InvalidRequestError),
        ({"message": "bad", "code": 500}, AttemptFailedError),
        ({"message": "bad"}, AttemptFailedError),
        ("bad", AttemptFailedError),
    ],
)
async def test_an_error_that_comes_with_200_is_still_an_error(
    made: Any, stub: Stub, error: object, expected: type[Exception]
) -> None:
    """F16: whole or in a stream; a status in the body counts as if it had come as one."""
    backend = made(options_for("vllm"))
    stub.answers = [reply({"error": error}), sse(chunk(content="x"), {"error": error})]
    with pytest.raises(expected):
        await backend.infer(call())
    with pytest.raises(expected):
        _ = [event async for event in backend.stream(call())]
    await backend.close()


async def test_a_model_that_cannot_see_refuses_the_request(made: Any, stub: Stub) -> None:
    """Llama.cpp says so with a 500, which would be tried in vain again."""
    backend = made(options_for("vllm"))
    stub.answers = [reply({"error": {"message": "image input is not supported - hint: mmproj"}}, status=500)]
    with pytest.raises(InvalidRequestError):
        await backend.infer(call())
    await backend.close()


async def test_a_stream_asks_for_usage_and_passes_on(made: Any, stub: Stub) -> None:
    """From `message_start` to `message_stop`."""
    backend = made(options_for("vllm"))
    stub.answers = [sse(chunk(content="Hi"), chunk("stop"), LAST)]
    events = [event async for event in backend.stream(call())]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert stub.received[0].json["stream_options"] == {"include_usage": True}
    await backend.close()


async def test_a_stream_that_is_cut_on_the_way_is_a_failed_attempt(made: Any, stub: Stub) -> None:
    """S7: the connection ends between two chunks."""
    backend = made(options_for("vllm"))
    stub.answers = [sse(chunk(content="Hi"), end=b"")]
    with pytest.raises(AttemptFailedError):
        _ = [event async for event in backend.stream(call())]
    await backend.close()


async def test_vllm_counts_tokens_of_messages(made: Any, stub: Stub) -> None:
    """Tools count as well."""
    backend = made(options_for("vllm"), "/v1")
    stub.answers = [reply({"count": 17, "tokens": []})]
    tools = [{"name": "f", "input_schema": {}}]
    assert await backend.count_tokens(call(tools=tools)) == 17
    assert stub.received[0].path == "/tokenize"
    assert set(stub.received[0].json) == {"model", "messages", "tools", "add_generation_prompt"}
    await backend.close()


async def test_llamacpp_counts_tokens_of_what_its_template_makes(made: Any, stub: Stub) -> None:
    """Two steps for a server that cannot count a chat's tokens by itself: the template, then the tokenizer."""
    backend = made(options_for("llamacpp"))
    stub.answers = [reply(status=404), reply({"prompt": "<|user|>Hello"}), reply({"tokens": [1, 2, 3]})]
    assert await backend.count_tokens(call()) == 3
    paths = [request.path for request in stub.received]
    assert paths == ["/v1/chat/completions/input_tokens", "/apply-template", "/tokenize"]
    assert stub.received[2].json["content"] == "<|user|>Hello"
    await backend.close()


async def test_a_server_that_cannot_count_says_so(made: Any, stub: Stub) -> None:
    """No such endpoint, an odd answer, no tokenizer known, or images: None lets the caller estimate."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
    for flavour, asking, answer in (
        ("vllm", call(), reply(status=404)),
        ("vllm", call(), reply({"count": "many"})),
        ("llamacpp", call(), reply(status=404)),
        ("sglang", call(), reply(status=500)),
        ("vllm", call(messages=[{"role": "user", "content": [image]}]), reply(status=500)),
    ):
        backend = made(options_for(flavour))
        stub.answers = [answer]
        assert await backend.count_tokens(asking) is None
        await backend.close()


async def test_models_are_listed(made: Any, stub: Stub) -> None:
    """The ids, as they are to be configured."""
    backend = made(options_for("vllm"))
    stub.answers = [reply({"object": "list", "data": [{"id": "a"}]})]
    assert await backend.models() == ["a"]
    assert backend.name == "gpu0"
    await backend.close()
