"""What is SQLite's own: one durable writer, read-only readers, private files, disk errors, kills."""

import asyncio
import signal
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from slackwater.clock import SystemClock
from slackwater.domain.errors import StoreUnavailableError
from slackwater.store import Store, StoreFailedError, StoreInUseError
from slackwater.store.sqlite import SQLiteDatabase
from support.stores import MINE, NOW, admission, sealed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database goes: a directory that does not exist yet, with characters that mean something in a URL."""
    return tmp_path / "da ta?&#%41" / "slackwater.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    """Open a fresh SQLite store."""
    opened = await open_store(path)
    yield opened
    await opened.close()


async def open_store(path: Path) -> Store:
    """Open."""
    return await Store.open(f"sqlite:///{path}", clock=SystemClock())


def database(store: Store) -> SQLiteDatabase:
    """Return the store's database as what it is."""
    assert isinstance(store.database, SQLiteDatabase)
    return store.database


OPEN = """
import asyncio, sys
from slackwater.clock import SystemClock
from slackwater.store import Store
store = asyncio.run(Store.open("sqlite:///" + sys.argv[1], clock=SystemClock()))
"""


async def run(script: str, *arguments: object, prepare: str = OPEN) -> asyncio.subprocess.Process:
    """Run Python in another process, with a store open there."""
    command = [sys.executable, "-c", prepare + script, *map(str, arguments)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)


def pragma(name: str) -> Any:  # work for the store
    """Read a setting."""
    return lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar()


async def test_the_writer_syncs_at_every_commit_and_wipes_what_it_deletes(store: Store) -> None:
    """D1: WAL with `synchronous=FULL` (2); deleted content is overwritten."""
    expected = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
    assert {name: await store.database.write(pragma(name)) for name in expected} == expected


async def test_readers_cannot_write(store: Store) -> None:
    """Exactly one connection may write: the others open the file read-only."""
    with pytest.raises(StoreUnavailableError, match="readonly"):
        await store.database.read(lambda connection: connection.execute(text("DELETE FROM batches")).close())


async def test_files_are_readable_by_their_owner_only(store: Store, path: Path) -> None:
    """The database, its log and its lock; the directory that was made for them."""
    await sealed(store)
    files = sorted(path.parent.iterdir())
    assert [file.name.removeprefix("slackwater.db") for file in files] == ["", "-shm", "-wal", ".lock"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_closing_leaves_one_whole_file(store: Store, path: Path) -> None:
    """The writer goes last and takes the log into the file; a copy of it is then a backup."""
    batch = await sealed(store)
    await store.close()
    assert not path.with_name("slackwater.db-wal").exists()
    again = await open_store(path)
    assert await again.find(MINE, batch.id) == batch
    await again.close()


async def test_an_up_to_date_store_opens_without_alembic(path: Path) -> None:
    """A start must not wait for what it does not need."""
    await (await open_store(path)).close()
    process = await run("import sys; print('alembic' in sys.modules, 'asyncpg' in sys.modules)", path)
    printed, _ = await process.communicate()
    assert printed.split() == [b"False", b"False"]


async def test_a_second_process_is_kept_out(path: Path) -> None:
    """Two writers could corrupt the file; when the first is gone, however it went, the second gets in."""
    other = await run("import signal; print('open', flush=True); signal.pause()", path)
    assert other.stdout is not None
    assert await asyncio.wait_for(other.stdout.readline(), 30) == b"open\n"
    with pytest.raises(StoreInUseError, match="open in another process"):
        await open_store(path)
    other.kill()
    await other.wait()
    await (await open_store(path)).close()


async def test_a_closed_store_is_unavailable(path: Path) -> None:
    """Closing twice is fine; calls that come late get an error that their callers know."""
    store = await open_store(path)
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.workspaces()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """The message is SQLite's; nothing is overwritten."""
    path = tmp_path / "slackwater.db"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        await open_store(path)
    assert path.read_bytes().startswith(b"not a database")
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError):
        await open_store(tmp_path / "file" / "slackwater.db")


async def test_a_full_disk_is_an_error_that_passes(store: Store) -> None:
    """P4: nothing of the transaction stays; the same call works when there is room again."""
    pages = await store.database.write(pragma("page_count"))
    await store.database.write(pragma(f"max_page_count = {pages}"))
    wide = admission((1,) * 500)
    with pytest.raises(StoreUnavailableError, match="full"):
        await store.seal(wide)
    assert await store.find(MINE, wide.batch.id) is None
    assert store.failure is None
    await store.database.write(pragma("max_page_count = 1000000"))
    assert not (await store.seal(wide)).duplicate


def fsync_error(code: str) -> OperationalError:
    """Make the error that a commit meets when the disk does not take it."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = getattr(sqlite3, code)
    return OperationalError("COMMIT", None, error)


@pytest.mark.parametrize("code", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_DIR_FSYNC"])
async def test_after_a_failed_sync_nothing_is_written_any_more(store: Store, code: str) -> None:
    """D6: reads go on, every later write is refused, and the store says so to whoever has to end the process."""
    batch = await sealed(store)

    def fail(_: Connection) -> None:
        raise fsync_error(code)

    event.listen(database(store).writer, "commit", fail)
    with pytest.raises(StoreFailedError, match="disk I/O error"):
        await store.cancel(MINE, batch.id, NOW)
    event.remove(database(store).writer, "commit", fail)
    assert store.failure is not None
    with pytest.raises(StoreUnavailableError):
        await store.cancel(MINE, batch.id, NOW)
    assert await store.find(MINE, batch.id) == batch


def damage(path: Path) -> None:
    """Overwrite a page in the middle."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)


async def test_the_start_after_a_failed_sync_looks_through_the_file(path: Path) -> None:
    """D6: a whole file is taken back into use; a damaged one is not, and the message says what to do."""
    suspect = path.with_name("slackwater.db.suspect")
    store = await open_store(path)
    await sealed(store, (1,) * 400)
    database(store)._translated(fsync_error("SQLITE_IOERR_FSYNC"))
    assert suspect.exists()
    await store.close()
    await (await open_store(path)).close()
    assert not suspect.exists()

    suspect.touch()
    damage(path)
    with pytest.raises(StoreUnavailableError, match=r"damaged|malformed"):
        await open_store(path)
    assert suspect.exists()


VICTIM = """
import asyncio, os, signal, sys
from pathlib import Path
from sqlalchemy import event
from support.stores import *
from slackwater.clock import SystemClock
from slackwater.store import Store

async def main():
    store = await Store.open("sqlite:///" + sys.argv[1], clock=SystemClock())
    what, when, statement = sys.argv[2], sys.argv[3], int(sys.argv[4])
    batch = await sealed(store, (1,) * 3, batch_id="msgbatch_first")
    leases = await leased(store, batch)
    left = statement
    def kill(*_):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(store.database.writer, when, kill)
    if what == "seal":
        await store.seal(admission((1,) * 3, batch_id="msgbatch_second"))
    else:
        await store.commit(flush(*(segment(lease) for lease in leases), token="t"), NOW)
    print("acknowledged", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["seal", "commit"])
@pytest.mark.parametrize(("when", "statement"), [("before_cursor_execute", 4), ("commit", 0), ("commit", 99)])
async def test_a_kill_leaves_a_transaction_whole_or_undone(path: Path, what: str, when: str, statement: int) -> None:
    """D1, D2, S4: kill -9 between statements and before the commit leaves nothing; after the answer, all of it."""
    process = await run("", path, what, when, statement, prepare=VICTIM)
    printed, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    acknowledged = b"acknowledged" in printed
    assert acknowledged == (statement == 99)
    store = await open_store(path)
    first = await store.find(MINE, "msgbatch_first")
    assert first is not None
    second = await store.find(MINE, "msgbatch_second")
    ranges = await store.results(MINE, first.id)
    charges = await store.charges(MINE, first.id)
    usage = await store.usage()
    backlog = {entry.batch_id: entry.shards for entry in await store.backlog(NOW, limit=9)}
    await store.close()
    if what == "seal":
        assert (second is not None) == acknowledged
        assert backlog.get("msgbatch_second") == (3 if acknowledged else None)
    else:
        assert first.tally.succeeded == (3 if acknowledged else 0)
        assert first.processing_status == ("ended" if acknowledged else "in_progress")
        assert [len(found) for found in (ranges, charges, usage)] == ([3, 1, 1] if acknowledged else [0, 0, 0])


async def test_an_open_of_a_large_store_is_fast(path: Path) -> None:
    """U2: nothing is migrated, nothing is read through; well below what a supervisor's probe would notice."""
    store = await open_store(path)
    for _ in range(20):
        await sealed(store, (1,) * 400)
    await store.close()
    before = time.perf_counter()
    await (await open_store(path)).close()
    assert time.perf_counter() - before < 1


async def test_a_batch_that_was_read_is_read_again_only_after_a_write(store: Store) -> None:
    """D4: what was acknowledged is seen by the next read, and between writes nothing needs to be asked."""
    batch = await sealed(store, (1,))
    asked: list[str] = []
    event.listen(database(store).readers, "before_cursor_execute", lambda *call: asked.append(call[2]))
    both = ["BEGIN", "SELECT"]
    for _ in range(5):
        found = await store.find(MINE, batch.id)
        assert found is not None
        assert found.cancel_initiated_at is None
    assert [statement.split()[0] for statement in asked] == both
    await store.cancel(MINE, batch.id, NOW)
    found = await store.find(MINE, batch.id)
    assert found is not None
    assert found.cancel_initiated_at == NOW
    assert [statement.split()[0] for statement in asked] == both * 2
    assert await store.find("wrkspc_theirs", batch.id) is None


async def test_who_asks_for_what_is_being_read_waits_for_that_read(store: Store) -> None:
    """D4: one look in the file for all who come at once; a failure is theirs and nobody else's; a write ends it."""
    one, looks, may_end = database(store), 0, threading.Event()

    def look(_connection: Connection) -> int:
        nonlocal looks
        looks += 1
        if looks == 1:
            message = "the first look"
            raise ValueError(message)
        may_end.wait(10)
        return looks

    async def ask() -> int:
        return await one.read(look, memo="number")

    failed = await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
    assert [str(error) for error in failed] == ["the first look"] * 20
    impatient = asyncio.create_task(ask())
    await asyncio.sleep(0)
    others = [asyncio.create_task(ask()) for _ in range(20)]
    await asyncio.sleep(0)
    impatient.cancel()
    may_end.set()
    assert await asyncio.gather(*others) == [2] * 20
    await one.write(lambda _connection: None)
    assert await asyncio.gather(*(ask() for _ in range(20))) == [3] * 20


async def test_nothing_is_remembered_of_a_read_beside_a_write(store: Store) -> None:
    """D4: the write may be seen by one read and not by another, as long as it runs."""
    batch = await sealed(store, (1,))
    one = database(store)
    running, may_end = threading.Event(), threading.Event()

    def slow(_connection: Connection) -> None:
        running.set()
        may_end.wait(10)

    writing = asyncio.create_task(one.write(slow))
    await asyncio.to_thread(running.wait, 10)
    await store.find(MINE, batch.id)
    assert one._memos == {}
    may_end.set()
    await writing
    await store.find(MINE, batch.id)
    assert len(one._memos) == 1


async def test_what_is_remembered_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown ids are remembered too, and there are many of those."""
    monkeypatch.setattr("slackwater.store.sqlite._MEMOS_MAX", 10)
    for number in range(100):
        assert await store.find(MINE, f"msgbatch_{number}") is None
    assert len(database(store)._memos) <= 10
