"""What can be wrong with a store when it is opened."""

from slackwater.domain.errors import StoreUnavailableError


class SchemaTooNewError(Exception):
    """The database was written by a newer version of slackwater (U2); this one must not touch it."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"The database has schema version {found}, this slackwater knows versions up to {known}. "
            "Start the newer version that wrote it, or restore a backup made before the upgrade."
        )
        self.found = found
        self.known = known


class StoreInUseError(StoreUnavailableError):
    """Another process has this SQLite database open: it has exactly one writer."""


class StoreNotDurableError(Exception):
    """The database is set up so that an acknowledged commit could be lost (D1)."""


class StoreFailedError(StoreUnavailableError):
    """A write to stable storage failed; nothing more is written until the process is started again (D6)."""
