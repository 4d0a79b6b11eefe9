"""The store's PostgreSQL: a pool of asyncpg connections, and what to do when one is lost or a conflict is."""

import random
from collections.abc import Hashable
from contextlib import suppress
from typing import Final, Generic, Literal, TypeVar, cast

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from slackwater.domain.errors import StoreUnavailableError
from slackwater.ports import Clock, Listener
from slackwater.store import hints
from slackwater.store.database import Database, Work, is_current, migrate, pass_failpoint
from slackwater.store.errors import StoreNotDurableError

T = TypeVar("T")
Fault = Literal["conflict", "lost", "unavailable"]

_POOL_SIZE: Final = 10
_POOL_WAIT_SECONDS: Final = 10
_CONNECT_SECONDS: Final = 5
_STATEMENT_SECONDS: Final = 30  # no statement of ours comes near; a server that is gone without a word does

_LISTEN_LOOK_SECONDS: Final = 10.0
_LISTEN_AGAIN_SECONDS: Final = 1.0

_CONFLICTS_MAX: Final = 8
_LOSSES_MAX: Final = (
    1  # a second connection that breaks means a server that is away: say so instead of holding the call
)
_CONFLICT_PAUSE_SECONDS: Final = 0.02

_MIGRATION_LOCK: Final = 0x51AC_0001
"""Any number will do as long as nobody else uses it in this database."""


class PostgreSQLDatabase(Database):
    """A server, reached through a pool."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self.engine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=_POOL_SIZE,
            max_overflow=_POOL_SIZE,
            pool_timeout=_POOL_WAIT_SECONDS,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            connect_args={"timeout": _CONNECT_SECONDS, "command_timeout": _STATEMENT_SECONDS},
        )

    @classmethod
    async def open(cls, url: str, clock: Clock) -> "PostgreSQLDatabase":
        """Connect and bring the schema up to date. Raises SchemaTooNewError, StoreNotDurableError."""
        database = cls(url, clock)
        try:
            await database.read(_check_durable)
            if not await database.read(is_current):
                await database.write(_migrate)
        except BaseException:
            await database.close()
            raise
        return database

    async def read(self, work: Work[T], *, memo: Hashable = None) -> T:
        """Run work; each of its statements sees what was committed when it began. Others write too: no memo is kept."""
        del memo
        return await self._repeated(work, writes=False, repeatable=True)

    async def write(self, work: Work[T], *, repeatable: bool = True) -> T:
        """Run work as one transaction, again after a lost conflict or connection."""
        return await self._repeated(work, writes=True, repeatable=repeatable)

    async def listen(self, heard: Listener) -> None:
        """Pass on what is told over a connection of its own, and over another one when that is lost."""
        while True:
            with suppress(DBAPIError, PoolTimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._listen(heard)
            await self._clock.sleep(_LISTEN_AGAIN_SECONDS)

    async def _listen(self, heard: Listener) -> None:
        def told(_connection: object, _process: int, _channel: str, words: object) -> None:
            hint = hints.read(str(words))
            if hint is not None:
                heard(hint)

        async with self.engine.connect() as connection:
            driver = cast("asyncpg.Connection", (await connection.get_raw_connection()).driver_connection)
            try:
                await driver.add_listener(hints.CHANNEL, told)
                while True:  # a server that is gone without a word would never be missed
                    await self._clock.sleep(_LISTEN_LOOK_SECONDS)
                    await driver.execute("SELECT 1", timeout=_CONNECT_SECONDS)
            finally:
                await connection.invalidate()  # nobody else shall listen with it

    @property
    def failure(self) -> Exception | None:
        """Always None: the server looks after its own disk, and connections are made anew."""
        return None

    async def close(self) -> None:
        """Close the pool."""
        await self.engine.dispose()

    async def _repeated(self, work: Work[T], *, writes: bool, repeatable: bool) -> T:
        conflicts = losses = 0
        while True:
            attempt = _Attempt(self.engine, work, writes=writes)
            try:
                return await attempt.run()
            except (DBAPIError, OSError, PoolTimeoutError) as error:
                match fault(error):
                    case "conflict" if conflicts < _CONFLICTS_MAX:
                        conflicts += 1
                    case "lost" if attempt.began and losses < _LOSSES_MAX and (repeatable or not attempt.committing):
                        losses += 1
                    case None:
                        raise
                    case _:
                        raise StoreUnavailableError(_first_line(error)) from error
            if conflicts:
                await self._clock.sleep(random.uniform(0, conflicts * _CONFLICT_PAUSE_SECONDS))  # noqa: S311  # jitter


class _Attempt(Generic[T]):
    """One run of a transaction and how far it came."""

    def __init__(self, engine: AsyncEngine, work: Work[T], *, writes: bool) -> None:
        self._engine = engine
        self._work = work
        self._writes = writes
        self.began = False
        self.committing = False

    async def run(self) -> T:
        async with self._engine.connect() as connection:
            self.began = True
            value = await connection.run_sync(self._work)
            if self._writes:
                pass_failpoint(self._work, "before_commit")
                self.committing = True
                await connection.commit()
                pass_failpoint(self._work, "after_commit")
            return value


def fault(error: Exception) -> Fault | None:
    """Tell what an error means for the work; None: the work itself is wrong."""
    if not isinstance(error, DBAPIError):
        return "lost" if isinstance(error, OSError) else "unavailable"
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state in {"40001", "40P01"}:
        return "conflict"
    if error.connection_invalidated or state[:2] == "08" or state[:3] == "57P" or "connection" in str(error.orig):
        return "lost"
    # 25006: a standby; 3D000, 28: no such database or user; 53: disk, memory or connections are used up; 58: I/O.
    if state == "25006" or state[:2] in {"28", "3D", "53", "57", "58"}:
        return "unavailable"
    return None


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"The database cannot be used: {str(cause).split(chr(10), 1)[0] or type(cause).__name__}"


def _check_durable(connection: Connection) -> None:
    if connection.scalar(text("SHOW synchronous_commit")) == "off":
        message = (
            "PostgreSQL has synchronous_commit = off: it would lose batches that were already accepted. "
            "Set it to on: ALTER DATABASE … SET synchronous_commit = on"
        )
        raise StoreNotDurableError(message)


def _migrate(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    migrate(connection)
