"""The process that ingests a large body, when the server that started it is gone."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from slackwater import ingestion
from slackwater.domain.batch import ORDERED, Ingested
from slackwater.domain.errors import APIError
from slackwater.ingestion import ingest, process, reading, writing
from slackwater.wire.stored import decode_requests
from support.waiting import until

FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""The process of the tests has threads; the one that forks in earnest has none."""
ONE, TWO = "file_011CVJZ8WcVdRTpqCFuKXtzw", "file_01" + "z" * 22


def _ingested(tmp_path: Path, body: bytes) -> Ingested:
    spool = tmp_path / "spool"
    spool.write_bytes(body)
    return ingest.ingest_file(spool)


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
    monkeypatch.setattr(reading, "_FILE_IDS_MAX", 3)
    body = _body(*([{"source": {"file_id": "file_01" + str(n) * 22}}] for n in range(1, 8)))
    assert len(_ingested(tmp_path, body).file_ids) == 3


async def test_a_process_that_finds_no_room_on_the_disk_says_so(tmp_path: Path) -> None:
    """P4: its parent raises what it met, and not an internal error."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body("x" * 100_000))
    spool.with_suffix(ORDERED).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        await _in_process(spool)
    assert caught.value.errno == errno.ENOSPC


async def test_an_answer_waits_for_nothing_that_its_process_does_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large process takes its time to be gone; whoever closes the ingestion waits for that."""
    answer = msgspec.msgpack.encode(Ingested(size=7))
    lingering = f"import os, signal; os.write(1, {answer!r}); os.close(1); signal.pause()"
    monkeypatch.setattr(process, "_COMMAND", (sys.executable, "-c", lingering))
    before = set(_children())
    async with asyncio.timeout(60):
        async with process.Ingestion() as ingestion, ingestion._child(tmp_path / "spool") as child:
            assert (await child.ingested()).size == 7
            assert set(_children()) - before
        assert set(_children()) <= before


async def test_half_an_answer_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S8: a process that dies while it answers has answered nothing."""
    answer = msgspec.msgpack.encode(Ingested(size=7))[:-1]
    dying = f"import os; os.write(1, {answer!r}); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(process, "_COMMAND", (sys.executable, "-c", dying))
    async with process.Ingestion() as ingestion, ingestion._child(tmp_path / "spool") as child:
        with pytest.raises(APIError):
            await child.ingested()


async def test_a_large_body_s_files_come_back_from_its_process(tmp_path: Path) -> None:
    """What the process of its own finds crosses the pipe."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body([{"type": "document", "source": {"type": "file", "file_id": ONE}}]))
    assert (await _in_process(spool)).file_ids == {ONE}


def test_a_server_that_is_gone_is_no_error_and_leaves_no_file(tmp_path: Path) -> None:
    """D2: after `kill -9` of the server its log gets no traceback of the child, and the ordered copy is removed."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body("hi"))
    told = b'"%s"\n%d\n' % (os.fsencode(spool), spool.stat().st_size)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", ingestion.__name__]
        done = subprocess.run(command, input=told, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not spool.with_suffix(ORDERED).exists()


def test_a_server_that_is_gone_before_the_body_has_arrived_is_no_error(tmp_path: Path) -> None:
    """D2: what has arrived by then is not a batch."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body("hi", "hello"))
    command = [sys.executable, "-m", ingestion.__name__]
    done = subprocess.run(
        command, input=b'"%s"\n20\n60\n' % os.fsencode(spool), capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not spool.with_suffix(ORDERED).exists()


async def test_a_caller_who_leaves_leaves_no_process_behind(tmp_path: Path) -> None:
    """It is killed; the caller does not wait for its end, but whoever closes the ingestion does."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body(*("x" * 100_000 for _ in range(200))))
    before = set(_children())
    ingesting = asyncio.create_task(_in_process(spool))
    started = await asyncio.to_thread(until, lambda: set(_children()) - before)
    for _ in range(20):  # turns in which it is taken into the loop; it works for many more
        await asyncio.sleep(0)
    ingesting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ingesting
    await asyncio.to_thread(until, lambda: not started & set(_children()))


async def test_a_body_is_read_while_it_arrives_where_that_is_worth_it(tmp_path: Path) -> None:
    """So many at once: each is a process, and whoever announces a long body need not send it."""
    spool = tmp_path / "spool"
    body = _body(*("x" * 1_000 for _ in range(1_000)))
    async with process.Ingestion() as one:
        async with one.ahead(spool, process.INLINE_BYTES_MAX) as child:
            assert child is None
        spool.write_bytes(bytes(len(body)))
        async with AsyncExitStack() as stack:
            children = [
                await stack.enter_async_context(one.ahead(spool, len(body))) for _ in range(process.AHEAD_MAX + 1)
            ]
            assert [child is None for child in children] == [False] * process.AHEAD_MAX + [True]
        async with one.ahead(spool, len(body)) as child:
            assert child is not None
            with spool.open("r+b") as file:
                for start in range(0, len(body), 300_000):
                    file.write(body[start : start + 300_000])
                    file.flush()
                    child.grown(file.tell())
            assert (await child.ingested()).size == 1_000
        assert len(decode_requests(spool.with_suffix(ORDERED).read_bytes())) == 1_000


async def test_a_body_that_is_wrong_is_refused_as_one_that_was_there(tmp_path: Path) -> None:
    """Contract §4.1: the same words, however it was read."""
    spool = tmp_path / "spool"
    body = _body(*("x" * 1_000 for _ in range(500)))[:-1] + b', "x": 1}'
    spool.write_bytes(body)
    async with process.Ingestion() as one:
        async with one.ahead(spool, len(body)) as child:
            assert child is not None
            child.grown(len(body))
            refused = await child.ingested()
        assert refused == await one(spool) == Ingested(refusal="x: Extra inputs are not permitted")


@FORKS
@pytest.mark.parametrize("line_breaks", [False, True])
def test_several_hands_write_what_one_does(tmp_path: Path, line_breaks: bool) -> None:
    """D5: requests end where the plan's cut says that they do, whoever wrote them."""
    spool = tmp_path / "spool"
    requests = json.loads(_body(*("x" * size for size in range(2_000))))
    spool.write_text(json.dumps(requests, indent=1 if line_breaks else None))
    found = [ingest.ingest_file(spool, hands=hands) for hands in (1, 2, 3, 60)]
    assert len(set(found)) == 1
    data = spool.with_suffix(ORDERED).read_bytes()
    assert sum(shard.length for shard in found[0].shards) == len(data)
    read = [one for shard in found[0].shards for one in decode_requests(data[shard.offset :][: shard.length])]
    assert [(one.custom_id, json.loads(bytes(one.params)), one.damaged) for one in read] == [
        (one["custom_id"], one["params"], False) for one in requests["requests"]
    ]


@FORKS
def test_a_hand_that_cannot_write_is_heard() -> None:
    """P4, D6: what its disk said, or that it was killed; and none is left when the first one cannot write."""

    def full(start: int) -> None:
        raise OSError(errno.ENOSPC if start == 2 else errno.EIO, "no")

    with pytest.raises(OSError, match="No space left"), writing._others(full, [2]):
        pass
    with pytest.raises(OSError, match="killed"), writing._others(lambda _: os.kill(os.getpid(), signal.SIGKILL), [1]):
        pass
    before = set(_children())
    with pytest.raises(OSError, match="mine"), writing._others(lambda _: signal.pause(), [1, 2]):
        _fail(set(_children()) - before)
    assert set(_children()) == before


def _fail(hands: set[int]) -> NoReturn:
    raise OSError("mine" if len(hands) == 2 else "too few")


async def test_hands_are_not_left_behind(tmp_path: Path) -> None:
    """A caller who leaves in the middle of writing leaves nobody who still writes."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body(*("x" * 100_000 for _ in range(1_000))))
    ingesting = asyncio.create_task(_in_process(spool))
    await asyncio.to_thread(until, lambda: len(_working_on(spool)) > 1)
    ingesting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ingesting
    await asyncio.to_thread(until, lambda: not _working_on(spool))


async def test_a_child_waits_for_the_next_body_and_goes_with_the_server(tmp_path: Path) -> None:
    """A Python process takes longer to start than a body of a megabyte to read; none is there before one was needed."""
    spool = tmp_path / "spool"
    spool.write_bytes(_body("x" * 300_000))
    before = set(_children())
    async with process.Ingestion() as one:
        assert set(_children()) == before
        assert (await one(spool)).size == 1
        assert one._waiting is not None
        waiting = await one._waiting
        assert (await one(spool)).size == 1
        other = await one._waiting
        assert other.pid != waiting.pid
        assert other.pid in set(_children()) - before
        other.kill()
        await other.wait()
        assert (await one(spool)).size == 1  # one that has died in waiting is not taken
    assert set(_children()) == before


def _working_on(spool: Path) -> list[int]:
    """Return the processes that write what comes of a spool, children of children too."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            files = {one.readlink() for one in (directory / "fd").iterdir()}
            if spool.with_suffix(ORDERED) in files:
                found.append(int(directory.name))
    return found


async def _in_process(spool: Path) -> Ingested:
    async with process.Ingestion() as ingestion, ingestion._child(spool) as child:
        child.grown(len(await asyncio.to_thread(spool.read_bytes)))
        return await child.ingested()


def _children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
