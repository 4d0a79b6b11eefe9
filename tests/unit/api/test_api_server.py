"""The real server, byte by byte: what only shows on a socket."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from slackwater.api.server import serve
from slackwater.domain.batch import RequestCounts
from support.api import DEADLINE_SECONDS, KEY, SMALL, START, STOP, Wire, World, eventually, make_batch, make_ended

CREATE = "/v1/messages/batches"
HEAD = f"host: 127.0.0.1\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n"
MESSAGE = b'{"model":"m"}'
STREAM = b'{"model":"m","stream":true}'


def http(method: str, path: str, *lines: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """Write an HTTP request, with a Content-Length if it has a body."""
    if body:
        lines = (*lines, f"content-length: {len(body)}")
    more = "".join(line + "\r\n" for line in lines)
    return f"{method} {path} HTTP/{version}\r\n{HEAD}{more}\r\n".encode() + body


async def until(check: Callable[[], bool]) -> None:
    """Wait for what shows only on disk or in a counter, giving the loop its turn, with a deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_SECONDS
    while not check():
        assert loop.time() < deadline
        turn = loop.create_future()
        loop.call_later(0.005, turn.set_result, None)
        await turn


async def spools(world: World) -> int:
    """Count the spooled bodies."""
    return len(await asyncio.to_thread(lambda: list(world.services.spool_dir.iterdir())))


async def body_of(wire: Wire, headers: dict[str, str]) -> bytes:
    """Read a body of known length."""
    return await wire.exactly(int(headers["content-length"]))


async def test_expect_100_continue_is_answered_before_the_body_is_sent(world: World) -> None:
    """Contract §1.7: curl announces it on large bodies."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", CREATE, "content-length: 2", "expect: 100-continue"))
        assert (await wire.head())[0] == 100
        await wire.send(b"{}")
        assert (await wire.head())[0] == 200
        await wire.close()
    assert world.admit.bodies == [b"{}"]


async def test_a_body_announced_too_large_is_refused_before_it_is_sent(world: World) -> None:
    """B4: early, from Content-Length; the client that asked first sends nothing at all."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", CREATE, f"content-length: {2**30}", "expect: 100-continue"))
        status, headers = await wire.head()
        assert status == 413
        assert json.loads(await body_of(wire, headers))["error"]["type"] == "request_too_large"
        await wire.close()


async def test_a_length_that_is_too_large_and_a_body_that_follows_still_get_the_answer(world: World) -> None:
    """Detail 27: the envelope arrives although the client goes on sending."""
    world.reconfigure(limits=SMALL)
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", CREATE, body=b"1" * 300_000))
        status, headers = await wire.head()
        assert status == 413
        assert json.loads(await body_of(wire, headers))["error"]["type"] == "request_too_large"
        await wire.close()


async def test_a_chunked_upload_is_accepted(world: World) -> None:
    """No Content-Length is needed."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", CREATE, "transfer-encoding: chunked"))
        for part in (b"{", b'"requests":', b"[]}"):
            await wire.send(b"%x\r\n%s\r\n" % (len(part), part))
        await wire.send(b"0\r\n\r\n")
        assert (await wire.head())[0] == 200
        await wire.close()
    assert world.admit.bodies == [b'{"requests":[]}']


@pytest.mark.parametrize("abrupt", [True, False])
async def test_a_client_that_vanishes_during_an_upload_leaves_no_spool_file(world: World, *, abrupt: bool) -> None:
    """D2: what was not acked leaves nothing."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", CREATE, "content-length: 1000000") + b"1" * 100_000)
        while not await spools(world):
            pass
        if abrupt:
            wire.reset()
        else:
            await wire.close()
        while await spools(world):
            pass
    assert world.admit.origins == []


@pytest.mark.parametrize("how", ["fails", "ends early"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_results_that_break_in_the_middle_are_cut_and_never_ended_cleanly(
    world: World, how: str, version: str
) -> None:
    """R2: fewer bytes than Content-Length, then the connection is gone; HTTP/1.0 has a Content-Length too."""
    world.batches.batches["a"] = make_ended("a")
    delivery = world.batches.delivery
    delivery.content = b"x" * 100
    delivery.fails_after, delivery.ends_after = (50, None) if how == "fails" else (None, 50)
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("GET", f"{CREATE}/a/results", version=version))
        status, headers = await wire.head()
        rest = await wire.rest()
    assert (status, headers["content-length"]) == (200, "100")
    assert "transfer-encoding" not in headers
    assert rest == b"x" * 50
    assert b"secret" not in rest


async def test_results_that_fail_at_once_get_a_status_of_their_own(world: World) -> None:
    """Nothing was promised yet."""
    world.batches.batches["a"] = make_ended("a")
    world.batches.delivery.content = b"x" * 100
    world.batches.delivery.fails_after = 0
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("GET", f"{CREATE}/a/results"))
        status, headers = await wire.head()
        error = json.loads(await body_of(wire, headers))["error"]
        await wire.close()
    assert (status, error) == (500, {"type": "api_error", "message": "Internal server error"})


async def test_a_reader_that_stalls_holds_little_and_one_that_leaves_holds_nothing(world: World) -> None:
    """R5: at most 8 MiB are taken from the source ahead of the reader; a disconnect closes the source."""
    world.batches.batches["a"] = make_ended("a")
    delivery = world.batches.delivery
    delivery.content, delivery.piece_bytes = b"x" * (64 * 2**20), 2**20
    async with world.server() as server:
        wire = await server.connect()
        wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await wire.send(http("GET", f"{CREATE}/a/results"))
        await wire.head()
        taken = -1
        while taken != delivery.yielded_bytes:
            taken = delivery.yielded_bytes
            await asyncio.to_thread(lambda: None)
            await until(lambda: True)
        assert delivery.yielded_bytes <= 8 * 2**20
        wire.reset()
        await eventually(delivery.closed)


@pytest.mark.parametrize("body", [MESSAGE, STREAM])
async def test_a_client_that_leaves_before_the_answer_cancels_the_backend_call(world: World, body: bytes) -> None:
    """Nobody works for an empty chair."""
    world.interactive.waits_for = asyncio.Event()
    world.interactive.events = [world.interactive.waits_for]
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", "/v1/messages", body=body))
        await eventually(world.interactive.begun)
        await wire.close()
        await eventually(world.interactive.canceled)


async def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels_the_backend_call(world: World) -> None:
    """Contract §7.1."""
    world.interactive.events = [START, asyncio.Event()]
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", "/v1/messages", body=STREAM))
        await wire.until(b"message_start")
        wire.reset()
        await eventually(world.interactive.canceled)


async def test_a_stream_in_which_nothing_happens_is_kept_alive_by_pings(world: World) -> None:
    """Contract §7.1: `ping` anywhere."""
    silence = asyncio.Event()
    world.interactive.events = [START, silence, STOP]
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", "/v1/messages", body=STREAM))
        await wire.until(b"message_start")
        for _ in range(2):
            await until(lambda: world.clock.sleepers == 1)
            world.clock.advance(15)
            await wire.until(b'event: ping\ndata: {"type":"ping"}\n\n')
        silence.set()
        await wire.until(b"event: message_stop")
        await wire.until(b"0\r\n\r\n")
        await wire.close()


async def test_progress_streams_one_event_per_change_until_the_end(world: World) -> None:
    """The extension: live numbers, at most two looks a second."""
    world.batches.batches["a"] = make_batch("a")
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("GET", f"{CREATE}/a/progress", "accept: text/event-stream"))
        assert (await wire.head())[1]["content-type"].startswith("text/event-stream")
        events = [await wire.until(b"\n\n")]
        changed = make_batch("a", tally=RequestCounts(processing=2, succeeded=1))
        for batch in (changed, changed, make_ended("a")):
            await until(lambda: world.clock.sleepers == 2)  # the next look and the next ping
            world.batches.batches["a"] = batch
            world.clock.advance(0.5)
        events += [await wire.until(b"\n\n"), await wire.until(b"\n\n")]
        await wire.until(b"0\r\n\r\n")
        await wire.close()
    assert [b"event: progress" in event for event in events] == [True] * 3
    seen = [json.loads(event.split(b"data: ")[1])["progress"]["processing"] for event in events]
    assert seen == [3, 2, 0]


async def test_a_stop_ends_progress_streams_at_once_and_lets_answers_finish(world: World) -> None:
    """L4: endless streams end cleanly, calls in progress are answered, then `serve` returns."""
    world.batches.batches["a"] = make_batch("a")
    world.interactive.waits_for = asyncio.Event()
    async with world.server() as server:
        watching, calling = await server.connect(), await server.connect()
        await watching.send(http("GET", f"{CREATE}/a/progress", "accept: text/event-stream"))
        await watching.until(b"\n\n")
        await calling.send(http("POST", "/v1/messages", body=MESSAGE))
        await eventually(world.interactive.begun)
        world.app.stop()
        assert (await watching.rest()).endswith(b"0\r\n\r\n")
        world.interactive.waits_for.set()
        assert (await calling.head())[0] == 200
        await calling.rest()
        await asyncio.wait_for(server.task, DEADLINE_SECONDS)


@pytest.mark.parametrize(
    "rubbish",
    [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\x02\x00"],
)
async def test_what_is_not_http_gets_the_envelope_and_a_closed_connection(world: World, rubbish: bytes) -> None:
    """Detail 28, B1: not uvicorn's plain text."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(rubbish)
        status, headers = await wire.head()
        body = json.loads(await wire.rest())
    assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
    assert body["error"]["type"] == "invalid_request_error"
    assert body["request_id"] == headers["request-id"]


async def test_an_address_in_use_is_an_oserror_and_not_the_end_of_the_process(world: World) -> None:
    """The composition root decides what to say."""
    async with world.server() as server:
        with pytest.raises(OSError, match="in use"):
            await serve(world.app, host="127.0.0.1", port=server.port, on_started=lambda _host, _port: None)


async def test_a_unix_socket_is_private_and_gone_afterwards(world: World, tmp_path: Path) -> None:
    """For a proxy on the same machine."""
    path = tmp_path / "api.sock"
    started: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(world.app, host="", port=0, uds=path, on_started=lambda *address: started.set_result(address))
    )
    assert await asyncio.wait_for(started, DEADLINE_SECONDS) == (str(path), 0)
    reader, writer = await asyncio.open_unix_connection(str(path))
    wire = Wire(reader, writer)
    await wire.send(http("GET", "/health"))
    assert (await wire.head())[0] == 200
    assert path.stat().st_mode & 0o777 == 0o600  # one stat
    world.app.stop()
    await asyncio.wait_for(task, DEADLINE_SECONDS)
    assert not path.exists()  # likewise


async def test_canceling_serve_stops_at_once_and_says_so_to_who_waits(world: World) -> None:
    """For a second signal; the SDK comes back by itself."""
    world.interactive.waits_for = asyncio.Event()
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(http("POST", "/v1/messages", body=MESSAGE))
        await eventually(world.interactive.begun)
        server.task.cancel()
        await eventually(world.interactive.canceled)
        with pytest.raises(asyncio.CancelledError):
            await server.task
        status, headers = await wire.head()
    assert (status, headers["retry-after"]) == (529, "5")
