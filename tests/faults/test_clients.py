"""Clients that vanish, and answers that do not reach them."""

import hashlib
import http.client
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import msgspec
import pytest

from support.lossy import LossyWay
from support.machine import Machine
from support.server import API_KEY
from support.simulator import RunningSimulator
from support.table import PROPERTY

SLOW = pytest.mark.slow
HEADERS = {"x-api-key": API_KEY, "anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Start a server whose backend is quick, for all of these tests: what vanishes leaves nothing."""
    directory = tmp_path_factory.mktemp("clients")
    machine = Machine(directory, RunningSimulator.start(directory, "--latency-ms", "1"), "sqlite")
    machine.start()
    yield machine
    machine.kill()
    machine.simulator.stop()


def listed(one: Machine) -> set[str]:
    """Return the ids of the latest batches."""
    page = msgspec.json.decode(one.server.call("GET", "/v1/messages/batches?limit=1000"))
    return {batch["id"] for batch in page["data"]}


@pytest.mark.parametrize("times", [8, pytest.param(900, marks=SLOW)])
def test_creates_whose_answers_get_lost_once_or_twice_are_one_batch_each(
    one: Machine, times: int, record_property: Callable[[str, object], None]
) -> None:
    """F18, D3: the SDK sends them again, marked; each call gets the id of the only batch there is."""
    chance = random.Random(20261128)  # noqa: S311  # where to hurt, not what to hide
    before, made = listed(one), set()
    plain = anthropic.DefaultHttpxClient(trust_env=False)
    with (
        LossyWay.to(one.server.port) as way,
        anthropic.Anthropic(
            base_url=f"http://127.0.0.1:{way.port}", api_key=API_KEY, max_retries=3, http_client=plain
        ) as client,
    ):
        client._calculate_retry_timeout = lambda *_: 0.0  # type: ignore[method-assign]  # they need not wait here
        for number in range(times):
            way.losing = chance.choice([1, 2])
            request: Any = {
                "custom_id": f"n{number}",
                "params": {"model": "any", "max_tokens": 8, "messages": [{"role": "user", "content": f"n{number}"}]},
            }
            made.add(client.messages.batches.create(requests=[request]).id)
        assert way.lost >= times
    record_property(PROPERTY, {"hurt": way.lost, "accepted": times})
    assert len(made) == times
    assert listed(one) - before == made


@pytest.mark.parametrize("times", [8, pytest.param(900, marks=SLOW)])
def test_a_client_that_vanishes_in_the_middle_of_a_create_leaves_no_batch(one: Machine, times: int) -> None:
    """F17, D2: wherever in the body it was, in good order or with a reset; nothing of it stays in the spool."""
    chance = random.Random(20261128)  # noqa: S311  # where to hurt, not what to hide
    request = {"custom_id": "a", "params": {"model": "m", "messages": [{"role": "user", "content": "x" * 300_000}]}}
    body = msgspec.json.encode({"requests": [request]})
    head = f"POST /v1/messages/batches HTTP/1.1\r\nHost: x\r\ncontent-length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    before = listed(one)
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", one.server.port)) as client:
            client.sendall(head.encode() + b"\r\n" + body[: chance.randrange(len(body))])
            if chance.random() < 0.5:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    whole = one.create("whole", 1)
    assert listed(one) - before == {whole}
    one.ended(whole)
    assert not list((one.server.data / "spool").iterdir())


@pytest.mark.parametrize("times", [8, pytest.param(900, marks=SLOW)])
def test_results_that_were_cut_off_go_on_where_they_ended(one: Machine, times: int) -> None:
    """F17, R1: read a little, vanish, come back with `Range` and `If-Range`; the bytes are the same ones."""
    chance = random.Random(20261128)  # noqa: S311  # where to hurt, not what to hide
    batch_id = one.create("many", 2_000)
    one.ended(batch_id)
    whole, _, etag = _read(one, batch_id)
    got, cuts = b"", 0
    while len(got) < len(whole):
        step = chance.randrange(1, 2 * len(whole) // times)
        piece, status, _ = _read(one, batch_id, {"range": f"bytes={len(got)}-", "if-range": etag}, step)
        assert status == http.HTTPStatus.PARTIAL_CONTENT
        got += piece
        cuts += 1
    assert cuts >= times / 4
    assert hashlib.sha256(got).digest() == hashlib.sha256(whole).digest()


def _read(
    one: Machine, batch_id: str, more: dict[str, str] | None = None, length: int | None = None
) -> tuple[bytes, int, str]:
    """Read results, or the first bytes of them; return also the status and the ETag."""
    connection = http.client.HTTPConnection("127.0.0.1", one.server.port, timeout=30)
    try:
        connection.request("GET", f"/v1/messages/batches/{batch_id}/results", headers=HEADERS | (more or {}))
        response = connection.getresponse()
        return response.read(length), response.status, response.headers["etag"]
    finally:
        connection.close()
