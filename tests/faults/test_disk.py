"""A disk that fills up while work is in flight, and gets its space back: a small file system of its own (P4)."""

import http.client
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from support.machine import Machine, MakeMachine
from support.server import BALLAST_BYTES, STOP_SECONDS, RunningServer
from support.waiting import until

SIZE_BYTES = 48 * 2**20
CREATES_MAX = 400
WITNESS = """
[[backends]]
name = "sim"
protocol = "simulated"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 48 MiB where the server's data directory will be."""
    data = tmp_path / "data"
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", data], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a file system can be mounted by root alone: {mounted.stderr.decode().strip()}")
    yield data
    subprocess.run(["umount", "--lazy", data], check=True)


def fill(data: Path) -> Path:
    """Take up all that is free; return the file to remove."""
    path = data / "somebody-elses"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(os.statvfs(data).f_frsize)):
            pass
    return path


def health(one: Machine) -> dict[str, str]:
    """Ask how it is."""
    found: dict[str, str] = msgspec.json.decode(one.server.call("GET", "/health"))
    return found


def refused(one: Machine, path: str, content_type: str, body: bytes) -> tuple[int, str | None, bytes]:
    """Post something; return status, `x-should-retry` and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", one.server.port, timeout=30)
    try:
        headers = {"x-api-key": one.server.api_key, "anthropic-version": "2023-06-01", "content-type": content_type}
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.getheader("x-should-retry"), response.read()
    finally:
        connection.close()


def test_work_in_flight_on_a_disk_that_fills_is_recorded_and_the_rest_waits_for_space(
    disk: Path, machine: MakeMachine
) -> None:
    """F11, P4, D1, X2: creates are refused, deletes and starts work, no call is made twice, it recovers by itself."""
    one = machine(simulate=("--latency-ms", "400", "--capacity", "16"))
    old = one.create("old", 20)
    one.ended(old)
    batch_id = one.create("kept", 300)
    until(lambda: one.simulator.stats().get("answered", 0) >= 60)
    filler = fill(disk)
    assert until(lambda: found if (found := health(one))["storage"] == "full" else None) == {
        "status": "ok",
        "storage": "full",
    }
    assert not (disk / "ballast").exists()
    for answer in (
        refused(one, "/v1/messages/batches", "application/json", b'{"requests":[]}'),
        refused(one, "/v1/files", "multipart/form-data; boundary=b", b"--b--"),
    ):
        assert answer[:2] == (529, "false")
        assert b'"overloaded_error","message":"Storage is full"' in answer[2]
    assert "slackwater_disk_low 1.0" in one.server.call("GET", "/metrics")
    until(lambda: one.progress(batch_id)["progress"]["succeeded"] == one.simulator.arrived() - 20)
    done = one.simulator.arrived()
    assert 60 <= done - 20 < 300
    assert len(one.results(old)) == 20
    one.server.call("DELETE", f"/v1/messages/batches/{old}")
    one.kill()
    one.start()
    assert health(one)["storage"] == "full"
    assert one.batch(batch_id)["processing_status"] == "in_progress"
    filler.unlink()
    until(lambda: health(one)["storage"] == "ok")
    assert (disk / "ballast").stat().st_size == BALLAST_BYTES
    one.ended(one.create("after", 5))
    one.ended(batch_id)
    assert one.assert_whole(batch_id, "kept", 300) == {"succeeded": 300}
    assert set(one.simulator.arrivals().values()) == {1}
    log = one.server.log.read_text("utf-8")
    assert "there is disk space again" in log


POINTS = (
    "store.seal.before_commit",
    "store.seal.after_commit",
    "store.lease.before_commit",
    "store.commit.before_commit",
    "blobs.before_fsync",
    "blobs.before_directory_fsync",
)


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("store.seal.before_commit", 2),
        *(pytest.param(point, number, marks=pytest.mark.slow) for point in POINTS for number in (1, 3, 5)),
    ],
)
def test_what_the_disk_could_not_write_is_not_acknowledged_and_ends_the_server(
    tmp_path: Path, point: str, number: int
) -> None:
    """F12, D1, D6: at the n-th write; nothing is acknowledged after the error, and all that was before is there."""
    server = RunningServer.start(tmp_path, WITNESS, failpoints=f"{point}=eio@{number}")
    answers = []
    with suppress(OSError, http.client.HTTPException):
        while server.process.poll() is None and len(answers) < CREATES_MAX:
            answers.append(_create(server, f"n{len(answers)}"))
            threading.Event().wait(0.05)
    assert server.process.wait(STOP_SECONDS) != 0
    assert f"failpoint {point}: eio" in server.log.read_text("utf-8")
    acknowledged = [batch_id for batch_id in answers if batch_id]
    if not all(answers):
        assert answers.index(None) == len(acknowledged)
    server = RunningServer.start(tmp_path, WITNESS)
    try:
        page = msgspec.json.decode(server.call("GET", "/v1/messages/batches?limit=1000"))
        assert set(acknowledged) <= {batch["id"] for batch in page["data"]}
        assert len(page["data"]) <= len(answers) + 1  # and the one whose answer was an error
        assert _create(server, "again") is not None
    finally:
        server.process.kill()
        server.process.wait()


def _create(server: RunningServer, name: str) -> str | None:
    """Send a batch of one; return its id, or None where the answer is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    params = {"model": "any", "max_tokens": 8, "messages": [{"role": "user", "content": name}]}
    try:
        headers = {"x-api-key": server.api_key, "anthropic-version": "2023-06-01", "content-type": "application/json"}
        body = msgspec.json.encode({"requests": [{"custom_id": name, "params": params}]})
        connection.request("POST", "/v1/messages/batches", body, headers)
        response = connection.getresponse()
        found = msgspec.json.decode(response.read())
        return str(found["id"]) if response.status == http.HTTPStatus.OK else None
    finally:
        connection.close()
