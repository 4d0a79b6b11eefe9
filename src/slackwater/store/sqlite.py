"""The store's SQLite: exactly one connection writes and checkpoints, in one thread; a few others only read.

Versions before 3.51.3 can corrupt a file that two connections write or checkpoint at once, hence the single writer, the
`mode=ro` readers, and the lock that keeps a second process out.
"""

import asyncio
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, cast
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from slackwater.domain.errors import StoreUnavailableError
from slackwater.ports import Listener
from slackwater.store.database import Database, Work, migrate, pass_failpoint
from slackwater.store.errors import StoreFailedError, StoreInUseError

T = TypeVar("T")

_READERS: Final = 4  # reads are short and the interpreter runs one thread at a time; more would only wait
_BUSY_SECONDS: Final = 10.0  # for a person's `sqlite3` shell on the file; nothing of ours competes
_MEMOS_MAX: Final = 4_096
_VERSION_MIN: Final = (3, 35, 0)  # RETURNING

_UNAVAILABLE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)
"""Primary result codes that speak of the disk or the file, not of the statement."""

_FATAL: Final = frozenset(
    {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_CORRUPT}
)
"""After these nobody knows what is on the disk: the kernel reports a failed write-back once and forgets (D6)."""

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    f"PRAGMA journal_size_limit = {64 * 2**20}",
    "PRAGMA cache_size = -32768",
)


class SQLiteDatabase(Database):
    """A file, its writer's thread and its readers' threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._suspect = path.with_name(f"{path.name}.suspect")
        self._failure: Exception | None = None
        self._lock = -1
        self._closed = False
        self._writes_begun = self._writes_ended = 0
        """Counted by the writer's thread, one after the other."""
        self._memos: dict[Hashable, tuple[int, asyncio.Future[object]]] = {}
        """What was read, or is being read, each with the number of writes begun before."""
        self._writer_thread = ThreadPoolExecutor(1, "store-writer")
        self._reader_threads = ThreadPoolExecutor(_READERS, "store-reader")
        self.writer = create_engine("sqlite://", creator=self._connect_writer, poolclass=StaticPool)
        event.listen(self.writer, "begin", _begin_immediate)
        self._writer: Connection
        self.readers = create_engine(
            "sqlite://", creator=self._connect_reader, poolclass=QueuePool, pool_size=_READERS, max_overflow=0
        )
        event.listen(self.readers, "begin", _begin)

    @classmethod
    async def open(cls, path: Path) -> "SQLiteDatabase":
        """Open or make the file, bring it up to date. Raises StoreInUseError, SchemaTooNewError."""
        database = cls(path)
        try:
            await database._in(database._writer_thread, database._prepare)
        except BaseException:
            await database.close()
            raise
        return database

    async def read(self, work: Work[T], *, memo: Hashable = None) -> T:
        """Run work over one snapshot in a reader's thread; with `memo` that can be spared.

        Every write goes through our one writer, so that its counts say whether anything can have changed. While a write
        runs nothing is remembered: other reads may see it already. Who asks for what is being read waits for that.
        """
        seen = self._writes_begun
        if memo is None or seen != self._writes_ended:
            return await self._in(self._reader_threads, self._read, work)
        known = self._memos.get(memo)
        if known is not None and known[0] == seen:
            reading = known[1]
        else:
            reading = asyncio.ensure_future(self._in(self._reader_threads, self._read, work))
            self._remember(memo, seen, reading)
        return cast("T", reading.result() if reading.done() else await asyncio.shield(reading))

    def _remember(self, memo: Hashable, seen: int, reading: "asyncio.Future[object]") -> None:
        """Keep what is being read unless it fails."""
        if len(self._memos) >= _MEMOS_MAX:
            self._memos.clear()
        entry = self._memos[memo] = (seen, reading)

        def forget_failure(done: "asyncio.Future[object]") -> None:
            if (done.cancelled() or done.exception() is not None) and self._memos.get(memo) is entry:
                del self._memos[memo]

        reading.add_done_callback(forget_failure)

    async def write(self, work: Work[T], *, repeatable: bool = True) -> T:
        """Run work as one transaction in the writer's thread; its outcome is never unknown here."""
        del repeatable
        return await self._in(self._writer_thread, self._write, work)

    async def listen(self, heard: Listener) -> None:
        """Return: nobody else writes."""
        del heard

    @property
    def failure(self) -> Exception | None:
        """Why the writer stopped."""
        return self._failure

    async def close(self) -> None:
        """Let the readers go first: the last connection to close checkpoints, and that has to be the writer."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._reader_threads.shutdown()
        self.readers.dispose()
        self._writer_thread.submit(self._close_writer).result()
        self._writer_thread.shutdown()
        if self._lock >= 0:
            os.close(self._lock)

    def _close_writer(self) -> None:
        if hasattr(self, "_writer"):
            self._writer.close()
        self.writer.dispose()

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: object) -> T:
        if self._closed:
            message = "The store is closed."
            raise StoreUnavailableError(message)
        return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)

    def _read(self, work: Work[T]) -> T:
        try:
            with self.readers.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            raise self._translated(error) from error

    def _write(self, work: Work[T]) -> T:
        if self._failure is not None:
            raise StoreFailedError(str(self._failure)) from self._failure
        self._writes_begun += 1
        try:
            return self._transact(work)
        except (DBAPIError, OSError) as error:
            raise self._translated(error) from error
        finally:
            self._writes_ended += 1

    def _transact(self, work: Work[T]) -> T:
        with self._writer.begin():
            value = work(self._writer)
            pass_failpoint(work, "before_commit")
        pass_failpoint(work, "after_commit")
        return value

    def _translated(self, error: DBAPIError | OSError) -> Exception:
        """Tell what an error means; an OSError is one that a failpoint raised in the disk's place."""
        if isinstance(error, OSError):
            code = sqlite3.SQLITE_FULL if error.errno == errno.ENOSPC else sqlite3.SQLITE_IOERR_FSYNC
            return self._meant(error, code, str(error))
        return self._meant(error, getattr(error.orig, "sqlite_errorcode", None), str(error.orig))

    def _meant(self, error: Exception, code: int | None, text: str) -> Exception:
        if code in _FATAL:
            self._failure = error
            with suppress(OSError):  # the disk may not take this either
                self._suspect.touch(mode=0o600)
            return StoreFailedError(text)
        if code is not None and code & 0xFF in _UNAVAILABLE:
            return StoreUnavailableError(text)
        return error

    def _prepare(self) -> None:
        if sqlite3.sqlite_version_info < _VERSION_MIN:
            message = f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed."
            raise StoreUnavailableError(message)
        try:
            self._create()
            self._writer = self.writer.connect()
            self._check()
            self._transact(migrate)
            # Only now: rebuilding a table while it is on would delete the rows that refer to it.
            self._writer.connection.cursor().execute("PRAGMA foreign_keys = ON")
            self._writer.rollback()
        except DBAPIError as error:
            raise self._translated(error) from error
        except OSError as error:
            message = f"{self._path}: {error.strerror}"
            raise StoreUnavailableError(message) from error

    def _check(self) -> None:
        """Look through the whole file when an earlier process stopped at a failed write (D6)."""
        if not self._suspect.exists():
            return
        with self._writer.begin():
            found = self._writer.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            message = f"{self._path} is damaged ({found}): restore a backup, then remove {self._suspect}."
            raise StoreUnavailableError(message)
        self._suspect.unlink()

    def _create(self) -> None:
        """Make the file so that only its owner may read it (SQLite gives `-wal` and `-shm` the same mode)."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A record lock, not flock: a forked child that outlives us must not keep it.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{self._path} is open in another process."
            raise StoreInUseError(message) from error
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect("rw")
        for pragma in _PRAGMAS:
            connection.execute(pragma).fetchall()
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        return self._connect("ro")

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self._path.absolute()))}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
