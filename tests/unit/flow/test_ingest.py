"""The process that ingests a large body, when the server that started it is gone."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from slackwater.flow import admit, ingest
from support.waiting import until

ONE, TWO = "file_011CVJZ8WcVdRTpqCFuKXtzw", "file_01" + "z" * 22


def _ingested(tmp_path: Path, body: bytes) -> ingest.Ingested:
    spool = tmp_path / "spool"
    spool.write_bytes(body)
    return ingest.ingest_file(spool, tmp_path / "ordered")


def _body(*contents: object) -> bytes:
    requests = [
        {"custom_id": str(n), "params": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": one}]}}
        for n, one in enumerate(contents)
    ]
    return json.dumps({"requests": requests}).encode()


def test_the_files_that_a_body_names_are_found(tmp_path: Path) -> None:
    """I3: whole strings of our shape, wherever they stand, each once; not what only talks about them."""
    source = {"type": "file", "file_id": ONE}
    nested = {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "image", "source": {**source, "file_id": TWO}}],
    }
    body = _body([{"type": "document", "source": source}], [nested], [{"type": "document", "source": source}])
    assert _ingested(tmp_path, body).file_ids == {ONE, TWO}
    talk = f'see {ONE}, "{ONE}", file_01, ' + "file_01" + "0" * 22
    assert _ingested(tmp_path, _body(talk, "file_01short", ONE + "x")).file_ids == frozenset()
    assert _ingested(tmp_path, _body("no files here")).file_ids == frozenset()


def test_no_body_names_more_files_than_can_be_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body full of made-up ids must not become a transaction without an end."""
    monkeypatch.setattr(ingest, "_FILE_IDS_MAX", 3)
    body = _body(*([{"source": {"file_id": "file_01" + str(n) * 22}}] for n in range(1, 8)))
    assert len(_ingested(tmp_path, body).file_ids) == 3


async def test_a_process_that_finds_no_room_on_the_disk_says_so(tmp_path: Path) -> None:
    """P4: its parent raises what it met, and not an internal error."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body("x" * 100_000))
    with pytest.raises(OSError, match="No space left") as caught:
        await admit._in_process(spool, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


def test_a_large_body_s_files_come_back_from_its_process(tmp_path: Path) -> None:
    """What the process of its own finds crosses the pipe."""
    spool, ordered = tmp_path / "spool", tmp_path / "ordered"
    spool.write_bytes(_body([{"type": "document", "source": {"type": "file", "file_id": ONE}}]))
    command = [sys.executable, "-m", ingest.__name__, str(spool), str(ordered)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, timeout=30, check=True).stdout
    assert msgspec.msgpack.decode(answer, type=ingest.Ingested).file_ids == {ONE}


def test_a_server_that_is_gone_is_no_error_and_leaves_no_file(tmp_path: Path) -> None:
    """D2: after `kill -9` of the server its log gets no traceback of the child, and the ordered copy is removed."""
    spool, ordered = tmp_path / "spool", tmp_path / "ordered"
    params = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    spool.write_text(json.dumps({"requests": [{"custom_id": "a", "params": params}]}))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", ingest.__name__, str(spool), str(ordered)]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not ordered.exists()


async def test_a_caller_who_leaves_waits_for_the_end_of_the_process(tmp_path: Path) -> None:
    """It is killed, not left behind: nothing of it is there any more when the call has ended."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body(*("x" * 100_000 for _ in range(200))))
    before = set(_children())
    ingesting = asyncio.create_task(admit._in_process(spool, tmp_path / "ordered"))
    started = await asyncio.to_thread(until, lambda: set(_children()) - before)
    for _ in range(20):  # turns in which it is taken into the loop; it works for many more
        await asyncio.sleep(0)
    ingesting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ingesting
    assert started & set(_children()) == set()


def _children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
