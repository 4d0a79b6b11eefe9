"""A store full of ended batches: the rows that a real one left behind, again and again under other ids and instants.

Making so many through the API would take hours. All of them refer to the blobs of the real one.
"""

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, insert, select

from slackwater.domain.ids import BATCH, IdSource
from slackwater.store.schema import batch_charges, batches, segments, shards

APART = timedelta(seconds=20)
"""Between two of them: the oldest of 100,000 is 24 days old, and none so old that its results would be removed."""
ROWS_AT_ONCE = 5_000


def fill(data: Path, count: int) -> list[str]:
    """Copy the smallest batch in the data directory of a server that does not run; return the new ids, oldest first."""
    engine = create_engine(f"sqlite:///{data / 'slackwater.db'}")
    try:
        with engine.begin() as connection:
            return _fill(connection, count)
    finally:
        engine.dispose()


def _fill(connection: Connection, count: int) -> list[str]:
    model = connection.execute(select(batches).order_by(batches.c.size).limit(1)).one()._asdict()
    instants = [datetime.now(UTC) - number * APART for number in range(count, 0, -1)]
    milliseconds = (int(instant.timestamp() * 1e3) for instant in instants)
    source = IdSource(lambda: next(milliseconds))
    ids = [source.new(BATCH) for _ in instants]
    _insert(connection, batches, (_moved(model, *one) for one in zip(ids, instants, strict=True)))
    for table in (shards, segments, batch_charges):
        rows = connection.execute(select(table).where(table.c.batch_id == model["id"])).mappings().all()
        _insert(connection, table, _owned(rows, ids))
    return ids


def _moved(model: dict[str, Any], batch_id: str, created_at: datetime) -> dict[str, Any]:
    by = created_at - model["created_at"]
    later = {name: value + by for name, value in model.items() if isinstance(value, datetime)}
    return {**model, **later, "id": batch_id}


def _owned(rows: Sequence[Any], ids: Iterable[str]) -> Iterable[dict[str, Any]]:
    return ({**row, "batch_id": batch_id} for batch_id in ids for row in rows)


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    left = iter(rows)
    while piece := list(itertools.islice(left, ROWS_AT_ONCE)):
        connection.execute(insert(table), piece)
