"""A batch on the engine in the box whose child is killed; what reached the engine is counted by a witness before it."""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends.llamacpp import process, why_not
from support.gguf import tiny_model
from support.server import RunningServer
from support.waiting import until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

REQUESTS = 60
SLOTS = 3
KILLS = (15, 35)
"""A child dies when so many calls have reached it and those before it."""

CHILD = """
import importlib.util, re, socket, threading

found = importlib.util.spec_from_file_location("child", {child!r})
child = importlib.util.module_from_spec(found)
found.loader.exec_module(child)
witness = open({witness!r}, "ab", buffering=0)
say = child._say

def pass_on(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for one in (source, sink):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def serve(client, port):
    request = b""
    while b"\\r\\n\\r\\n" not in request:
        request += client.recv(65536)
    head, _, body = request.partition(b"\\r\\n\\r\\n")
    length = re.search(rb"content-length: *([0-9]+)", head.lower())
    while length and len(body) < int(length[1]):
        body += client.recv(65536)
    if re.match(rb"POST [^ ]*/completions? ", head):
        witness.write(re.search(rb"number ([0-9]+)", body)[1] + b"\\n")
    engine = socket.create_connection(("127.0.0.1", port))
    engine.sendall(head + b"\\r\\n\\r\\n" + body)
    threading.Thread(target=pass_on, args=(client, engine), daemon=True).start()
    pass_on(engine, client)

def accept(listening, port):
    while True:
        client, _ = listening.accept()
        threading.Thread(target=serve, args=(client, port), daemon=True).start()

def before(answers, answer):
    if "url" in answer:
        listening = socket.create_server(("127.0.0.1", 0))
        port = int(answer["url"].rpartition(":")[2])
        threading.Thread(target=accept, args=(listening, port), daemon=True).start()
        answer = {{"url": f"http://127.0.0.1:{{listening.getsockname()[1]}}"}}
    say(answers, answer)

child._say = before
child.main()
"""
"""The child, with a door before it that writes down which request every call for tokens was about."""

INSTEAD = "from pathlib import Path; from slackwater.backends.llamacpp import process; process.CHILD = Path({path!r})"


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which calls are written down; servers started now have the witness before their engines."""
    lines, child = tmp_path / "witness", tmp_path / "witnessed_child.py"
    lines.touch()
    child.write_text(CHILD.format(child=str(process.CHILD), witness=str(lines)))
    (tmp_path / "python").mkdir()
    (tmp_path / "python/sitecustomize.py").write_text(INSTEAD.format(path=str(child)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"))
    return lines


@pytest.fixture(params=[1, SLOTS])
def server(request: pytest.FixtureRequest, tmp_path: Path, witness: Path) -> Iterator[RunningServer]:
    """Start a server with one local model, in one process or in one for each slot."""
    assert witness.exists()
    config = f"""
    [[backends]]
    name = "local"
    protocol = "llamacpp"
    model = "{tiny_model(tmp_path / "tiny.gguf")}"
    slots = {SLOTS}
    threads = 1
    copies = {request.param}
    context_tokens = 512
    [[models]]
    id = "local"
    backend = "local"
    """
    server = RunningServer.start(tmp_path, config)
    try:
        yield server
    finally:
        server.process.kill()
        server.stop()


def test_a_killed_engine_costs_a_batch_the_calls_in_its_slots_and_nothing_else(
    server: RunningServer, witness: Path
) -> None:
    """S1, X7: every request ends with one answer; what had been answered is not asked again, however often it dies."""
    batch = json.loads(
        server.call("POST", "/v1/messages/batches", {"requests": [_request(n) for n in range(REQUESTS)]})
    )
    killed = []
    for calls in KILLS:
        until(lambda calls=calls: len(_calls(witness)) >= calls)  # type: ignore[misc]
        killed.append(until(lambda: next(iter(_children(server)), None)))
        os.kill(killed[-1], signal.SIGKILL)
        assert len(_calls(witness)) < REQUESTS, "it died when all was done"
    ended = until(lambda: _ended(server, batch["id"]), deadline_seconds=120)
    assert ended["request_counts"]["succeeded"] == REQUESTS
    lines = [
        json.loads(line) for line in server.call("GET", f"/v1/messages/batches/{batch['id']}/results").splitlines()
    ]
    assert sorted(int(line["custom_id"]) for line in lines) == list(range(REQUESTS))
    calls = Counter(_calls(witness))
    assert sorted(calls) == list(range(REQUESTS))
    assert calls.total() - REQUESTS <= SLOTS * len(KILLS)
    living = _children(server)
    assert living
    assert living.isdisjoint(killed)
    server.process.kill()
    until(lambda: not any(_is_there(child) for child in living))


def _request(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"This is number {number}."}]
    return {
        "custom_id": str(number),
        "params": {"model": "local", "max_tokens": 60, "temperature": 0, "messages": messages},
    }


def _calls(witness: Path) -> list[int]:
    return [int(line) for line in witness.read_text().splitlines() if re.fullmatch(r"\d+", line)]


def _children(server: RunningServer) -> set[int]:
    """Return the process ids of the server's engines."""
    lists = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return {int(pid) for children in lists for pid in children.read_text().split() if _is_there(int(pid))}


def _is_there(pid: int) -> bool:
    """Tell whether it is an engine that has not ended."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and b"witnessed_child.py" in command.read_bytes()


def _ended(server: RunningServer, batch_id: str) -> dict[str, Any] | None:
    batch: dict[str, Any] = json.loads(server.call("GET", f"/v1/messages/batches/{batch_id}"))
    return batch if batch["processing_status"] == "ended" else None
