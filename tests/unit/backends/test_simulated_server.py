"""The simulator over HTTP: both protocols, and every way in which an answer can go wrong on a wire."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest

from slackwater.backends.simulated import SimulatedOptions
from slackwater.backends.simulated.engine import Engine
from slackwater.backends.simulated.prompt import digest_of
from slackwater.backends.simulated.server import SimulatorServer
from slackwater.clock import SystemClock

MESSAGES = "/v1/messages"
CHAT = "/v1/chat/completions"
FUNCTION = {
    "type": "function",
    "function": {
        "name": "lookup",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Wire:
    """A running simulator and a client."""

    def __init__(self, engine: Engine, url: str, session: aiohttp.ClientSession) -> None:
        self.engine = engine
        self.url = url
        self.session = session

    async def post(self, path: str, text: str = "hello", **more: Any) -> tuple[int, Any]:
        async with self.session.post(self.url + path, json=body_of(text, **more)) as response:
            return response.status, await response.json()

    async def raw(self, path: str, text: str, **more: Any) -> bytes:
        async with self.session.post(self.url + path, json=body_of(text, **more)) as response:
            return await response.read()

    async def stats(self) -> dict[str, int]:
        async with self.session.get(f"{self.url}/stats") as response:
            return await response.json()


def body_of(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 1_000, "messages": [{"role": "user", "content": text}], **more}


@asynccontextmanager
async def simulator(api_key: str | None = None, **options: Any) -> AsyncIterator[Wire]:
    engine = Engine(SimulatedOptions(**{"latency_ms": 0, **options}), SystemClock())
    server = SimulatorServer(engine, api_key=api_key)
    port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Wire(engine, f"http://127.0.0.1:{port}", session)
    finally:
        await server.close()


def events_of(raw: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in raw.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


async def test_messages_and_chat_completions_say_the_same() -> None:
    """S7: one model behind two protocols; both answers carry the digest of what was asked."""
    async with simulator() as wire:
        status, message = await wire.post(MESSAGES)
        chat_status, completion = await wire.post(CHAT)
    expected = f"[simulated {digest_of(body_of())}] hello"
    assert (status, chat_status) == (200, 200)
    assert message["content"] == [{"type": "text", "text": expected}]
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": expected}
    assert (message["model"], completion["model"]) == ("m", "m")
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert completion["usage"]["prompt_tokens"] == message["usage"]["input_tokens"]
    assert completion["usage"]["completion_tokens"] == message["usage"]["output_tokens"]


async def test_the_official_client_reads_answers_streams_and_counts() -> None:
    """Contract §7.1: named events in order."""
    async with simulator() as wire:
        client = anthropic.AsyncAnthropic(base_url=wire.url, api_key="any", max_retries=0)
        asked: Any = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello there"}]}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            pieces = [piece async for piece in stream.text_stream]
            final = await stream.get_final_message()
        counted = await client.messages.count_tokens(model="m", messages=asked["messages"])
        models = [model.id async for model in client.models.list()]
        await client.close()
    assert "".join(pieces) == whole.content[0].text == final.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert counted.input_tokens == whole.usage.input_tokens
    assert models == ["simulated"]


async def test_chat_tools_are_called_and_their_results_read() -> None:
    """`required` calls the first tool; arguments are a JSON string; a tool message is mentioned."""
    async with simulator() as wire:
        _, completion = await wire.post(CHAT, tools=[FUNCTION], tool_choice="required")
        choice = completion["choices"][0]
        [call] = choice["message"]["tool_calls"]
        messages = [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "rain"},
        ]
        _, answer = await wire.post(CHAT, messages=messages, tools=[FUNCTION])
        _, named = await wire.post(
            CHAT, tools=[FUNCTION], tool_choice={"type": "function", "function": {"name": "lookup"}}
        )
    assert choice["finish_reason"] == "tool_calls"
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)
    assert f"[tool_result {call['id']}: rain]" in answer["choices"][0]["message"]["content"]
    assert named["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "lookup"


async def test_chat_system_images_stop_reasoning_and_formats_are_understood() -> None:
    """What a full translation has to send."""
    picture = "data:image/png;base64," + base64.b64encode(b"twelve bytes").decode()
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": picture}}]
    schema = {"type": "object", "properties": {"mood": {"enum": ["good"]}}, "required": ["mood"]}
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with simulator() as wire:
        _, seen = await wire.post(CHAT, messages=messages)
        _, stopped = await wire.post(CHAT, "one STOP two", stop="STOP")
        _, cut = await wire.post(CHAT, "long " * 50, max_completion_tokens=3)
        _, reasoned = await wire.post(CHAT, reasoning_effort="low")
        _, formed = await wire.post(CHAT, response_format=wanted)
        _, refused = await wire.post(CHAT, "[[sim:stop=refusal]]")
    assert "[image/png 12 bytes]" in seen["choices"][0]["message"]["content"]
    assert stopped["choices"][0]["message"]["content"].endswith("one ")
    assert cut["choices"][0]["finish_reason"] == "length"
    assert reasoned["choices"][0]["message"]["reasoning_content"]
    assert reasoned["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert json.loads(formed["choices"][0]["message"]["content"]) == {"mood": "good"}
    assert refused["choices"][0]["finish_reason"] == "content_filter"


async def test_a_chat_stream_adds_up_to_the_whole_answer() -> None:
    """Deltas, tool arguments in pieces, a finish reason, usage when asked for, `[DONE]`."""
    asked: dict[str, Any] = {"tools": [FUNCTION], "tool_choice": "required", "reasoning_effort": "high"}
    async with simulator() as wire:
        _, whole = await wire.post(CHAT, "some words " * 20, **asked)
        raw = await wire.raw(CHAT, "some words " * 20, stream=True, stream_options={"include_usage": True}, **asked)
    chunks = events_of(raw)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    message = whole["choices"][0]["message"]
    assert raw.endswith(b"data: [DONE]\n\n")
    assert "".join(delta.get("content", "") for delta in deltas) == message["content"]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == message["reasoning_content"]
    assert "".join(c["function"]["arguments"] for c in calls) == message["tool_calls"][0]["function"]["arguments"]
    assert calls[0]["id"] == message["tool_calls"][0]["id"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"] == whole["usage"]


async def test_cached_tokens_are_reported_in_either_protocol() -> None:
    """Messages excludes them from input_tokens, Chat Completions includes them in prompt_tokens."""
    async with simulator(cache_tokens=10_000) as wire:
        await wire.post(MESSAGES, "p" * 4_000 + "one")
        _, message = await wire.post(MESSAGES, "p" * 4_000 + "two")
        _, completion = await wire.post(CHAT, "p" * 4_000 + "two")
    usage = message["usage"]
    assert usage["cache_read_input_tokens"] == 992
    assert completion["usage"]["prompt_tokens_details"]["cached_tokens"] == 992
    assert completion["usage"]["prompt_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]


@pytest.mark.parametrize(
    ("order", "status", "kind"),
    [
        ("status=429", 429, "rate_limit_error"),
        ("status=529", 529, "overloaded_error"),
        ("status=500", 500, "api_error"),
        ("status=503", 503, "api_error"),
        ("status=400", 400, "invalid_request_error"),
        ("error=not_found_error", 404, "not_found_error"),
        ("refused", 503, "overloaded_error"),
    ],
)
async def test_an_error_has_its_status_and_the_protocols_own_body(order: str, status: int, kind: str) -> None:
    """F15: the Messages envelope, the Chat Completions error object."""
    async with simulator() as wire:
        assert [await wire.post(path, f"[[sim:{order}]]") for path in (MESSAGES, CHAT)] == [
            (
                status,
                {
                    "type": "error",
                    "error": {"type": kind, "message": "This error was ordered from the simulator."},
                    "request_id": "req_simulated",
                },
            ),
            (
                status,
                {
                    "error": {
                        "message": "This error was ordered from the simulator.",
                        "type": kind,
                        "param": None,
                        "code": status,
                    }
                },
            ),
        ]


async def test_retry_after_is_a_header_and_times_counts_arrivals() -> None:
    """F15: as a number of seconds."""
    async with simulator() as wire:
        text = "[[sim:status=429 retry-after=1.5 times=1]]"
        async with wire.session.post(wire.url + MESSAGES, json=body_of(text)) as response:
            assert (response.status, response.headers["retry-after"]) == (429, "1.5")
        assert (await wire.post(MESSAGES, text))[0] == 200


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("order", ["garbage", "truncated", "wrongshape", "nan", "deep", "error200", "empty", "html"])
async def test_a_spoiled_body_comes_with_status_200(order: str, path: str) -> None:
    """F16: nothing but the body is wrong, and the connection goes on."""
    async with simulator() as wire:
        async with wire.session.post(wire.url + path, json=body_of(f"[[sim:{order}]]")) as response:
            assert response.status == 200
            raw = await response.read()
        assert (await wire.post(path))[0] == 200
        assert (await wire.stats())[f"fault_{order}"] == 1
    if order == "wrongshape":
        assert not isinstance(json.loads(raw)["content"], list)
    elif order == "error200":
        assert "error" in json.loads(raw)
    elif order == "nan":
        assert b'_tokens":NaN' in raw
    elif order == "deep":
        assert raw.count(b"[") == 100_000
    else:
        with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
            json.loads(raw)


@pytest.mark.parametrize("order", ["cut", "reset", "close", "wronglength"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_broken_connection_is_an_error_of_the_client(order: str, stream: bool) -> None:
    """F16: before the answer, in the middle of it, or short of its announced length."""
    async with simulator() as wire:
        with pytest.raises(aiohttp.ClientError):
            await wire.raw(MESSAGES, f"[[sim:{order}]]", stream=stream)


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("order", ["truncated", "garbage", "wrongshape", "nan", "deep", "error200"])
async def test_a_spoiled_stream_starts_well_and_has_no_end(order: str, path: str) -> None:
    """F16: a stream is over at message_stop or [DONE], not when its bytes end."""
    async with simulator() as wire:
        raw = await wire.raw(path, f"[[sim:{order}]]" + "words " * 30, stream=True)
    assert b"simulated" in raw
    assert b"message_stop" not in raw
    assert b"[DONE]" not in raw


async def test_a_slow_body_is_complete_in_the_end() -> None:
    """F16: dribbled, whole or streamed."""
    async with simulator() as wire:
        status, message = await wire.post(MESSAGES, "[[sim:slow=0.1]]")
        raw = await wire.raw(MESSAGES, "[[sim:slow=0.1]]", stream=True)
    assert status == 200
    assert message["stop_reason"] == "end_turn"
    assert events_of(raw)[-1] == {"type": "message_stop"}


async def test_a_huge_body_has_the_size_that_was_ordered() -> None:
    """F16: valid JSON, too."""
    async with simulator() as wire:
        raw = await wire.raw(MESSAGES, "[[sim:huge=3]]")
    assert len(json.loads(raw)["content"][0]["text"]) == 3 * 1024 * 1024


@pytest.mark.parametrize(
    ("order", "stream"), [("endless", False), ("endless", True), ("hang", False), ("huge=999", True)]
)
async def test_a_client_that_gives_up_is_noticed(order: str, stream: bool) -> None:
    """F16: what never ends, ends with the connection, and the place is free again."""
    async with simulator(capacity=1) as wire:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.raw(MESSAGES, f"[[sim:{order}]]", stream=stream), 0.15)
        assert (await wire.post(MESSAGES))[0] == 200
        assert wire.engine.gate.inside == 0


async def test_a_redirect_tells_whether_it_was_followed_and_with_the_key() -> None:
    """F16: the key must never follow."""
    async with simulator() as wire:
        for headers in ({}, {"x-api-key": "secret"}):
            async with wire.session.post(
                wire.url + MESSAGES, json=body_of("[[sim:redirect]]"), allow_redirects=False, headers=headers
            ) as response:
                assert (response.status, response.headers["location"]) == (302, "/redirected")
        assert "redirects_followed" not in await wire.stats()
        await wire.session.post(wire.url + MESSAGES, json=body_of("[[sim:redirect]]"), headers={"x-api-key": "secret"})
        stats = await wire.stats()
    assert (stats["redirects_followed"], stats["redirects_followed_with_key"]) == (1, 1)


async def test_capacity_and_a_full_queue_hold_over_http() -> None:
    """529 in Messages, 429 in Chat Completions."""
    async with simulator(latency_ms=100, capacity=2, queue_max=1) as wire:
        answers = await asyncio.gather(*(wire.post(path, str(n)) for n in range(3) for path in (MESSAGES, CHAT)))
        stats = await wire.stats()
    statuses = [status for status, _ in answers]
    assert statuses.count(200) == 3
    assert set(statuses) <= {200, 429, 529}
    assert stats["in_service_most"] == 2


async def test_a_key_is_asked_for_when_one_is_set() -> None:
    """Either header; health is free."""
    async with simulator(api_key="secret") as wire:
        seen = []
        for headers in ({}, {"x-api-key": "wrong"}, {"x-api-key": "secret"}, {"authorization": "Bearer secret"}):
            async with wire.session.post(wire.url + MESSAGES, json=body_of(), headers=headers) as response:
                seen.append(response.status)
        async with wire.session.get(wire.url + "/health") as response:
            seen.append(response.status)
    assert seen == [401, 401, 200, 200, 200]


async def test_bad_requests_are_refused_in_the_protocols_own_words() -> None:
    """400 for what cannot be read, 404 for what is not there."""
    async with simulator() as wire:
        async with wire.session.post(wire.url + MESSAGES, data=b"{not json") as response:
            assert response.status == 400
        async with wire.session.post(wire.url + "/v1/nothing", json={}) as response:
            assert (response.status, (await response.json())["error"]["type"]) == (404, "not_found_error")
        assert (await wire.post(MESSAGES, messages=[]))[0] == 400
        assert (await wire.post(CHAT, messages=[{"role": "nobody", "content": "x"}]))[0] == 400
        assert (await wire.post(CHAT, "[[sim:nonsense]]"))[0] == 400


async def test_tokenize_counts_like_the_engine() -> None:
    """The `prompt` of vLLM or the `content` of llama.cpp."""
    async with simulator() as wire:
        for asked in ({"prompt": "x" * 40}, {"content": "x" * 40}):
            async with wire.session.post(wire.url + "/tokenize", json=asked) as response:
                assert (await response.json())["count"] == 10


async def test_the_witness_knows_the_row_over_http(tmp_path: Path) -> None:
    """From `[[id:…]]` in the text, else from `metadata.user_id`, else not at all."""
    path = tmp_path / "witness.jsonl"
    async with simulator(witness=path) as wire:
        await wire.post(MESSAGES, "[[id:row-7]] hello")
        await wire.post(CHAT, "[[id:row-8]] [[sim:status=500]]", stream=True)
        await wire.post(MESSAGES, metadata={"user_id": "row-9"})
        await wire.post(MESSAGES)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == ["row-7", "row-8", "row-9", None]
    assert [line["protocol"] for line in lines] == ["anthropic", "openai", "anthropic", "anthropic"]
    assert [line["stream"] for line in lines] == [False, True, False, False]


async def test_requests_of_one_connection_are_answered_in_order() -> None:
    """Pipelined, split at any byte, chunked, or announced with `Expect`."""
    request = json.dumps(body_of()).encode()
    plain = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(request), request)
    chunked = b"POST /tokenize HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        len(request),
        request,
    )
    last = b"GET /health HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    async with simulator() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(wire.url.rsplit(":", 1)[1]))
        for byte in plain * 20 + chunked + last:
            writer.write(bytes([byte]))
        answer = await reader.read()
        writer.close()
    assert answer.count(b"HTTP/1.1 200 OK") == 22
    assert answer.index(b'"max_model_len"') > answer.rindex(b'"end_turn"')
    assert answer.endswith(b'{"status":"ok","simulated":true}')


async def test_bytes_that_are_not_http_are_answered_and_dropped() -> None:
    """400, then the end."""
    async with simulator() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(wire.url.rsplit(":", 1)[1]))
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
