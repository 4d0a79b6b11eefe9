"""Who is refused before the application is asked (B1, B2, B3)."""

import asyncio
import json

import pytest

from slackwater.api.connection import Patience
from support.api import KEY, Wire, World, make_batch

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
}


@pytest.mark.parametrize("vector", SMUGGLING)
async def test_what_two_parsers_could_read_differently_is_answered_once_and_the_connection_closed(
    world: World, vector: str
) -> None:
    """B1: a second request hidden behind it never runs."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send((CREATE + HEAD + SMUGGLING[vector]).encode() + GET)
        status, _ = await refusal(wire)
    assert status == 400
    assert world.admit.origins == []
    assert world.batches.asked == 0


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
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(f"{head}host: h\r\n\r\n".encode())
        assert (await refusal(wire))[0] == status


async def test_a_header_that_never_ends_is_refused_while_it_comes(world: World) -> None:
    """B3: the parser reports a header only once it is whole, so the bytes are counted as well."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(b"GET /health HTTP/1.1\r\nx: ")
        for _ in range(5):
            await wire.send(b"y" * 10_000)
        assert (await refusal(wire))[0] == 431


async def test_what_is_just_allowed_passes(world: World) -> None:
    """B3: the limits are no tighter than they say."""
    async with world.server() as server:
        wire = await server.connect()
        lines = "".join(f"x-{n}: {'y' * 300}\r\n" for n in range(99))
        await wire.send(f"GET /health?{'q' * 8000} HTTP/1.1\r\nhost: h\r\n{lines}\r\n".encode())
        assert (await wire.head())[0] == 200
        await wire.close()


@pytest.mark.parametrize("start", [b"", b"GET /health HTTP/1.1\r\nhost"])
async def test_a_head_that_does_not_come_is_a_408(world: World, start: bytes) -> None:
    """B2: a silent connection and a slow head."""
    async with world.server(HURRIED) as server:
        wire = await server.connect()
        await wire.send(start)
        assert await refusal(wire) == (408, "The request head took too long")


async def test_blank_lines_do_not_keep_a_connection_open(world: World) -> None:
    """B2: they are legal between requests, and no request."""
    world.batches.batches["a"] = make_batch("a")
    async with world.server(HURRIED) as server:
        wire = await server.connect()
        await wire.send(GET)
        _, headers = await wire.head()
        await wire.exactly(int(headers["content-length"]))
        await wire.send(b"\r\n")
        assert (await refusal(wire))[0] == 408


@pytest.mark.parametrize("part", [b"", b"{"])
async def test_a_body_that_does_not_come_is_a_408_with_its_code_and_leaves_no_spool(world: World, part: bytes) -> None:
    """B2, and contract §1.7's error code; the SDK is told not to send it again."""
    async with world.server(HURRIED) as server:
        wire = await server.connect()
        await wire.send(f"{CREATE}{HEAD}content-length: 1000\r\n\r\n".encode() + part)
        status, headers = await wire.head()
        error = json.loads(await wire.rest())["error"]
    assert (status, headers["x-should-retry"]) == (408, "false")
    assert error["details"] == {"error_code": "request_body_timeout"}
    assert world.admit.origins == []
    assert not await asyncio.to_thread(lambda: list(world.services.spool_dir.iterdir()))


async def test_a_slow_but_steady_upload_passes(world: World) -> None:
    """B2: the rate is what counts, not the time."""
    async with world.server(HURRIED) as server:
        wire = await server.connect()
        await wire.send(f"{CREATE}{HEAD}content-length: 1200\r\n\r\n".encode())
        loop = asyncio.get_running_loop()
        for _ in range(12):
            await wire.send(b" " * 100)
            later = loop.create_future()
            loop.call_later(0.05, later.set_result, None)
            await later
        assert (await wire.head())[0] == 200
        await wire.close()


async def test_an_answer_that_takes_long_is_not_a_slow_client(world: World) -> None:
    """B2: the timers end with the body."""
    world.interactive.waits_for = asyncio.Event()
    async with world.server(HURRIED) as server:
        wire = await server.connect()
        body = b'{"model":"m"}'
        await wire.send(f"POST /v1/messages HTTP/1.1\r\n{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body)
        loop = asyncio.get_running_loop()
        later = loop.create_future()
        loop.call_later(0.5, later.set_result, None)
        await later
        world.interactive.waits_for.set()
        assert (await wire.head())[0] == 200
        await wire.close()


async def test_requests_one_after_the_other_and_in_one_piece_are_all_answered(world: World) -> None:
    """Keep-alive and pipelining, with a body before the next head."""
    world.batches.batches["a"] = make_batch("a")
    async with world.server() as server:
        wire = await server.connect()
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
    async with world.server() as server:
        wire = await server.connect()
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
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(offer * 2000)
        for _ in range(2000):
            await answered(wire)
        await wire.close()


async def test_connect_is_refused(world: World) -> None:
    """We are no proxy."""
    async with world.server() as server:
        wire = await server.connect()
        await wire.send(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n")
        assert (await refusal(wire))[0] == 400


async def test_a_client_that_goes_on_sending_after_a_refusal_is_read_until_it_has_its_answer(world: World) -> None:
    """B4: closing at once would reset the connection before the answer is read."""
    async with world.server() as server:
        wire = await server.connect()
        head = f"{CREATE}host: h\r\nx-api-key: no\r\nanthropic-version: 2023-06-01\r\n"
        body = b"1" * 3_000_000
        await wire.send(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, headers = await wire.head()
        assert status == 401
        await wire.exactly(int(headers["content-length"]))
        await wire.send(f"GET /health HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert (await wire.head())[0] == 200
        await wire.close()
