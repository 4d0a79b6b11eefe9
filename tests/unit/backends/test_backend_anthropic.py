"""The Messages protocol: what passes through, what is filled in, and what is never taken for an answer."""

from typing import Any

import pytest

from slackwater.backends import AnthropicBackend
from slackwater.domain.errors import (
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    NotFoundError,
)
from slackwater.ports import Call
from support.stub import MESSAGE, Stub, call, reply, sse

USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 3,
}


@pytest.fixture
async def backend(stub: Stub, plain: dict[str, Any]) -> Any:
    """Run an Anthropic backend against the stub."""
    made = AnthropicBackend(url=stub.url + "/v1/", **plain)
    yield made
    await made.close()


async def test_params_pass_through_apart_from_the_model(backend: AnthropicBackend, stub: Stub) -> None:
    """The body is the client's, the model is the upstream's, version and betas are those of the call."""
    stub.answers = [reply(MESSAGE)]
    params = {
        "model": "client-model",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "x"}}]}],
        "temperature": 0.5,
        "an_extension": {"deep": [1, 2]},
        "stream": False,
    }
    await backend.infer(Call(params=params, upstream="up", version="2023-06-01", betas=("a-1", "b-2")))
    sent = stub.received[0]
    assert sent.path == "/v1/messages"
    assert sent.json == {key: value for key, value in params.items() if key != "stream"} | {"model": "up"}
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert sent.headers["anthropic-beta"] == "a-1,b-2"
    assert sent.headers["x-api-key"] == "sk-backend-secret"
    assert sent.headers["authorization"] == "Bearer sk-backend-secret"


def test_the_hosted_api_gets_its_key_in_one_header(plain: dict[str, Any]) -> None:
    """Elsewhere the key goes under both names, since vLLM knows only the other one."""
    headers = AnthropicBackend(url="https://api.anthropic.com", **plain)._http._headers
    assert headers["x-api-key"] == "sk-backend-secret"
    assert "Authorization" not in headers


async def test_a_bare_engines_answer_is_filled_in(backend: AnthropicBackend, stub: Stub) -> None:
    """Engines leave out cache figures; clients get every key of contract §7, in the API's order."""
    stub.answers = [reply(MESSAGE | {"id": "chatcmpl-9", "usage": {"input_tokens": 10, "output_tokens": 3}, "x": 1})]
    message = await backend.infer(call())
    assert message == MESSAGE | {"id": "msg_1", "usage": USAGE}
    assert list(message)[:8] == list(MESSAGE)


async def test_a_complete_answer_is_kept_as_it_is(backend: AnthropicBackend, stub: Stub) -> None:
    """S7: what the hosted service says is what the client gets."""
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "text", "text": "Hi", "citations": [{"type": "char_location", "cited_text": "x"}]},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, {"b": None}]}},
        {"type": "a_block_yet_to_come", "anything": 1},
    ]
    usage = USAGE | {"service_tier": "standard", "output_tokens_details": {"thinking_tokens": 2}}
    whole = MESSAGE | {"content": content, "usage": usage, "stop_details": {"type": "refusal"}}
    stub.answers = [reply(whole)]
    assert await backend.infer(call()) == whole


@pytest.mark.parametrize(
    ("usage", "five_minutes", "hour"),
    [
        ({"cache_creation_input_tokens": 7}, 7, 0),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}}, 4, 3),
        (
            {
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            },
            4,
            3,
        ),
        ({"cache_creation_input_tokens": None, "cache_creation": None}, 0, 0),
    ],
)
async def test_cache_writes_are_split_by_lifetime(
    backend: AnthropicBackend, stub: Stub, usage: dict[str, Any], five_minutes: int, hour: int
) -> None:
    """Contract §10: the total is the sum of its parts; an unsplit total counts as 5-minute writes."""
    stub.answers = [reply(MESSAGE | {"usage": {"input_tokens": 1, "output_tokens": 1} | usage})]
    counted = (await backend.infer(call()))["usage"]
    assert counted["cache_creation_input_tokens"] == five_minutes + hour
    assert counted["cache_creation"] == {
        "ephemeral_5m_input_tokens": five_minutes,
        "ephemeral_1h_input_tokens": hour,
    }


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def test_a_stop_sequence_is_called_one(backend: AnthropicBackend, stub: Stub) -> None:
    """Llama.cpp names the sequence it met and calls it an end_turn all the same, whole and streamed."""
    stub.answers = [reply(MESSAGE | {"stop_sequence": "END"})]
    assert (await backend.infer(call()))["stop_reason"] == "stop_sequence"
    delta = {"stop_reason": "end_turn", "stop_sequence": "END"}
    stub.answers = [sse(START, END | {"delta": delta}, STOP)]
    assert (await streamed(backend))[1]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


WRONG: dict[str, dict[str, Any]] = {
    "another type": {"type": "completion"},
    "another role": {"role": "user"},
    "content is text": {"content": "Hi"},
    "content is null": {"content": None},
    "a block is text": {"content": ["Hi"]},
    "a block without type": {"content": [{"text": "Hi"}]},
    "a text block without text": {"content": [{"type": "text"}]},
    "a text that is a number": {"content": [{"type": "text", "text": 7}]},
    "a thinking block without thinking": {"content": [{"type": "thinking"}]},
    "a tool_use without id": {"content": [{"type": "tool_use", "name": "f", "input": {}}]},
    "a tool_use without name": {"content": [{"type": "tool_use", "id": "t", "name": "", "input": {}}]},
    "a tool_use with a list": {"content": [{"type": "tool_use", "id": "t", "name": "f", "input": []}]},
    "a bottomless tool_use": {"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": nested(200)}}]},
    "no stop_reason": {"stop_reason": None},
    "an unknown stop_reason": {"stop_reason": "because"},
    "a stop_sequence that is a list": {"stop_sequence": []},
    "no usage": {"usage": None},
    "an empty usage": {"usage": {}},
    "a negative count": {"usage": {"input_tokens": -1, "output_tokens": 1}},
    "a fractional count": {"usage": {"input_tokens": 1.5, "output_tokens": 1}},
    "a boolean count": {"usage": {"input_tokens": True, "output_tokens": 1}},
    "a count that is text": {"usage": {"input_tokens": "1", "output_tokens": 1}},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_shape_is_never_an_answer(backend: AnthropicBackend, stub: Stub, wrong: dict[str, Any]) -> None:
    """S7: every part of a Message that a client relies on is checked."""
    stub.answers = [reply(MESSAGE | wrong)]
    with pytest.raises(AttemptFailedError) as failed:
        await backend.infer(call())
    assert failed.value.error.message == "The backend's answer was not valid."


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ([{"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/"}}], "messages.0.content.0.image"),
        ([{"type": "document", "source": {"type": "url", "url": "http://x/"}}], "messages.0.content.0.document"),
        ([{"type": "document", "source": {"type": "file", "file_id": "file_1"}}], "messages.0.content.0.document"),
        (
            [{"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/"}}]}],
            "messages.0.content.0.content.0.image",
        ),
        (
            [
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "image", "source": {"type": "url"}}]},
                }
            ],
            "messages.0.content.0.source.content.0.image",
        ),
    ],
)
async def test_addresses_and_file_ids_never_reach_a_backend(
    backend: AnthropicBackend, stub: Stub, content: list[Any], path: str
) -> None:
    """E1: a URL would be fetched from wherever the backend stands; the request is refused and nothing is sent."""
    with pytest.raises(InvalidRequestError) as refused:
        await backend.infer(call(messages=[{"role": "user", "content": content}]))
    assert refused.value.message.startswith(f"{path}.source: ")
    assert stub.received == []


async def test_addresses_pass_where_the_operator_says_so(stub: Stub, plain: dict[str, Any]) -> None:
    """A hosted service outside one's own network may fetch."""
    backend = AnthropicBackend(url=stub.url, pass_urls=True, **plain)
    stub.answers = [reply(MESSAGE)]
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    await backend.infer(call(messages=[{"role": "user", "content": [image]}]))
    assert stub.received[0].json["messages"][0]["content"] == [image]
    await backend.close()


async def test_an_unknown_model_is_named_as_the_client_knows_it(backend: AnthropicBackend, stub: Stub) -> None:
    """Contract §2.3: `model: <name>`, in the client's words."""
    error = {"type": "error", "error": {"type": "not_found_error", "message": "model: upstream/model"}}
    stub.answers = [reply(error, status=404)]
    with pytest.raises(NotFoundError, match=r"^model: client-model$"):
        await backend.infer(call())


async def test_tokens_are_counted_without_what_only_generation_needs(backend: AnthropicBackend, stub: Stub) -> None:
    """Contract §7.2: max_tokens and its like are not part of that body."""
    stub.answers = [reply({"input_tokens": 2095})]
    assert await backend.count_tokens(call(system="Be brief", temperature=1, tools=[])) == 2095
    sent = stub.received[0]
    assert sent.path == "/v1/messages/count_tokens"
    assert set(sent.json) == {"model", "messages", "system", "tools"}


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_engine_that_cannot_count_says_so(backend: AnthropicBackend, stub: Stub, status: int) -> None:
    """None lets the caller estimate."""
    stub.answers = [reply({"detail": "Not Found"}, status=status)]
    assert await backend.count_tokens(call()) is None


@pytest.mark.parametrize("counted", [{}, [], {"input_tokens": -1}, {"input_tokens": "7"}])
async def test_a_count_that_is_not_one_fails(backend: AnthropicBackend, stub: Stub, counted: object) -> None:
    """S7 holds for counts as well."""
    stub.answers = [reply(counted)]
    with pytest.raises(AttemptFailedError):
        await backend.count_tokens(call())


@pytest.mark.parametrize(
    ("listing", "names"), [({"data": [{"id": "a"}, {"id": "b"}, {"x": 1}]}, ["a", "b"]), ({"data": None}, [])]
)
async def test_models_are_listed(backend: AnthropicBackend, stub: Stub, listing: object, names: list[str]) -> None:
    """Both styles of list have `data` with ids."""
    stub.answers = [reply(listing)]
    assert await backend.models() == names
    assert backend.name == "gpu0"


# Streams.

START = {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}}
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
CLOSE = {"type": "content_block_stop", "index": 0}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}


async def streamed(backend: AnthropicBackend) -> list[dict[str, Any]]:
    return [event async for event in backend.stream(call())]


async def test_a_stream_passes_through(backend: AnthropicBackend, stub: Stub) -> None:
    """Events pass as they come, with `message_start` filled in, to `message_stop` and no further."""
    sent = [START, PING, OPEN, DELTA, {"type": "an_event_yet_to_come"}, CLOSE, END, STOP]
    stub.answers = [sse(*sent)]
    events = await streamed(backend)
    assert events[1:] == sent[1:]
    assert events[0]["message"]["usage"] == USAGE
    assert stub.received[0].json["stream"] is True


async def test_starts_of_blocks_are_filled_in(backend: AnthropicBackend, stub: Stub) -> None:
    """Llama.cpp leaves `input` out of the start of a tool_use; the SDKs read it."""
    tool = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}}
    stub.answers = [sse(START, tool, CLOSE, END, STOP)]
    assert (await streamed(backend))[1]["content_block"]["input"] == {}


async def test_counts_may_be_null_until_the_end(backend: AnthropicBackend, stub: Stub) -> None:
    """The API's own types allow null input figures in `message_delta`."""
    usage = {"output_tokens": 3, "input_tokens": None, "cache_read_input_tokens": None}
    start = START | {"message": MESSAGE | {"usage": {"input_tokens": 10, "output_tokens": None}}}
    stub.answers = [sse(start, END | {"usage": usage}, STOP)]
    events = await streamed(backend)
    assert events[0]["message"]["usage"] == USAGE | {"output_tokens": 0}
    assert events[1]["usage"] == usage


DISORDER: dict[str, list[dict[str, Any]]] = {
    "no message_start": [OPEN, DELTA, CLOSE, END, STOP],
    "two starts": [START, START, END, STOP],
    "a delta with no block": [START, DELTA, END, STOP],
    "a block in a block": [START, OPEN, OPEN | {"index": 1}, CLOSE, END, STOP],
    "a wrong index": [START, OPEN | {"index": 1}, CLOSE, END, STOP],
    "a delta of another block": [START, OPEN, DELTA | {"index": 3}, CLOSE, END, STOP],
    "a delta without type": [START, OPEN, DELTA | {"delta": {}}, CLOSE, END, STOP],
    "an open block at the end": [START, OPEN, DELTA, END, STOP],
    "no stop_reason": [START, OPEN, DELTA, CLOSE, STOP],
    "an unknown stop_reason": [START, END | {"delta": {"stop_reason": "because"}}, STOP],
    "no usage": [START, OPEN, DELTA, CLOSE, END | {"usage": None}, STOP],
    "no output_tokens": [START, OPEN, DELTA, CLOSE, END | {"usage": {}}, STOP],
    "cut before the end": [START, OPEN, DELTA],
    "cut before message_stop": [START, OPEN, DELTA, CLOSE, END],
    "nothing at all": [],
    "an event without type": [START, {"index": 0}],
    "not an object": [START, [1]],  # type: ignore[list-item]
    "an error in between": [START, OPEN, {"type": "error", "error": {"type": "api_error", "message": "x"}}],
}


@pytest.mark.parametrize("events", DISORDER.values(), ids=DISORDER.keys())
async def test_a_stream_out_of_order_or_cut_is_a_failed_attempt(
    backend: AnthropicBackend, stub: Stub, events: list[dict[str, Any]]
) -> None:
    """S7: a stream counts only when it is whole and in order."""
    stub.answers = [sse(*events, end=b"")]
    with pytest.raises(AttemptFailedError):
        await streamed(backend)


async def test_an_event_that_is_not_json_is_a_failed_attempt(backend: AnthropicBackend, stub: Stub) -> None:
    """S7: NaN and cut JSON are no events."""
    stub.answers = [sse(START, end=b'data: {"type": NaN}\n\n')]
    with pytest.raises(AttemptFailedError):
        await streamed(backend)


async def test_overload_inside_a_stream_means_that_the_backend_is_full(backend: AnthropicBackend, stub: Stub) -> None:
    """X7: the hosted service reports overload after a 200."""
    stub.answers = [sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})]
    with pytest.raises(BackendAwayError) as away:
        await streamed(backend)
    assert away.value.full


async def test_an_answer_in_place_of_a_stream_is_a_failed_attempt(backend: AnthropicBackend, stub: Stub) -> None:
    """A server that ignores `stream` is not understood as one that streams."""
    stub.answers = [reply(MESSAGE)]
    with pytest.raises(AttemptFailedError):
        await streamed(backend)


async def test_a_refusal_in_place_of_a_stream_is_told(backend: AnthropicBackend, stub: Stub) -> None:
    """X7: a 400 is a 400, streaming or not."""
    stub.answers = [reply({"error": {"message": "no"}}, status=400)]
    with pytest.raises(InvalidRequestError, match=r"^no$"):
        await streamed(backend)


@pytest.mark.parametrize(("owner", "reads"), [("vllm", False), ("library", False), ("llamacpp", False), (None, True)])
async def test_an_engine_that_drops_documents_is_given_text(
    stub: Stub, plain: dict[str, Any], owner: str | None, *, reads: bool
) -> None:
    """Invariant 10: such engines answer without having read the document. It is asked once who it is."""
    backend = AnthropicBackend(url=stub.url, **plain)
    listed = {"data": [{"id": "m", **({"owned_by": owner} if owner else {})}]}
    stub.answers = [reply(listed), reply(MESSAGE)]
    assert [bool(await backend.reads()) for _ in range(2)] == [reads, reads]
    source = {"type": "text", "media_type": "text/plain", "data": "Once."}
    block = {"type": "document", "source": source, "title": "T", "cache_control": {"type": "ephemeral"}}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}
    drawn = {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "p"}, picture]}}
    found = {"type": "search_result", "title": "R", "source": "s", "content": [{"type": "text", "text": "x"}]}
    await backend.infer(call(messages=[{"role": "user", "content": [block, drawn, found]}]))
    text = {"type": "text", "text": "<document>\n<title>T</title>\nOnce.\n</document>"} | {
        "cache_control": block["cache_control"]
    }
    pages = [{"type": "text", "text": "<document>"}, {"type": "text", "text": "p"}, picture]
    told = [text, *pages, {"type": "text", "text": "</document>"}]
    told.append({"type": "text", "text": "<search_result>\n<title>R</title>\n<source>s</source>\nx\n</search_result>"})
    assert stub.received[-1].json["messages"][0]["content"] == ([block, drawn, found] if reads else told)
    assert len(stub.received) == 2
    await backend.close()


async def test_the_operator_s_word_about_documents_counts(stub: Stub, plain: dict[str, Any]) -> None:
    """Nobody is asked; the hosted API is known."""
    for documents in (True, False):
        assert bool(await AnthropicBackend(url=stub.url, documents=documents, **plain).reads()) is documents
    assert await AnthropicBackend(url="https://api.anthropic.com", **plain).reads() == {"pdf", "citations"}
    assert stub.received == []
