"""A database as the store uses it: functions over a connection, run as one transaction each.

The functions are synchronous and the same for both databases. SQLite runs one in a single hop to the thread that owns
the connection; PostgreSQL runs it in a greenlet over asyncpg.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.dialects import postgresql, sqlite

from slackwater import failpoints
from slackwater.ports import Listener
from slackwater.store.errors import SchemaTooNewError

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert

T = TypeVar("T")
Work = Callable[[Connection], T]

DIALECTS: Final = ("sqlite", "postgresql")
"""Those that `upsert` knows: statements that are built once are built for each."""

SCHEMA = "0003"
"""The newest migration: what this code reads and writes. Numbers grow; a test compares it with `migrations/`."""


class Database(ABC):
    """Runs work in transactions. Every method may raise StoreUnavailableError."""

    @abstractmethod
    async def read(self, work: Work[T], *, memo: Hashable = None) -> T:
        """Run work that does not write; each of its statements sees everything committed before it began (D4).

        With `memo` the answer may be that of earlier work with an equal one, where nothing can have been written since.
        It must not be changed by whoever gets it.
        """

    @abstractmethod
    async def write(self, work: Work[T], *, repeatable: bool = True) -> T:
        """Run work in a transaction; when this returns, what it wrote is durable (D1).

        Work may run more than once: a run that lost a conflict left nothing behind. After a commit whose answer was
        lost it runs again only when `repeatable`, that is when a second effect on top of the first changes nothing.
        """

    @abstractmethod
    async def listen(self, heard: Listener) -> None:
        """Pass on the hints of other processes until canceled; return at once where there cannot be others."""

    @property
    @abstractmethod
    def failure(self) -> Exception | None:
        """Why nothing is written any more until the process is started again (D6); None while all is well."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what runs and let go."""


def insert(connection: Connection, table: Table) -> "Insert":
    """Return the dialect's own INSERT, the one that knows `ON CONFLICT`; both are used through the same methods."""
    return upsert(connection.dialect.name, table)


def upsert(dialect: str, table: Table) -> "Insert":
    """Return the INSERT of a dialect by its name, for statements that are built once."""
    if dialect == "sqlite":
        return cast("Insert", sqlite.insert(table))
    return postgresql.insert(table)


def pass_failpoint(work: Work[T], when: Literal["before_commit", "after_commit"]) -> None:
    """Pass the point of a transaction that is named after the function the work was written in."""
    if failpoints.armed:
        name = work.__qualname__.partition(".<locals>")[0].rpartition(".")[2].lstrip("_")
        failpoints.hit(f"store.{name}.{when}")


def is_current(connection: Connection) -> bool:
    """Tell whether the schema needs no migration. Raises SchemaTooNewError (U2)."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found is not None and int(found) > int(SCHEMA):
        raise SchemaTooNewError(found, SCHEMA)
    return bool(found == SCHEMA)


def migrate(connection: Connection) -> None:
    """Bring the schema up to date inside the transaction at hand: all of it or nothing (U2)."""
    if is_current(connection):
        return
    from alembic import command  # noqa: PLC0415  # takes longer to import than opening a current store may take
    from alembic.config import Config  # noqa: PLC0415  # likewise

    config = Config()
    config.set_main_option("script_location", "slackwater.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
