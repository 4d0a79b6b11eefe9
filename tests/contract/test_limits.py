"""The limits of the wire at their real size, against a real server (contract §1.8)."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import RunningServer
from support.waiting import until

LIMIT_BYTES = 256 * 2**20
HEAD = b'{"requests":[{"custom_id":"large","params":{"padding":"'
TAIL = b'"}}]}'
PIECE = b"x" * 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server over the simulator."""
    config = '[[backends]]\nname = "sim"\nprotocol = "simulated"\nlatency_ms = 1\n'
    one = RunningServer.start(tmp_path_factory.mktemp("limits"), config)
    yield one
    one.stop()


def body(size: int) -> Iterator[bytes]:
    """Yield a create body of exactly `size` bytes."""
    left = size - len(HEAD) - len(TAIL)
    yield HEAD
    while left:
        yield PIECE[: min(left, len(PIECE))]
        left -= min(left, len(PIECE))
    yield TAIL


def post(server: RunningServer, size: int, *, chunked: bool) -> tuple[int, dict[str, object]]:
    """Send a create body; return the status and the answer, also when it comes before the body was read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"x-api-key": server.api_key, "anthropic-version": "2023-06-01", "content-type": "application/json"}
    if not chunked:
        headers["content-length"] = str(size)
    try:
        try:
            connection.request("POST", "/v1/messages/batches", body(size), headers, encode_chunked=chunked)
        except ConnectionError:
            assert size > LIMIT_BYTES, "a body within the limit was cut off"
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_one_byte_more_than_256_mib_is_413_and_leaves_nothing(server: RunningServer, *, chunked: bool) -> None:
    """D2, B4, section 16 row 27: counted while it streams, with the envelope; no spool file stays."""
    status, answer = post(server, LIMIT_BYTES + 1, chunked=chunked)
    assert (status, answer["type"]) == (413, "error")
    assert answer["error"] == {"type": "request_too_large", "message": "Request exceeds the maximum size"}
    until(lambda: not list(Path(server.data / "spool").iterdir()))


def test_exactly_256_mib_is_accepted_and_its_oversized_request_is_its_own_error(server: RunningServer) -> None:
    """D1, S8: the batch is made; the one request in it is larger than a request may be."""
    status, batch = post(server, LIMIT_BYTES, chunked=False)
    assert status == 200
    path = f"/v1/messages/batches/{batch['id']}"
    until(lambda: json.loads(server.call("GET", path))["processing_status"] == "ended")
    line = json.loads(server.call("GET", f"{path}/results"))
    assert line["result"]["error"]["error"]["type"] == "request_too_large"
