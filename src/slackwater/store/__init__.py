"""One store over SQL, two databases: the truth about batches, shards, results, files, keys and money."""

from pathlib import Path

from slackwater.ports import Clock, Listener
from slackwater.store.batches import Batches
from slackwater.store.database import Database
from slackwater.store.errors import SchemaTooNewError, StoreFailedError, StoreInUseError, StoreNotDurableError
from slackwater.store.files import Files
from slackwater.store.keys import Keys
from slackwater.store.ledger import Ledger
from slackwater.store.sweep import Sweep
from slackwater.store.work import Work

__all__ = ["SchemaTooNewError", "Store", "StoreFailedError", "StoreInUseError", "StoreNotDurableError"]


class Store(Batches, Work, Files, Sweep, Keys, Ledger):
    """Satisfies `ports.BatchStore`, `WorkStore`, `FileStore`, `SweepStore`, `KeyStore` and `Ledger`.

    Every method may raise StoreUnavailableError.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    async def open(cls, url: str, *, clock: Clock) -> "Store":
        """Open `sqlite:///path` (made when it is missing) or `postgresql://user:password@host/database`.

        Brings the schema up to date. Raises SchemaTooNewError (U2), StoreInUseError, StoreNotDurableError (D1),
        StoreUnavailableError, and ValueError for another kind of URL.
        """
        scheme, _, rest = url.partition("://")
        if scheme == "sqlite" and rest.startswith("/"):
            from slackwater.store.sqlite import SQLiteDatabase  # noqa: PLC0415  # only one of the two drivers is loaded

            return cls(await SQLiteDatabase.open(Path(rest[1:])))
        if scheme in {"postgresql", "postgres"}:
            from slackwater.store.postgres import PostgreSQLDatabase  # noqa: PLC0415  # likewise

            return cls(await PostgreSQLDatabase.open(url.replace("postgres://", "postgresql://", 1), clock))
        message = f"database: {scheme or url} is not a database we know; use sqlite or postgresql://user@host/name"
        raise ValueError(message)

    @property
    def failure(self) -> Exception | None:
        """Why nothing is written any more until the process is started again (D6); None while all is well."""
        return self.database.failure

    async def listen(self, heard: Listener) -> None:
        """Pass on what other processes say they did, until canceled; return at once where there cannot be others.

        Only hints: any may be missing, and one's own come too.
        """
        await self.database.listen(heard)

    async def close(self) -> None:
        """Finish what runs and let go of the database."""
        await self.database.close()
