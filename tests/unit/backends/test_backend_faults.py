"""What each failure of a backend counts as (X7), and that none of them ever becomes an answer (S7, F15, F16)."""

import asyncio
import gzip
import json
import socket
from contextlib import suppress
from typing import Any

import pytest

from slackwater.backends import AnthropicBackend, OpenAIBackend, options_for
from slackwater.backends import http as http_module
from slackwater.domain.errors import (
    APIError,
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    NotFoundError,
    RequestTooLargeError,
    WireError,
    WireTimeoutError,
)
from slackwater.ports import Backend
from support.stub import COMPLETION, MESSAGE, NOW, Received, Stub, call, reply, sse

SECRET = "sk-backend-secret"


def error_body(message: str, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", **more}}


async def failure_of(backend: Backend) -> AttemptFailedError:
    with pytest.raises(AttemptFailedError) as failed:
        await backend.infer(call())
    return failed.value


async def test_a_refused_connection_means_that_the_backend_is_away(plain: dict[str, Any], protocol: str) -> None:
    """X7: nothing listens there, so the request costs nothing and waits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    backend = AnthropicBackend(url=url, **plain) if protocol == "anthropic" else OpenAIBackend(url=url, **plain)
    with pytest.raises(BackendAwayError) as away:
        await backend.infer(call())
    assert not away.value.full
    await backend.close()


async def test_a_name_that_does_not_resolve_means_that_the_backend_is_away(plain: dict[str, Any]) -> None:
    """X7: DNS is part of connecting."""
    backend = AnthropicBackend(url="http://backend.invalid", **plain)
    with pytest.raises(BackendAwayError):
        await backend.infer(call())
    await backend.close()


@pytest.mark.parametrize(("status", "full"), [(429, True), (503, False), (529, True)])
async def test_a_backend_that_says_it_is_busy_is_away(backend: Backend, stub: Stub, status: int, *, full: bool) -> None:
    """X7: 429, 503 and 529 cost the request nothing; 429 and 529 say to send less."""
    stub.answers = [reply(error_body("busy"), status=status)]
    with pytest.raises(BackendAwayError) as away:
        await backend.infer(call())
    assert (away.value.full, away.value.retry_after_seconds) == (full, None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after": "Sun, 22 Nov 2026 09:00:30 GMT"}, 30.0),
        ({"retry_after": "Sun, 22 Nov 2026 08:00:00 GMT"}, 0.0),
        ({"retry_after": "1e300"}, 86_400.0),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "soon"}, None),
    ],
)
async def test_the_wait_that_a_backend_asks_for_is_read(
    backend: Backend, stub: Stub, headers: dict[str, str], seconds: float | None
) -> None:
    """X7: seconds, milliseconds or an HTTP date, measured on the clock that was passed in."""
    assert NOW.hour == 9
    stub.answers = [reply(status=429, **headers)]
    with pytest.raises(BackendAwayError) as away:
        await backend.infer(call())
    assert away.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (500, APIError, "The backend answered 500."),
        (502, APIError, "The backend answered 502."),
        (504, WireTimeoutError, "The backend answered 504."),
        (599, APIError, "The backend answered 599."),
        (408, WireTimeoutError, "The backend did not answer in time."),
        (409, APIError, "The backend answered 409."),
        (401, APIError, "The backend refused our credentials."),
        (403, APIError, "The backend refused our credentials."),
        (404, APIError, "The backend answered 404."),
        (405, APIError, "The backend answered 405."),
        (201, APIError, "The backend answered 201."),
    ],
)
async def test_a_failed_attempt_says_nothing_but_the_status(
    backend: Backend, stub: Stub, status: int, error: type[WireError], message: str
) -> None:
    """X7, B11: an attempt failed; the text for the client holds none of what the backend wrote."""
    stub.answers = [reply(error_body(f"oops at {stub.url} with {SECRET}"), status=status)]
    failed = await failure_of(backend)
    assert type(failed.error) is error
    assert failed.error.message == message


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (400, error_body("temperature must be at most 2"), InvalidRequestError, "temperature must be at most 2"),
        (400, {"message": "bad", "object": "error"}, InvalidRequestError, "bad"),
        (400, {"error": "bad"}, InvalidRequestError, "bad"),
        (400, b"<html>", InvalidRequestError, "The backend refused this request with status 400."),
        (422, {"detail": [{"loc": ["body", "top_p"], "msg": "too big"}]}, InvalidRequestError, "top_p: too big"),
        (404, error_body("The model `upstream/model` does not exist."), NotFoundError, "model: client-model"),
        (400, error_body("nope", code="model_not_found"), NotFoundError, "model: client-model"),
        (413, b"", RequestTooLargeError, "Request exceeds the maximum size"),
    ],
)
async def test_a_refusal_of_the_request_itself_is_told_at_once(
    backend: Backend, stub: Stub, status: int, body: object, error: type[WireError], message: str
) -> None:
    """X7: other 4xx become the mapped error of this request, in the backend's words where they are readable."""
    stub.answers = [reply(body, status=status)]
    with pytest.raises(error) as refused:
        await backend.infer(call())
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            {
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens "
                "(5000 in the messages, 100 in the completion)."
            },
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        (
            {
                "message": "This model's maximum context length is 4096 tokens. However, your request has 5000 input "
                "tokens. Please reduce the length of the input messages."
            },
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        (
            {
                "message": "This model's maximum context length is 4096 tokens. However, your messages resulted in "
                "5000 tokens.",
                "code": "context_length_exceeded",
            },
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        (
            {
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 5000,
                "n_ctx": 4096,
            },
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        (
            {"message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."},
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        (
            {
                "message": "Requested token count exceeds the model's maximum context length of 4096 tokens. You "
                "requested a total of 4200 tokens: 4000 tokens from the input messages and 200 tokens for the "
                "completion."
            },
            "input length and `max_tokens` exceed context limit: 4200 > 4096",
        ),
        ({"message": "too long", "code": "context_length_exceeded"}, "prompt is too long: too long"),
        ({"message": "the context size is odd"}, "the context size is odd"),
    ],
)
async def test_an_overlong_prompt_is_told_in_the_words_of_the_api(
    backend: Backend, stub: Stub, error: dict[str, Any], message: str
) -> None:
    """Contract §2.3: the numbers are found in what vLLM, SGLang, llama.cpp and the hosted API say."""
    stub.answers = [reply({"error": error}, status=400)]
    with pytest.raises(InvalidRequestError) as refused:
        await backend.infer(call())
    assert refused.value.message == message


async def test_a_refusal_is_cleaned_before_a_client_sees_it(backend: Backend, stub: Stub) -> None:
    """B11: one line, no address, no key, at most 1,000 characters."""
    stub.answers = [reply(error_body(f"bad\r\n\x1b[31m {stub.url}/v1 {SECRET} " + "x" * 5_000), status=400)]
    with pytest.raises(InvalidRequestError) as refused:
        await backend.infer(call())
    message = refused.value.message
    assert len(message) == 1_000
    assert message.startswith("bad [31m … *** xxx")


async def test_our_key_is_blotted_out_of_what_a_backend_quotes(plain: dict[str, Any], stub: Stub) -> None:
    """C8: whatever the key looks like, neither a client nor a log sees it."""
    backend = AnthropicBackend(url=stub.url, **{**plain, "api_key": "plain words"})
    stub.answers = [reply(error_body("bad key: plain words"), status=400), reply(error_body("plain words"), status=500)]
    with pytest.raises(InvalidRequestError, match=r"^bad key: \*\*\*$"):
        await backend.infer(call())
    assert "plain" not in (await failure_of(backend)).reason
    await backend.close()


async def test_a_redirect_is_not_followed(backend: Backend, stub: Stub) -> None:
    """C8, F16: nothing more is sent, so the key stays where it was sent."""
    stub.answers = [reply(status=302, location=f"{stub.url}/elsewhere")]
    failed = await failure_of(backend)
    assert type(failed.error) is APIError
    assert len(stub.received) == 1


async def test_what_is_sent_carries_our_key_and_no_more(backend: Backend, stub: Stub, whole: dict[str, Any]) -> None:
    """C8: unencoded answers are asked for, and neither the custom_id nor cookies leave."""
    stub.answers = [reply(whole, set_cookie="a=b")]
    await backend.infer(call())
    await backend.infer(call())
    sent = stub.received[1]
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["content-type"] == "application/json"
    assert SECRET in (sent.headers.get("x-api-key", "") + sent.headers.get("authorization", ""))
    assert "cookie" not in sent.headers
    assert b"row-1" not in sent.body


BROKEN = {
    "empty": b"",
    "garbage": b"\x00\xff<html>",
    "truncated": b'{"id": "msg_1", "type": "mess',
    "not UTF-8": b'{"id": "\xff"}',
    "NaN": b'{"usage": NaN}',
    "Infinity": b'{"usage": Infinity}',
    "out of range": b'{"usage": 1e999}',
    "lone surrogate": b'{"id": "\\ud800"}',
    "too deep": b"[" * 200_000,
    "deep and closed": b"[" * 200_000 + b"]" * 200_000,
    "trailing data": b"{}{}",
    "a number": b"7",
    "null": b"null",
    "an empty object": b"{}",
    "an empty list": b"[]",
    "an error with 200": b'{"type": "error", "error": {"type": "api_error", "message": "x"}}',
    "a bare error with 200": b'{"error": {"message": "x"}}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_a_body_that_is_not_an_answer_is_a_failed_attempt(backend: Backend, stub: Stub, body: bytes) -> None:
    """S7, B7: what cannot be read, or is not the promised shape, is never succeeded."""
    stub.answers = [reply(body)]
    failed = await failure_of(backend)
    assert type(failed.error) is APIError
    assert failed.error.message == "The backend's answer was not valid."


@pytest.mark.parametrize("missing", [1, 3, 10, 40])
async def test_a_body_that_stops_early_is_a_failed_attempt(
    backend: Backend, stub: Stub, whole: dict[str, Any], missing: int
) -> None:
    """S7: the connection ends before the announced length, wherever that is."""

    async def cut(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(whole)[:-missing])
        writer.close()

    stub.play = cut
    failed = await failure_of(backend)
    assert failed.error.message == "The connection to the backend was cut."


async def test_a_connection_reset_before_any_answer_is_a_failed_attempt(backend: Backend, stub: Stub) -> None:
    """X7: the request was sent, so it may have been worked on; it is not sent again behind the caller's back."""

    async def reset(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    stub.play = reset
    failed = await failure_of(backend)
    assert type(failed.error) is APIError
    assert len(stub.received) == 1


async def test_a_wrong_content_length_never_yields_a_false_answer(
    backend: Backend, stub: Stub, whole: dict[str, Any]
) -> None:
    """S7: an announced length that is too short cuts the JSON, and that is noticed."""
    stub.answers = [reply(whole, content_length="20", connection="close")]
    failed = await failure_of(backend)
    assert type(failed.error) is APIError


async def test_a_body_that_claims_a_gigabyte_is_not_read(backend: Backend, stub: Stub) -> None:
    """C8: what is announced above 64 MiB is refused at once."""
    stub.answers = [reply(b"x", content_length=str(1 << 30))]
    assert "larger than" in (await failure_of(backend)).reason


async def test_a_body_that_grows_without_end_is_cut_off(
    backend: Backend, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8: a body of unannounced length is counted while it is read, and reading stops at the limit."""
    monkeypatch.setattr(http_module, "BODY_BYTES_MAX", 1 << 20)

    async def endless(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()

    stub.play = endless
    assert "larger than" in (await failure_of(backend)).reason


async def test_an_error_body_is_read_only_as_far_as_a_message_may_be(backend: Backend, stub: Stub) -> None:
    """C8: an endless error page ends the reading, not the memory."""

    async def endless(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 X\r\nconnection: close\r\n\r\n")
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()

    stub.play = endless
    assert (await failure_of(backend)).error.message == "The backend answered 500."


@pytest.fixture
def hurried(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a constructor's arguments with very little patience."""
    return {**plain, "timeout_seconds": 0.15}


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 X\r\n", b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n{"])
async def test_an_answer_that_does_not_come_is_a_timeout(
    hurried: dict[str, Any], stub: Stub, protocol: str, head: bytes
) -> None:
    """X7, F16: a black hole, a head and a body that stop half-way: all end at the total time as a timeout."""

    async def hang(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await asyncio.Event().wait()

    stub.play = hang
    backend: Backend = (
        AnthropicBackend(url=stub.url, **hurried)
        if protocol == "anthropic"
        else OpenAIBackend(url=stub.url, options=options_for("vllm"), **hurried)
    )
    failed = await failure_of(backend)
    assert type(failed.error) is WireTimeoutError
    await backend.close()


async def test_an_endless_stream_ends_at_the_total_time(hurried: dict[str, Any], stub: Stub, protocol: str) -> None:
    """F16: a stream that keeps sending but never finishes is bounded as well."""

    async def endless(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b": still here\n\n" * 1_000)
            await writer.drain()

    stub.play = endless
    backend: Backend = (
        AnthropicBackend(url=stub.url, **hurried)
        if protocol == "anthropic"
        else OpenAIBackend(url=stub.url, options=options_for("vllm"), **hurried)
    )
    with pytest.raises(AttemptFailedError):
        _ = [event async for event in backend.stream(call())]
    await backend.close()


async def test_connections_are_used_again(backend: Backend, stub: Stub, whole: dict[str, Any]) -> None:
    """One connection serves calls that follow each other."""
    stub.answers = [reply(whole)]
    for _ in range(5):
        await backend.infer(call())
    assert stub.connections == 1


async def test_a_connection_that_the_server_closed_is_replaced(
    backend: Backend, stub: Stub, whole: dict[str, Any]
) -> None:
    """A server may close an idle connection at any time; the next call opens another."""
    closed = asyncio.Event()

    async def once(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(whole))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    stub.play = once
    for _ in range(3):
        closed.clear()
        assert (await backend.infer(call()))["stop_reason"] == "end_turn"
        await closed.wait()
    assert len(stub.received) == 3


async def test_a_request_that_may_have_arrived_is_not_sent_twice(
    backend: Backend, stub: Stub, whole: dict[str, Any]
) -> None:
    """X2: a used connection that dies after the request was written is a failed attempt, not a quiet second send."""

    async def second_time_dead(_request: Received, writer: asyncio.StreamWriter) -> None:
        if len(stub.received) == 1:
            writer.write(reply(whole))
        else:
            writer.close()

    stub.play = second_time_dead
    await backend.infer(call())
    await failure_of(backend)
    assert len(stub.received) == 2


async def test_bytes_that_are_no_http_are_a_failed_attempt(backend: Backend, stub: Stub) -> None:
    """F16: another protocol on the port."""
    stub.answers = [b"220 smtp.example ESMTP\r\n\r\n"]
    assert type((await failure_of(backend)).error) is APIError


async def test_a_request_that_cannot_be_written_as_json_fails_alone(backend: Backend, stub: Stub) -> None:
    """S8: a lone surrogate in the text is that request's own error, and nothing is sent."""
    with pytest.raises(InvalidRequestError):
        await backend.infer(call(messages=[{"role": "user", "content": "\ud800"}]))
    assert stub.received == []


async def test_canceling_a_call_closes_the_connection(backend: Backend, stub: Stub) -> None:
    """C2: work that is aborted must stop at the backend too."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def dribble(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n")
        arrived.set()
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" " * 1_000)
                await writer.drain()
        gone.set()

    stub.play = dribble
    work = asyncio.create_task(backend.infer(call()))
    await arrived.wait()
    work.cancel()
    await asyncio.wait_for(gone.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_closing_a_stream_closes_the_connection(backend: Backend, stub: Stub, protocol: str) -> None:
    """A caller that goes away must stop the work at the backend, which notices by the closed connection."""
    gone = asyncio.Event()
    first = (
        {"type": "message_start", "message": MESSAGE}
        if protocol == "anthropic"
        else {"choices": [{"delta": {"content": "x"}}]}
    )

    async def open_ended(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(sse(first, end=b""))
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b": more\n\n" * 100)
                await writer.drain()
        gone.set()

    stub.play = open_ended
    events = backend.stream(call())
    assert (await anext(events))["type"] == "message_start"
    await events.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(gone.wait(), 5)


def test_the_samples_are_json() -> None:
    """The good answers of these tests are what a server could send."""
    assert json.loads(json.dumps([MESSAGE, COMPLETION])) == [MESSAGE, COMPLETION]


async def test_an_encoded_body_is_counted_decoded(
    backend: Backend, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8, B5: a server that compresses unasked is understood, and a bomb ends at the limit of decoded bytes."""
    monkeypatch.setattr(http_module, "BODY_BYTES_MAX", 1 << 20)
    stub.answers = [reply(gzip.compress(b" " * (64 << 20)), content_encoding="gzip")]
    assert "larger than" in (await failure_of(backend)).reason


async def test_a_badly_encoded_body_is_a_failed_attempt(backend: Backend, stub: Stub, whole: dict[str, Any]) -> None:
    """S7: what cannot be decoded is not an answer."""
    stub.answers = [reply(whole, content_encoding="gzip")]
    assert type((await failure_of(backend)).error) is APIError


async def test_a_stream_without_end_is_cut_off_at_the_size(
    backend: Backend, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8: a stream is counted as a body is."""
    monkeypatch.setattr(http_module, "BODY_BYTES_MAX", 1 << 20)

    async def endless(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b": still here\n\n" * 1_000)
            await writer.drain()

    stub.play = endless
    with pytest.raises(AttemptFailedError, match="larger than"):
        _ = [event async for event in backend.stream(call())]


async def test_an_event_without_end_is_cut_off(backend: Backend, stub: Stub) -> None:
    """F16: one line that never ends is a broken stream, long before it fills the memory."""

    async def endless(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\ndata: ")
        while True:
            writer.write(b"x" * 262_144)
            await writer.drain()

    stub.play = endless
    with pytest.raises(AttemptFailedError, match="an event is larger than"):
        _ = [event async for event in backend.stream(call())]


async def test_a_proxy_of_the_environment_is_not_used(
    backend: Backend, stub: Stub, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8: the backend's address is the operator's word; no variable of the shell sends its key elsewhere."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    stub.answers = [reply(whole)]
    assert (await backend.infer(call()))["stop_reason"] == "end_turn"


@pytest.mark.parametrize("times", [20])
async def test_many_calls_at_once_do_not_disturb_each_other(
    backend: Backend, stub: Stub, whole: dict[str, Any], times: int
) -> None:
    """S8: a bad answer among good ones fails its own call only."""

    async def every_third_is_broken(request: Received, writer: asyncio.StreamWriter) -> None:
        number = int(request.json["messages"][0]["content"])
        writer.write(reply(b"{" if number % 3 == 0 else whole))

    stub.play = every_third_is_broken
    calls = [backend.infer(call(messages=[{"role": "user", "content": str(number)}])) for number in range(times)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, AttemptFailedError) for outcome in outcomes] == [
        number % 3 == 0 for number in range(times)
    ]
