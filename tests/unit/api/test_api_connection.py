"""Who is refused before the application is asked (B1, B2, B3)."""

import asyncio
import json
import resource
from contextlib import suppress

import pytest

from slackwater.api import server
from slackwater.api.connection import Patience
from support.api import KEY, SMALL, Wire, World, eventually, make_batch, make_ended

BATCH = "/v1/messages/batches/a"
CREATE = "POST /v1/messages/batches HTTP/1.1\r\n"
HEAD = f"host: h\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n"
GET = f"GET {BATCH} HTTP/1.1\r\n{HEAD}\r\n".encode()
HURRIED = Patience(head_seconds=0.15, body_window_seconds=0.15, body_window_bytes=100)


async def refusal(wire: Wire) -> tuple[int, str]:
    """Read one envelope and the end of the connection; return the status and the message."""
    status, headers = await wire.head()
    body = json.loads(await wire.rest())
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    assert headers["request-id"] == body["request_id"].lower()
    assert body["error"]["type"] == "invalid_request_error"
    return status, body["error"]["message"]


async def answered(wire: Wire) -> None:
    """Read one 200 with its body."""
    status, headers = await wire.head()
    assert status == 200
    await wire.exactly(int(headers["content-length"]))


async def pause(seconds: float) -> None:
    """Let time pass for the server, whose timers are the loop's."""
    loop = asyncio.get_running_loop()
    later = loop.create_future()
    loop.call_later(seconds, later.set_result, None)
    await later


SMUGGLING = {
    "length and coding": "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two equal lengths": "content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "two lengths": "content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
    "a list of lengths": "content-length: 2, 2\r\n\r\n{}",
    "a signed length": "content-length: +2\r\n\r\n{}",
    "a hexadecimal length": "content-length: 0x2\r\n\r\n{}",
    "two codings": "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "a list of codings": "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "x-folded: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
    "bare line feeds": "x: y\ncontent-length: 2\n\n{}",
    "a bad chunk size": "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a signed chunk size": "transfer-encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": "transfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "a NUL in a value": "x: a\0b\r\ncontent-length: 2\r\n\r\n{}",
    "a NUL in a name": "x\0y: a\r\ncontent-length: 2\r\n\r\n{}",
    "a lone CR in a value": "x: a\rb\r\ncontent-length: 2\r\n\r\n{}",
    "no name": ": a\r\ncontent-length: 2\r\n\r\n{}",
    "an empty length": "content-length: \r\n\r\n{}",
    "a negative length": "content-length: -1\r\n\r\n{}",
    "two numbers as a length": "content-length: 1 0\r\n\r\n{}",
    "a length beyond 64 bits": "content-length: 99999999999999999999\r\n\r\n{}",
    "a superscript length": "content-length: \xb2\r\n\r\n{}",
    "two lengths in two spellings": "Content-Length: 2\r\ncontent-length: 20\r\n\r\n{}",
    "a vertical tab before the coding": "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a tab behind the coding": "transfer-encoding: chunked\t\r\n\r\n0\r\n\r\n",
    "a quoted coding": 'transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "an empty coding": "transfer-encoding: \r\n\r\n0\r\n\r\n",
    "a folded coding": "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": "transfer-encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
    "a hexadecimal prefix": "transfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a space behind a chunk size": "transfer-encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
    "a bare line feed behind a chunk size": "transfer-encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "a bare line feed behind a chunk": "transfer-encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n",
    "a bare line feed in an extension": "transfer-encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n",
    "a line break in a quoted extension": 'transfer-encoding: chunked\r\n\r\n2;a="\r\n{}\r\n0\r\n\r\n',
    "a length in a trailer": "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\ncontent-length: 5\r\n\r\n",
}


@pytest.mark.parametrize("vector", SMUGGLING)
async def test_what_two_parsers_could_read_differently_is_answered_once_and_the_connection_closed(
    world: World, vector: str
) -> None:
    """B1: a second request hidden behind it never runs."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send((CREATE + HEAD + SMUGGLING[vector]).encode("latin-1") + GET)
        status, _ = await refusal(wire)
    assert status == 400
    assert world.admit.origins == []
    assert world.batches.asked == 0


@pytest.mark.parametrize(
    "start",
    [
        "POST /v1/messages/batches HTTP/1.0\r\ntransfer-encoding: chunked\r\n",
        "POST /v1/messages/batches HTTP/1.1\r\n x: a line that continues none\r\n",
        "POST /v1/messages/batches HTTP/1.1\n",
        "POST /v1/messages/batches HTTP/2.0\r\ntransfer-encoding: chunked\r\n",
        "POST /v1/messages/batches HTTP/0.9\r\n",
        "POST /v1/messages/batches HTTP/1.1 HTTP/1.1\r\n",
        "POST\t/v1/messages/batches\tHTTP/1.1\r\n",
        "POST /v1/messages/\0batches HTTP/1.1\r\n",
        "POST /v1/messages/b\xe4tches HTTP/1.1\r\n",
        "POST v1/messages/batches HTTP/1.1\r\n",
        "POST http:/v1/messages/batches HTTP/1.1\r\n",
        "post /v1/messages/batches HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n",
        "POST /v1/messages/batches\r\n",
        "POST /v1/messages/batches HTTP/1.1\r\nhost: other\r\n",
    ],
)
async def test_a_start_that_is_not_exactly_http_is_refused_and_what_follows_never_runs(
    world: World, start: str
) -> None:
    """B1: old and new versions of HTTP, other line ends, other separators, a second Host."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send((start + HEAD + "\r\n0\r\n\r\n").encode("latin-1") + GET)
        status, _ = await wire.head()
        wire.reset()
    assert status == 400
    assert world.admit.origins == []
    assert world.batches.asked == 0


async def test_a_target_with_a_host_of_its_own_reaches_us_and_points_the_key_nowhere_else(world: World) -> None:
    """B1, E9: RFC 9112 §3.2.2 has us accept the absolute form; no URL is derived from it."""
    world.reconfigure(public_url="")
    world.batches.batches["a"] = make_ended("a")
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(f"GET http://evil.example{BATCH} HTTP/1.1\r\n{HEAD}\r\n".encode())
        _, headers = await wire.head()
        body = json.loads(await wire.exactly(int(headers["content-length"])))
        await wire.send(f"GET http://evil.example HTTP/1.1\r\n{HEAD}\r\n".encode())
        status, _ = await wire.head()
        await wire.close()
    assert body["results_url"] == f"http://127.0.0.1:{address.port}{BATCH}/results"
    assert status in {400, 404}


async def test_headers_after_the_body_are_no_headers(world: World) -> None:
    """B1: a proxy that removes or checks headers does not look for them there (RFC 9110 §6.5.1)."""
    world.batches.batches["a"] = make_batch("a")
    chunked = "host: h\r\nanthropic-version: 2023-06-01\r\ntransfer-encoding: chunked\r\n\r\n"
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(f"GET {BATCH} HTTP/1.1\r\n{chunked}0\r\nx-api-key: {KEY}\r\n\r\n".encode())
        status, headers = await wire.head()
        await wire.exactly(int(headers["content-length"]))
        assert status == 401
        await wire.send(GET)
        await answered(wire)
        await wire.close()


@pytest.mark.parametrize("start", [b"2;extension=", b"2\r\n{}\r\n0\r\nx-trailer: "])
async def test_a_chunk_extension_or_a_trailer_that_never_ends_is_refused_while_it_comes(
    world: World, start: bytes
) -> None:
    """B3: neither is part of the body's limit, and the parser keeps a trailer until it is whole."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(f"{CREATE}{HEAD}transfer-encoding: chunked\r\n\r\n".encode() + start)
        with suppress(ConnectionError):  # it may be refused before the last piece
            for _ in range(20):
                await wire.send(b"y" * 10_000)
        assert (await refusal(wire))[0] == 431
    assert world.admit.origins == []


async def test_a_chunk_size_beyond_all_limits_is_counted_as_it_comes(world: World) -> None:
    """B4: the size that a chunk announces is believed no more than a Content-Length."""
    world.reconfigure(limits=SMALL)
    async with world.server() as address:
        wire = await address.connect()
        head = f"{CREATE}{HEAD}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"
        await wire.send(head.encode() + b" " * 5000)
        assert (await wire.head())[0] == 413
        await wire.close()


async def test_one_byte_to_a_chunk_with_an_extension_each_is_only_slow_to_write(world: World) -> None:
    """B3: what frames a body has no limit of its own as long as the body comes."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(f"{CREATE}{HEAD}transfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(50):
            await wire.send(b"1;a=b\r\n \r\n" * 1000)
        await wire.send(b"0\r\n\r\n")
        assert (await wire.head())[0] == 200
        await wire.close()
    assert world.admit.bodies == [b" " * 50_000]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET /{'x' * 8200} HTTP/1.1\r\n", 414),
        (f"GET /health HTTP/1.1\r\nx: {'y' * 33_000}\r\n", 431),
        ("GET /health HTTP/1.1\r\n" + "".join(f"x-{n}: y\r\n" for n in range(101)), 431),
        ("GET /health HTTP/1.1\r\n" + "".join(f"x-{n}: {'y' * 500}\r\n" for n in range(70)), 431),
    ],
)
async def test_a_flood_of_headers_or_a_long_target_is_refused(world: World, head: str, status: int) -> None:
    """B3."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(f"{head}host: h\r\n\r\n".encode())
        assert (await refusal(wire))[0] == status


async def test_a_header_that_never_ends_is_refused_while_it_comes(world: World) -> None:
    """B3: the parser reports a header only once it is whole, so the bytes are counted as well."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(b"GET /health HTTP/1.1\r\nx: ")
        for _ in range(5):
            await wire.send(b"y" * 10_000)
        assert (await refusal(wire))[0] == 431


async def test_what_is_just_allowed_passes(world: World) -> None:
    """B3: the limits are no tighter than they say."""
    async with world.server() as address:
        wire = await address.connect()
        lines = "".join(f"x-{n}: {'y' * 300}\r\n" for n in range(99))
        await wire.send(f"GET /health?{'q' * 8000} HTTP/1.1\r\nhost: h\r\n{lines}\r\n".encode())
        assert (await wire.head())[0] == 200
        await wire.close()


async def test_a_flood_is_read_until_its_refusal_was_heard(world: World) -> None:
    """B3: closing at once would reset the connection, and the client would never know why."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(b"GET /health HTTP/1.1\r\nx: ")
        for _ in range(300):
            await wire.send(b"y" * 10_000)
        assert (await refusal(wire))[0] == 431


async def test_a_refusal_is_not_taken_for_the_answer_to_what_was_asked_before(world: World) -> None:
    """B1: what is in progress is answered, then the connection is closed."""
    world.interactive.waits_for = asyncio.Event()
    async with world.server() as address:
        wire = await address.connect()
        body = b'{"model":"m"}'
        ask = f"POST /v1/messages HTTP/1.1\r\n{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body
        await wire.send(ask + b"GET / HTTP/9.9\r\n\r\n")
        await eventually(world.interactive.begun)
        world.interactive.waits_for.set()
        status, headers = await wire.head()
        answer = await wire.exactly(int(headers["content-length"]))
        assert (status, await wire.rest()) == (200, b"")
    assert json.loads(answer)["type"] == "message"


async def test_connections_beyond_the_limit_are_told_so_and_closed(world: World) -> None:
    """B2: idle clients must not take the descriptors that files and backends need; the next one is served again."""
    async with world.server(Patience(connections_max=3)) as address:
        idle = [await address.connect() for _ in range(3)]
        wire = await address.connect()
        status, headers = await wire.head()
        body = json.loads(await wire.rest())
        assert (status, headers["connection"], body["error"]["type"]) == (529, "close", "overloaded_error")
        idle[0].reset()
        while True:
            wire = await address.connect()
            await wire.send(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n")
            if (await wire.head())[0] == 200:
                break
            await wire.rest()
        for other in [wire, *idle[1:]]:
            await other.close()


@pytest.mark.parametrize(
    ("allowed", "most", "connections", "asked"),
    [
        (256, 1024, 512, [(1024, 1024)]),
        (1024, 524_288, 64_512, [(65_536, 524_288)]),
        (20_000, 20_000, 18_976, []),
        (1024, resource.RLIM_INFINITY, 64_512, [(65_536, resource.RLIM_INFINITY)]),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 65_536, []),
    ],
)
def test_connections_leave_descriptors_to_files_and_backends(
    monkeypatch: pytest.MonkeyPatch, allowed: int, most: int, connections: int, asked: list[tuple[int, int]]
) -> None:
    """B2: as many descriptors as the system gives are asked for, and some of them are never a client's."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (allowed, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: given.append(limits))
    assert server._room_for_connections() == connections
    assert given == asked


async def test_two_thousand_idle_connections_are_closed_in_time_and_hold_up_nobody(world: World) -> None:
    """F19, B2: among them one that sends is answered, and nobody else is still there afterwards."""
    async with world.server(Patience(head_seconds=1.0)) as address:  # which asks for the descriptors
        here, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        idle = [await address.connect() for _ in range(min(2000, (here - 200) // 2))]
        wire = await address.connect()
        await wire.send(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n")
        assert (await wire.head())[0] == 200
        for other in idle:
            assert (await other.head())[0] == 408
            await other.close()
        await wire.close()


@pytest.mark.parametrize("part", [b"", b"GET /hea", f"{CREATE}{HEAD}content-length: 9\r\n\r\n{{".encode()])
async def test_a_client_that_ends_its_side_has_left(world: World, part: bytes) -> None:
    """B2: half-closed connections are closed at once, and half a body is nobody's (D2)."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(part)
        wire.writer.write_eof()
        assert await wire.rest() == b""
        await wire.close()
    assert world.admit.origins == []
    assert not await asyncio.to_thread(lambda: list(world.services.spool_dir.iterdir()))


async def test_nothing_is_made_for_a_client_that_has_left(world: World) -> None:
    """D3: it will call again, and what it gave up must not become a batch beside the one of that call."""
    came, left = asyncio.Event(), asyncio.Event()

    async def take_long() -> None:
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    world.admit.first = take_long
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(f"{CREATE}{HEAD}content-length: 2\r\n\r\n{{}}".encode())
        await came.wait()
        await wire.close()
        await left.wait()
    assert not await asyncio.to_thread(lambda: list(world.services.spool_dir.iterdir()))
    assert world.admit.bodies == []


@pytest.mark.parametrize("start", [b"", b"GET /health HTTP/1.1\r\nhost"])
async def test_a_head_that_does_not_come_is_a_408(world: World, start: bytes) -> None:
    """B2: a silent connection and a slow head."""
    async with world.server(HURRIED) as address:
        wire = await address.connect()
        await wire.send(start)
        assert await refusal(wire) == (408, "The request head took too long")


async def test_blank_lines_do_not_keep_a_connection_open(world: World) -> None:
    """B2: they are legal between requests, and no request."""
    world.batches.batches["a"] = make_batch("a")
    async with world.server(HURRIED) as address:
        wire = await address.connect()
        await wire.send(GET)
        _, headers = await wire.head()
        await wire.exactly(int(headers["content-length"]))
        await wire.send(b"\r\n")
        assert (await refusal(wire))[0] == 408


async def test_headers_one_after_the_other_do_not_buy_time(world: World) -> None:
    """F19, B2: slowloris; the time is that of the whole head."""
    async with world.server(Patience(head_seconds=0.3)) as address:
        wire = await address.connect()
        await wire.send(b"GET /health HTTP/1.1\r\n")
        with suppress(ConnectionError):
            for _ in range(20):
                await wire.send(b"x: y\r\n")
                await pause(0.05)
        assert await refusal(wire) == (408, "The request head took too long")


@pytest.mark.parametrize("trickle", [b"2;a", b"2;" + b"a" * 30_000, b"1\r\n \r\n"])
async def test_a_chunked_body_that_trickles_is_a_408_whatever_it_trickles(world: World, trickle: bytes) -> None:
    """B2: only bytes of the body count towards its rate."""
    async with world.server(HURRIED) as address:
        wire = await address.connect()
        await wire.send(f"{CREATE}{HEAD}transfer-encoding: chunked\r\n\r\n".encode() + trickle)
        assert await refusal(wire) == (408, "The request body took too long")


@pytest.mark.parametrize("part", [b"", b"{"])
async def test_a_body_that_does_not_come_is_a_408_with_its_code_and_leaves_no_spool(world: World, part: bytes) -> None:
    """B2, and contract §1.7's error code; the SDK is told not to send it again."""
    async with world.server(HURRIED) as address:
        wire = await address.connect()
        await wire.send(f"{CREATE}{HEAD}content-length: 1000\r\n\r\n".encode() + part)
        status, headers = await wire.head()
        error = json.loads(await wire.rest())["error"]
    assert (status, headers["x-should-retry"]) == (408, "false")
    assert error["details"] == {"error_code": "request_body_timeout"}
    assert world.admit.origins == []
    assert not await asyncio.to_thread(lambda: list(world.services.spool_dir.iterdir()))


async def test_a_slow_but_steady_upload_passes(world: World) -> None:
    """B2: the rate is what counts, not the time."""
    async with world.server(HURRIED) as address:
        wire = await address.connect()
        await wire.send(f"{CREATE}{HEAD}content-length: 1200\r\n\r\n".encode())
        for _ in range(12):
            await wire.send(b" " * 100)
            await pause(0.05)
        assert (await wire.head())[0] == 200
        await wire.close()


async def test_an_answer_that_takes_long_is_not_a_slow_client(world: World) -> None:
    """B2: the timers end with the body."""
    world.interactive.waits_for = asyncio.Event()
    async with world.server(HURRIED) as address:
        wire = await address.connect()
        body = b'{"model":"m"}'
        await wire.send(f"POST /v1/messages HTTP/1.1\r\n{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body)
        await pause(0.5)
        world.interactive.waits_for.set()
        assert (await wire.head())[0] == 200
        await wire.close()


async def test_requests_one_after_the_other_and_in_one_piece_are_all_answered(world: World) -> None:
    """Keep-alive and pipelining, with a body before the next head."""
    world.batches.batches["a"] = make_batch("a")
    async with world.server() as address:
        wire = await address.connect()
        body = b"{" + b" " * 200_000 + b"}"
        create = f"{CREATE}{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body
        await wire.send(create + GET + create + GET)
        for _ in range(4):
            await answered(wire)
        await wire.close()
    assert len(world.admit.bodies) == 2


@pytest.mark.parametrize("cut", [0, 40, 200])
async def test_an_offered_upgrade_is_declined_and_the_body_read_all_the_same(world: World, cut: int) -> None:
    """Java's HTTP client offers h2c with its first request; its body must not be lost."""
    world.batches.batches["a"] = make_batch("a")
    offer = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    body = b'{"requests":[]}'
    create = f"{CREATE}{HEAD}{offer}content-length: {len(body)}\r\n\r\n".encode() + body
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(f"GET {BATCH} HTTP/1.1\r\n{HEAD}{offer}\r\n".encode() + create[:cut])
        await answered(wire)
        await wire.send(create[cut:])
        await answered(wire)
        await wire.send(GET)
        await answered(wire)
        await wire.close()
    assert world.admit.bodies == [body]


async def test_thousands_of_offers_in_one_piece_are_no_depth(world: World) -> None:
    """They are declined one after the other, not one inside the other."""
    offer = b"GET /health HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(offer * 2000)
        for _ in range(2000):
            await answered(wire)
        await wire.close()


async def test_connect_is_refused(world: World) -> None:
    """We are no proxy."""
    async with world.server() as address:
        wire = await address.connect()
        await wire.send(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n")
        assert (await refusal(wire))[0] == 400


async def test_a_client_that_goes_on_sending_after_a_refusal_is_read_until_it_has_its_answer(world: World) -> None:
    """B4: closing at once would reset the connection before the answer is read."""
    async with world.server() as address:
        wire = await address.connect()
        head = f"{CREATE}host: h\r\nx-api-key: no\r\nanthropic-version: 2023-06-01\r\n"
        body = b"1" * 3_000_000
        await wire.send(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, headers = await wire.head()
        assert status == 401
        await wire.exactly(int(headers["content-length"]))
        await wire.send(f"GET /health HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert (await wire.head())[0] == 200
        await wire.close()
