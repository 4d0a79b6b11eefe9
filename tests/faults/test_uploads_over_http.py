"""Uploads to a real server: killed in the middle and right after the answer, and larger than its memory may grow."""

import hashlib
import http.client
import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.server import RunningServer
from support.waiting import until

CONFIG = """
[files]
downloadable = true
size_bytes_max = 209715200

[[backends]]
name = "sim"
protocol = "simulated"
"""
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
MIB = 2**20


@contextmanager
def running(directory: Path, altered: dict[str, str] | None = None) -> Iterator[RunningServer]:
    """Run a server on what lies in the directory."""
    server = RunningServer.start(directory, CONFIG, altered=altered)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def begin(server: RunningServer, length: int) -> http.client.HTTPConnection:
    """Announce an upload of so many bytes and send its head."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", "/v1/files")
    for name, value in {
        "x-api-key": server.api_key,
        "anthropic-version": "2023-06-01",
        "content-type": "multipart/form-data; boundary=b",
        "content-length": str(len(HEAD) + length + len(TAIL)),
    }.items():
        connection.putheader(name, value)
    connection.endheaders(HEAD)
    return connection


def spooled(server: RunningServer) -> list[Path]:
    """Return what is on its way."""
    return [*(server.data / "spool").iterdir()]


def blobs(server: RunningServer) -> list[Path]:
    """Return the files' bytes."""
    return [path for path in (server.data / "blobs" / "files").rglob("*") if path.is_file()]


def test_a_server_killed_in_the_middle_of_an_upload_has_no_file_and_no_bytes(tmp_path: Path) -> None:
    """D2: nothing is visible after the restart, which removes what it had received; a disk full of that is no use."""
    with running(tmp_path) as server:
        connection = begin(server, 64 * MIB)
        connection.send(b"x" * (8 * MIB))
        until(lambda: any(path.stat().st_size >= 4 * MIB for path in spooled(server)))
        server.process.kill()
        server.process.wait()
        connection.close()
        assert len(spooled(server)) == 1
    with running(tmp_path) as server:
        assert json.loads(server.call("GET", "/v1/files"))["data"] == []
        until(lambda: not spooled(server))
        assert blobs(server) == []


def test_a_server_killed_right_after_its_answer_has_the_whole_file(tmp_path: Path) -> None:
    """D1, D5: 200 means durable."""
    data = random.Random(20261122).randbytes(3 * MIB)  # noqa: S311  # bytes, not a secret
    with running(tmp_path) as server:
        connection = begin(server, len(data))
        connection.send(data + TAIL)
        response = connection.getresponse()
        made = json.loads(response.read())
        server.process.kill()
        assert response.status == http.HTTPStatus.OK
        server.process.wait()
    with running(tmp_path) as server:
        assert json.loads(server.call("GET", f"/v1/files/{made['id']}")) == made
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = {"x-api-key": server.api_key, "anthropic-version": "2023-06-01"}
        connection.request("GET", f"/v1/files/{made['id']}/content", headers=headers)
        assert hashlib.sha256(connection.getresponse().read()).digest() == hashlib.sha256(data).digest()


def test_a_large_upload_does_not_grow_the_server_and_one_that_is_too_large_leaves_nothing(tmp_path: Path) -> None:
    """Contract §1.8: 200 MiB in, and a MiB more without a length, refused on its way; memory grows by less than 64."""
    with running(tmp_path) as server:
        server.call("GET", "/v1/files")
        before = peak_bytes(server)
        connection = begin(server, 200 * MIB)
        for _ in range(200):
            connection.send(bytes(MIB))
        connection.send(TAIL)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["size_bytes"]) == (200, 200 * MIB)
        assert endless(server) == b"HTTP/1.1 413"
        assert peak_bytes(server) - before < 64 * MIB
        until(lambda: not spooled(server))
        assert [path.stat().st_size for path in blobs(server)] == [200 * MIB]


def endless(server: RunningServer) -> bytes:
    """Upload in chunks until the server answers; return the begin of its answer."""
    head = [
        "POST /v1/files HTTP/1.1",
        "host: x",
        f"x-api-key: {server.api_key}",
        "anthropic-version: 2023-06-01",
        "content-type: multipart/form-data; boundary=b",
        "transfer-encoding: chunked",
    ]
    piece = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + b"%x\r\n" % len(HEAD) + HEAD + b"\r\n")
        for _ in range(201):
            connection.sendall(piece)
        return connection.recv(12)


def peak_bytes(server: RunningServer) -> int:
    """Return the most memory the server has had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
