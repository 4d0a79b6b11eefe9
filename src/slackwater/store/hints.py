"""What processes on one PostgreSQL tell each other (`NOTIFY`): there is work, or a batch is to stop.

Hints and no more: who misses one finds out by looking, within a second.
"""

from typing import Final

from sqlalchemy import Connection, text

from slackwater.domain.events import BatchAdmitted, BatchCancelInitiated

CHANNEL: Final = "slackwater"

Hint = BatchAdmitted | BatchCancelInitiated

_TELL = text("SELECT pg_notify(:channel, :words)")


def tell(connection: Connection, hint: Hint) -> None:
    """Tell the others once the transaction has committed; SQLite has no others."""
    if connection.dialect.name == "postgresql":
        size = hint.size if isinstance(hint, BatchAdmitted) else 0
        words = f"{type(hint).__name__} {hint.batch_id} {hint.workspace_id} {size}"
        connection.execute(_TELL, {"channel": CHANNEL, "words": words})


def read(words: str) -> Hint | None:
    """Return what was told; None for what no version of ours says."""
    match words.split(" "):
        case ["BatchAdmitted", batch_id, workspace_id, size] if size.isdecimal():
            return BatchAdmitted(batch_id=batch_id, workspace_id=workspace_id, size=int(size))
        case ["BatchCancelInitiated", batch_id, workspace_id, _]:
            return BatchCancelInitiated(batch_id=batch_id, workspace_id=workspace_id)
        case _:
            return None
