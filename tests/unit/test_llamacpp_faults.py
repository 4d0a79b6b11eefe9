"""What goes wrong with the real engine, and what must not: callers that leave, children that die, answers unparsed."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends import OpenAIBackend, options_for
from slackwater.backends.llamacpp import engine as engine_module
from slackwater.clock import SystemClock
from slackwater.domain.errors import AttemptFailedError, BackendAwayError
from support.engine import WEATHER, asked, local, said
from support.stub import NOW, Received, Stub, reply, sse

UNPARSED = {
    "error": {
        "code": 500,
        "message": "The model produced output that does not match the expected peg-native format",
        "type": "server_error",
    }
}
LONG = "zq" * 4_000
"""What the engine reads for seconds."""
PROMPT = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


ROUNDS = 3
"""The best of so many counts: the engine shares its cores with whatever else runs here."""


async def test_who_leaves_frees_the_slot_also_while_the_prompt_is_read(tmp_path: Path) -> None:
    """C2: both places of the engine are given back within a second, whatever they were doing."""
    clock = SystemClock()
    seconds = []
    async with local(tmp_path, context_tokens=10_000, slots=1) as backend:
        for _ in range(ROUNDS):
            streams = [backend.stream(call) for call in (asked(max_tokens=8_000), asked(LONG, max_tokens=1))]
            for stream in streams:
                assert (await anext(stream))["type"] == "message_start"
            left = clock.monotonic()
            for stream in streams:
                await stream.aclose()
            await backend.infer(asked("next", max_tokens=1))
            seconds.append(clock.monotonic() - left)
    assert min(seconds) < 1


async def test_who_leaves_a_whole_answer_frees_the_slot_too(tmp_path: Path) -> None:
    """C2: an answer that is wanted whole is a stream all the same."""
    clock = SystemClock()
    seconds = []
    async with local(tmp_path, context_tokens=10_000, slots=1) as backend:
        for _ in range(ROUNDS):
            calls = (asked(max_tokens=8_000), asked(LONG, max_tokens=1))
            leaving = [asyncio.create_task(backend.infer(call)) for call in calls]
            for _ in range(20):
                await backend.count_tokens(asked())  # time for the engine to begin
            left = clock.monotonic()
            for task in leaving:
                task.cancel()
            outcomes = await asyncio.gather(*leaving, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
            await backend.infer(asked("next", max_tokens=1))
            seconds.append(clock.monotonic() - left)
    assert min(seconds) < 1


async def test_a_call_whose_engine_dies_is_a_failed_attempt_and_the_next_one_works(tmp_path: Path) -> None:
    """X7: the request may have caused it, so it counts; the engine is started again."""
    async with local(tmp_path, context_tokens=20_000) as backend:
        running = asyncio.create_task(backend.infer(asked("hello", max_tokens=15_000)))
        stream = backend.stream(asked("hello", max_tokens=15_000))
        await anext(stream)
        os.kill(_child(), signal.SIGKILL)
        with pytest.raises(AttemptFailedError):
            await running
        with pytest.raises(AttemptFailedError):
            async for _ in stream:
                pass
        for _ in range(50):
            try:
                assert said(await backend.infer(asked("again")))
                break
            except (BackendAwayError, AttemptFailedError):
                continue
        else:
            pytest.fail("it did not come back")


def _child() -> int:
    """Return the process id of this process's only child with a model in it."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text("utf-8").rsplit(")", 1)[1].split()
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"llamacpp/child.py" in command:
            return int(status.parent.name)
    message = "no child"
    raise LookupError(message)


def llamacpp(stub: Stub) -> OpenAIBackend:
    return OpenAIBackend(
        name="own", url=stub.url, new_id=lambda prefix: f"{prefix}_1", wall=lambda: NOW, options=options_for("llamacpp")
    )


@pytest.fixture
async def stub() -> Any:
    """Run a stub on a free port."""
    stub = Stub()
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield stub
    server.close()
    await stub.stop()


def plays(stub: Stub, *chat: bytes, completion: bytes = b"") -> None:
    """Have the stub answer the chat endpoint with each in turn, and the template and `/completion` always alike."""
    answers = list(chat)

    async def play(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.path == "/tokenize":
            writer.write(reply({"tokens": [1, 2]}))
        elif request.path == "/apply-template":
            told = json.dumps(request.json.get("tools"))
            called = CALLED if len(request.json["messages"]) > 1 else ""
            writer.write(reply({"prompt": f"{told}{PROMPT}{called}"}))
        elif request.path == "/completion":
            writer.write(completion)
            writer.close()
        else:
            writer.write(answers.pop(0))
            writer.close()

    stub.play = play


CALLED = '<tool_call>\n{"name": "slackwater_probe", "arguments": {"probe_key": "probe_value"}}\n</tool_call><|im_end|>'


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def completed(*pieces: str, stop_type: str = "eos") -> bytes:
    last = {"content": "", "stop": True, "stop_type": stop_type, "tokens_predicted": 4, "tokens_evaluated": 9}
    return sse(*({"content": piece, "stop": False} for piece in pieces), last | {"timings": {"cache_n": 2}}, end=b"")


async def test_an_answer_that_the_server_cannot_parse_is_asked_for_again(stub: Stub) -> None:
    """Its fault, and often not repeated: a client never sees it."""
    good = sse(chunk(content="Hi"), chunk("stop") | {"usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    for bad in (sse(chunk(content="Hi"), UNPARSED), reply(UNPARSED, status=500, connection="close")):
        plays(stub, bad, good)
        backend = llamacpp(stub)
        assert said(await backend.infer(asked())) == "Hi"
        await backend.close()


async def test_an_answer_that_the_server_never_parses_is_read_past_its_parser(stub: Stub) -> None:
    """The third time, from `/completion`: thinking, text and calls are told apart here."""
    text = completed("<think>\nHmm", "</think>\n\nHello ", "you", '<tool_call>\n{"name": "get_weather", ',
                     '"arguments": {"city": "Paris"}}\n</tool_call>', '\n<tool_call>\n{"name": "get_w')  # fmt: skip
    plays(stub, sse(UNPARSED), sse(UNPARSED), completion=text)
    backend = llamacpp(stub)
    message = await backend.infer(asked(tools=[WEATHER]))
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert (message["content"][0]["thinking"], said(message)) == ("Hmm", "Hello you")
    assert message["content"][2]["input"] == {"city": "Paris"}
    assert message["stop_reason"] == "tool_use"
    assert (message["usage"]["input_tokens"], message["usage"]["cache_read_input_tokens"]) == (7, 2)
    await backend.close()


async def test_a_stream_that_said_nothing_yet_goes_the_same_way(stub: Stub) -> None:
    """One `message_start`, then the answer."""
    plays(stub, sse(chunk(role="assistant"), UNPARSED), sse(UNPARSED), completion=completed("Hello"))
    backend = llamacpp(stub)
    events = [event async for event in backend.stream(asked())]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    await backend.close()


async def test_a_stream_whose_text_has_all_come_ends_as_it_should(stub: Stub) -> None:
    """The server fails when it parses the whole at the end; what was said stays said."""
    progress = {"prompt_progress": {"total": 9, "cache": 4, "processed": 9}}
    plays(stub, sse(chunk() | progress, chunk(content="Good"), chunk(content=" day"), UNPARSED))
    backend = llamacpp(stub)
    events = [event async for event in backend.stream(asked())]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert [delta.get("text") for delta in deltas] == ["Good", " day"]
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    usage = events[-2]["usage"]
    assert [usage[key] for key in ("input_tokens", "cache_read_input_tokens", "output_tokens")] == [5, 4, 2]
    await backend.close()


async def test_a_stream_that_breaks_off_in_a_call_is_a_failed_attempt(stub: Stub) -> None:
    """Half a call is no call."""
    call = {"index": 0, "id": "c", "function": {"name": "get_weather", "arguments": '{"ci'}}
    plays(stub, sse(chunk(tool_calls=[call]), UNPARSED))
    backend = llamacpp(stub)
    with pytest.raises(AttemptFailedError):
        _ = [event async for event in backend.stream(asked(tools=[WEATHER]))]
    await backend.close()


async def test_another_failure_of_the_server_is_not_asked_about_again(stub: Stub) -> None:
    """X7: that is for whoever counts attempts."""
    plays(stub, sse({"error": {"code": 500, "message": "boom", "type": "server_error"}}))
    backend = llamacpp(stub)
    with pytest.raises(AttemptFailedError, match="boom"):
        await backend.infer(asked())
    assert len(stub.received) == 1
    await backend.close()


async def test_a_server_that_falls_silent_is_noticed_and_one_that_is_slow_is_not_cut(stub: Stub) -> None:
    """A local model may write for hours; `timeout_seconds` bounds how long it says nothing."""
    clock = SystemClock()

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(sse(end=b""))
        for _ in range(6):
            writer.write(f"data: {json.dumps(chunk(content='x'))}\n\n".encode())
            await writer.drain()
            await clock.sleep(0.1)
        if not falls_silent:
            usage = {"usage": {"prompt_tokens": 1, "completion_tokens": 6}}
            writer.write(f"data: {json.dumps(chunk('stop') | usage)}\n\ndata: [DONE]\n\n".encode())
            writer.close()
        else:
            await stub.stopped.wait()

    stub.play = slow
    for falls_silent in (False, True):
        backend = OpenAIBackend(
            name="own",
            url=stub.url,
            new_id=lambda prefix: f"{prefix}_1",
            wall=lambda: NOW,
            options=options_for("llamacpp"),
            timeout_seconds=0.4,
            patient=True,
        )
        if falls_silent:
            with pytest.raises(AttemptFailedError, match="no answer in time"):
                await backend.infer(asked())
        else:
            assert said(await backend.infer(asked())) == "xxxxxx"
        await backend.close()


async def test_a_server_that_was_away_is_asked_again_what_its_template_does(stub: Stub) -> None:
    """It may have come back with another model."""
    answer = completed('{"city": "Paris"}')
    plays(stub, completion=answer)
    demanded = asked(tools=[WEATHER], tool_choice={"type": "any"})
    backend = llamacpp(stub)
    for away in (False, True, False):
        before = len(stub.received)
        if away:
            stub.play, stub.answers = None, [reply(status=503, connection="close")]
            with pytest.raises(BackendAwayError):
                await backend.infer(demanded)
            plays(stub, completion=answer)
        else:
            await backend.infer(demanded)
            paths = [request.path for request in stub.received[before:]]
            assert paths.count("/apply-template") == 3
    await backend.close()


async def test_an_engine_that_falls_silent_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that found out is a failed attempt; the stuck child is ended, and the next call has another one."""
    monkeypatch.setattr(engine_module, "DOUBT_SECONDS", 0.1)
    async with local(tmp_path, timeout_seconds=0.5) as backend:
        await backend.infer(asked(max_tokens=1))
        process = backend._copies[0].engine._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(AttemptFailedError):
            await backend.infer(asked(max_tokens=1))
        await process.ended()
        assert await backend.infer(asked(max_tokens=1))
