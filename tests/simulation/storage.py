"""The real SQLite store and the real blobs, with disks and connections that fail on demand."""

import os
import sqlite3
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, event

from simulation.loop import PROCESS
from slackwater.blobs import LocalBlobs
from slackwater.domain.errors import StoreUnavailableError
from slackwater.store.database import Work
from slackwater.store.schema import metadata
from slackwater.store.sqlite import SQLiteDatabase

T = TypeVar("T")


class Trouble(Protocol):
    """Decides what goes wrong."""

    async def before(self) -> None:
        """Wait, or raise StoreUnavailableError: the database is away."""

    def statement(self) -> int:
        """Return which statement of the transaction fails, from 1; 0 when none does."""

    def answer(self) -> str:
        """Return what becomes of an answer: it is `heard`, or the work is `repeated` or `lost` for want of it."""

    def writing(self) -> None:
        """Hear that a transaction that writes is about to begin."""

    def disk(self) -> None:
        """Raise OSError when the disk refuses an operation."""

    def written(self) -> float:
        """Return the Unix seconds of this instant."""


class TroubledDatabase(SQLiteDatabase):
    """A file whose statements fail at the n-th, and whose commits take effect although nobody hears of it.

    Such a commit is what PostgreSQL behind a network can do; there it is run again where that is allowed (P2).
    """

    trouble: Trouble

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._fails_in = 0
        self._reader: Connection | None = None
        for name in ("do_execute", "do_executemany"):
            event.listen(self.writer, name, self._count)
        event.listen(self.writer, "do_execute_no_params", self._count)

    async def read(self, work: Work[T], *, memo: Hashable = None) -> T:
        """Run work when the database is there."""
        await self.trouble.before()
        return await super().read(work, memo=memo and (PROCESS.get(), memo))  # what a process remembers dies with it

    async def write(self, work: Work[T], *, repeatable: bool = True) -> T:
        """Run work, let a statement of it fail, or let its answer get lost."""
        await self.trouble.before()
        fails_in = self.trouble.statement()

        def failing(connection: Connection) -> T:
            self._fails_in = fails_in
            try:
                return work(connection)
            finally:
                self._fails_in = 0

        value = await super().write(failing if fails_in else work)
        match self.trouble.answer():
            case "repeated" if repeatable:
                return await super().write(work)
            case "heard":
                return value
            case _:
                raise StoreUnavailableError("the answer to a commit was lost")

    def _read(self, work: Work[T]) -> T:
        """Read over one connection that stays: nobody reads at the same time here, and a pool takes time."""
        if self._reader is None:
            self._reader = self.readers.connect()
        with self._reader.begin():
            return work(self._reader)

    def _write(self, work: Work[T]) -> T:
        self.trouble.writing()
        return super()._write(work)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        super()._close()

    def _count(self, *_: object) -> None:
        if self._fails_in:
            self._fails_in -= 1
            if not self._fails_in:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error

    def empty(self) -> None:
        """Delete every row."""

        def work(connection: Connection) -> None:
            for table in reversed(metadata.sorted_tables):
                connection.exec_driver_sql(f"DELETE FROM {table.name}")  # noqa: S608  # our own names

        super()._write(work)


class TroubledBlobs(LocalBlobs):
    """Files on a disk that fills up; their times are the world's."""

    def __init__(self, root: Path, trouble: Trouble) -> None:
        super().__init__(root)
        self._trouble = trouble

    def _put(self, target: Path, buffers: Iterable[bytes]) -> int:
        self._trouble.disk()
        return self._timed(target, lambda: super(TroubledBlobs, self)._put(target, buffers))

    def _put_file(self, target: Path, path: Path) -> int:
        self._trouble.disk()
        return self._timed(target, lambda: super(TroubledBlobs, self)._put_file(target, path))

    async def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read, where the disk lets it."""
        self._trouble.disk()
        return await super().read(key, offset, length)

    def _timed(self, target: Path, put: Callable[[], int]) -> int:
        size = put()
        seconds = self._trouble.written()
        os.utime(target, (seconds, seconds))
        return size
