"""Connections to a backend: kept, looked at before they are used, closed in time (X2, F16)."""

import asyncio
import gc
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends import pool as pool_module
from slackwater.backends.answers import AnswerReader
from slackwater.backends.http import HTTPClient
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, WireError
from support.stub import NOW, Received, Stub, reply, sse

ANSWER = reply({"a": 1})


@pytest.fixture
async def client(stub: Stub) -> AsyncIterator[HTTPClient]:
    """Run a client of the stub."""
    made = client_of(stub.url)
    yield made
    await made.close()


def client_of(url: str, **more: Any) -> HTTPClient:
    given = {"name": "gpu0", "headers": {}, "timeout_seconds": 5.0, "wall": lambda: NOW, **more}
    return HTTPClient(url=url, **given)


async def test_a_connection_that_ended_meanwhile_is_noticed_without_a_turn_of_the_loop(
    stub: Stub, client: HTTPClient
) -> None:
    """X2: the loop has not read the end yet when the next request is to be sent; what were written would be lost."""
    ends: list[socket.socket] = []

    async def keep(_request: Received, writer: asyncio.StreamWriter) -> None:
        ends.append(writer.get_extra_info("socket"))
        writer.write(ANSWER)

    stub.play = keep
    await client.get("/")
    socket.socket(fileno=socket.dup(ends[0].fileno())).shutdown(socket.SHUT_RDWR)  # behind the back of the loop
    assert await client.get("/") == {"a": 1}
    assert stub.connections == 2


@pytest.mark.parametrize("surplus", [b"x", ANSWER])
async def test_an_answer_that_nobody_asked_for_is_given_to_nobody(
    stub: Stub, client: HTTPClient, surplus: bytes
) -> None:
    """S8: whether it comes with an answer or later, the connection is not used again."""
    stub.answers = [ANSWER + surplus, reply({"a": 2})]
    assert await client.get("/") == {"a": 1}
    assert await client.get("/") == {"a": 2}
    assert stub.connections == 2


async def test_what_is_sent_while_a_connection_is_idle_ends_it(stub: Stub, client: HTTPClient) -> None:
    """S8: a late surplus is found on the socket before the next request is sent."""
    late: list[asyncio.StreamWriter] = []

    async def keep(_request: Received, writer: asyncio.StreamWriter) -> None:
        late.append(writer)
        writer.write(ANSWER)

    stub.play = keep
    await client.get("/")
    late[0].write(reply({"a": "of somebody else"}))
    assert await client.get("/") == {"a": 1}
    assert stub.connections == 2


@pytest.mark.parametrize("answer", [reply({"a": 1}, connection="close"), reply(b"{}", status=500) + b"x"])
async def test_a_server_that_closes_is_believed(stub: Stub, client: HTTPClient, answer: bytes) -> None:
    """RFC 9112 §9.6."""
    stub.answers = [answer]
    await client.exchange("GET", "/")
    await client.exchange("GET", "/")
    assert stub.connections == 2


async def test_connections_are_kept_for_a_while_and_no_longer(
    stub: Stub, client: HTTPClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X2: a server closes what is idle for long, and we must be the first to."""
    monkeypatch.setattr(pool_module, "KEEPALIVE_SECONDS", 0.01)
    gone = asyncio.Event()

    async def watch(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)
        await writer.drain()
        asyncio.ensure_future(writer.wait_closed()).add_done_callback(lambda _: gone.set())

    stub.play = watch
    await client.get("/")
    await asyncio.wait_for(gone.wait(), 10)
    assert stub.connections == 1


async def test_the_connection_used_last_is_used_first(stub: Stub, client: HTTPClient) -> None:
    """Those that are not needed any more grow old and are closed."""
    both = asyncio.Barrier(2)

    async def together(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.path != "/alone":
            await both.wait()
        writer.write(ANSWER)

    stub.play = together
    await asyncio.gather(client.get("/"), client.get("/"))
    for _ in range(5):
        await client.get("/alone")
    assert stub.connections == 2


async def test_an_answer_that_comes_before_the_request_is_through_counts() -> None:
    """X7: a server may refuse a large body without reading it; what is left unsent makes the connection useless."""
    told = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply({}, status=413))
        await writer.drain()
        await told.wait()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=2**16)
    own = client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (await own.exchange("POST", "/", {"text": "x" * 2**25})).status == 413
    told.set()
    await own.close()
    server.close()


async def failures_of(client: HTTPClient, *, stream: bool) -> int:
    """Make a call that fails, and have it become a result as every failed attempt does."""
    failures = 0
    try:
        if stream:
            async for _ in client.events("/", {}, model="m"):
                pass
        else:
            await client.get("/")
    except AttemptFailedError as failed:
        failures += 1
        try:
            raise failed.error from failed
        except WireError:
            failures += 1
    return failures


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", ["silence", "end", "nonsense"])
async def test_what_came_of_an_answer_that_failed_is_not_kept(stub: Stub, ending: str, *, stream: bool) -> None:
    """P4: it may be tens of megabytes, and the garbage collector may not come for hours."""
    client = client_of(stub.url, timeout_seconds=0.2)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    async def play(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"5\r\nhello\r\n" + (b"nonsense\r\n" if ending == "nonsense" else b""))
        await writer.drain()
        if ending == "end":
            writer.close()

    stub.play = play
    gc.collect()
    gc.disable()
    try:
        assert await failures_of(client, stream=stream) == 2
        await asyncio.sleep(0)
        assert not any(isinstance(one, AnswerReader) for one in gc.get_objects())
    finally:
        gc.enable()
        await client.close()


async def test_closing_a_client_ends_what_is_on_its_way(stub: Stub, client: HTTPClient) -> None:
    """L4: at the end of a process nothing is left open."""
    arrived = asyncio.Event()

    async def never(_request: Received, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await stub.stopped.wait()

    stub.play = never
    call = asyncio.ensure_future(client.get("/"))
    await arrived.wait()
    await client.close()
    with pytest.raises(AttemptFailedError):
        await call


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0b"])
async def test_no_header_begins_another(stub: Stub, client: HTTPClient, value: str) -> None:
    """E3: nothing of it is sent."""
    with pytest.raises(ValueError, match="line break"):
        await client.exchange("GET", "/", headers={"x": value})
    assert stub.connections == 0


async def test_the_address_is_written_as_the_server_knows_itself(stub: Stub) -> None:
    """RFC 9112 §3.2: the host with its port, and the path of the base URL before the call's."""
    stub.answers = [ANSWER]
    client = client_of(f"{stub.url}/prefix/v1/")
    await client.get("/v1/models?limit=1")
    await client.close()
    (sent,) = stub.received
    assert (sent.path, f"http://{sent.headers['host']}") == ("/prefix/v1/models?limit=1", stub.url)


async def test_a_server_that_cannot_prove_who_it_is_gets_no_key(stub: Stub) -> None:
    """C8: where TLS is asked for, nothing is sent before its certificate was checked."""
    stub.answers = [ANSWER]
    client = client_of(stub.url.replace("http:", "https:"), timeout_seconds=2.0)
    with pytest.raises(BackendAwayError):
        await client.get("/")
    await client.close()
    assert stub.received == []


def certified(directory: Path) -> tuple[Path, Path]:
    """Make a key and a certificate for localhost."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    return key, certificate


@pytest.fixture
async def over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stub]:
    """Run a stub that proves to be localhost with a certificate that this test trusts."""
    key, certificate = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    one = Stub()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=context)
    one.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    yield one
    server.close()


async def test_over_tls_everything_is_as_without_it(over_tls: Stub) -> None:
    """C8: one connection for a long answer, another call and a stream, to a server that proved who it is."""
    long = reply({"a": "x" * 2_000_000})
    over_tls.answers = [long, ANSWER, sse({"b": 2})]
    client = client_of(over_tls.url, headers={"x-api-key": "k"})
    assert len((await client.post("/", {"c": "y" * 2_000_000}, model="m"))["a"]) == 2_000_000
    assert await client.get("/") == {"a": 1}
    assert [event.data async for event in client.events("/", {}, model="m")] == ['{"b": 2}', "[DONE]"]
    await client.close()
    assert [sent.headers["x-api-key"] for sent in over_tls.received] == ["k", "k", "k"]
    assert over_tls.connections <= 3


async def test_a_certificate_of_another_name_is_believed_by_nobody(over_tls: Stub) -> None:
    """C8: the name in the URL is what must be proved."""
    client = client_of(over_tls.url.replace("localhost", "127.0.0.1"))
    with pytest.raises(BackendAwayError):
        await client.get("/")
    await client.close()
    assert over_tls.received == []


async def test_a_patient_client_waits_for_one_who_keeps_talking(stub: Stub) -> None:
    """X7: the time bounds the silence, and begins anew with every piece."""
    turns = asyncio.Semaphore(0)

    async def slowly(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n")
        for _ in range(3):
            writer.write(b"data: x\n\n")
            await turns.acquire()
        await stub.stopped.wait()

    stub.play = slowly
    client = client_of(stub.url, timeout_seconds=0.3, patient=True)
    events = client.events("/", {}, model="m")
    for _ in range(3):
        assert (await anext(events)).data == "x"
        turns.release()
    with pytest.raises(AttemptFailedError, match="no answer in time"):
        await anext(events)
    await client.close()
