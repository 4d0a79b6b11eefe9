"""What the sweeper looks after: `ports.SweepStore`."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Integer, bindparam, delete, or_, select, union_all, update

from slackwater.ports import Compaction
from slackwater.store import rows
from slackwater.store.batches import IDEMPOTENCY_WINDOW, SEGMENT_RANGE
from slackwater.store.database import DIALECTS, Database, upsert
from slackwater.store.files import sweep as sweep_files
from slackwater.store.schema import (
    FRAGMENTED,
    NOT_ARCHIVED,
    Instant,
    batch_files,
    batches,
    creates,
    files,
    flushes,
    holds,
    marks,
    segments,
    shards,
)

TOKEN_KEPT: Final = timedelta(days=1)  # far longer than any worker repeats a flush


def _holding(dialect: str) -> Any:  # noqa: ANN401  # SQLAlchemy's Insert
    """Return the statement that takes the sweeper's lease where it is the holder's own, or over."""
    statement = upsert(dialect, holds)
    return statement.on_conflict_do_update(
        index_elements=[holds.c.name],
        set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
        where=or_(holds.c.holder == statement.excluded.holder, holds.c.until < bindparam("now", type_=Instant)),
    ).returning(holds.c.name)


def _reaching(dialect: str) -> Any:  # noqa: ANN401  # SQLAlchemy's Insert
    """Return the statement that moves a mark forward, never back."""
    statement = upsert(dialect, marks)
    return statement.on_conflict_do_update(
        index_elements=[marks.c.name],
        set_={"reached_at": statement.excluded.reached_at},
        where=marks.c.reached_at < statement.excluded.reached_at,
    )


_HOLD: Final = {dialect: _holding(dialect) for dialect in DIALECTS}
_REACH: Final = {dialect: _reaching(dialect) for dialect in DIALECTS}
_REACHED: Final = select(marks.c.reached_at).where(marks.c.name == "high_water")
_DUE: Final = (
    select(batches.c.id, batches.c.requests_key, batches.c.results_key)
    .where(NOT_ARCHIVED, batches.c.created_at < bindparam("before"), batches.c.processing_status == "ended")
    .order_by(batches.c.created_at)
    .limit(bindparam("max", type_=Integer))
    .with_for_update(skip_locked=True)
)
_FRAGMENTED: Final = (
    select(batches.c.id).where(FRAGMENTED).order_by(batches.c.id).limit(bindparam("max", type_=Integer))
)
_FRAGMENTS: Final = (
    select(segments.c.batch_id, *SEGMENT_RANGE)
    .where(segments.c.batch_id.in_(bindparam("of", expanding=True)))
    .order_by(segments.c.batch_id, segments.c.sequence)
)


class Sweep:
    """Satisfies `ports.SweepStore`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def hold(self, holder: str, now: datetime, until: datetime) -> bool:
        """Take or keep the sweeper's lease."""

        def work(connection: Connection) -> bool:
            values = {"name": "sweep", "holder": holder, "until": until, "now": now}
            return connection.execute(_HOLD[connection.dialect.name], values).first() is not None

        return await self.database.write(work)

    async def high_water(self, now: datetime) -> datetime:
        """Record that this instant was reached; return the latest one ever recorded (T3)."""

        def work(connection: Connection) -> datetime:
            connection.execute(_REACH[connection.dialect.name], {"name": "high_water", "reached_at": now})
            reached: datetime = connection.scalars(_REACHED).one()
            return reached

        return await self.database.write(work)

    async def archive_due(self, now: datetime, created_before: datetime, *, limit: int) -> list[str]:
        """Archive ended batches created before an instant (T4); return the blob keys that nothing refers to now."""
        return await self.database.write(lambda connection: _archive(connection, now, created_before, limit))

    async def sweep_files(self, now: datetime, *, limit: int) -> list[str]:
        """Let go of files that expired or lost their last pin; return the blob keys that nothing refers to now."""
        return await self.database.write(lambda connection: sweep_files(connection, now, limit))

    async def fragmented(self, *, limit: int) -> list[Compaction]:
        """Return ended batches whose results lie in more than one blob."""
        return await self.database.read(lambda connection: _fragmented(connection, limit))

    async def compacted(self, batch_id: str, blob_key: str, length: int) -> bool:
        """Replace an ended batch's segments by one range over one blob; its shards go, nothing needs them any more.

        False when the batch is gone, archived, or was compacted into another blob before: this one is an orphan then.
        Raises ValueError when the length is not that of the segments.
        """
        return await self.database.write(lambda connection: _compact(connection, batch_id, blob_key, length))

    async def referenced(self, blob_keys: Sequence[str]) -> frozenset[str]:
        """Return which of these keys some row refers to; an archived batch refers to none."""
        if not blob_keys:
            return frozenset()
        query = referenced(blob_keys)
        return await self.database.read(lambda connection: frozenset(connection.scalars(query)))

    async def forget_creates(self, now: datetime) -> None:
        """Drop the records of creates (D3) and of flushes (P2) that nobody repeats any more."""

        def work(connection: Connection) -> None:
            connection.execute(delete(creates).where(creates.c.created_at < now - IDEMPOTENCY_WINDOW))
            connection.execute(delete(flushes).where(flushes.c.committed_at < now - TOKEN_KEPT))

        await self.database.write(work)


def _archive(connection: Connection, now: datetime, created_before: datetime, limit: int) -> list[str]:
    found = connection.execute(_DUE, {"before": created_before, "max": limit}).all()
    ids = [row.id for row in found]
    if not ids:
        return []
    keys = {row.requests_key for row in found} | {row.results_key for row in found if row.results_key is not None}
    keys |= set(connection.scalars(select(segments.c.blob_key).where(segments.c.batch_id.in_(ids)).distinct()))
    _drop_parts(connection, ids)
    archived = {"archived_at": now, "results_key": None, "results_length": None, "result_blobs": 0}
    connection.execute(update(batches).where(batches.c.id.in_(ids)).values(**archived))
    return sorted(keys)


def _drop_parts(connection: Connection, batch_ids: Iterable[str]) -> None:
    for table in (segments, shards, batch_files):
        connection.execute(delete(table).where(table.c.batch_id.in_(batch_ids)))


def _fragmented(connection: Connection, limit: int) -> list[Compaction]:
    found = connection.scalars(_FRAGMENTED, {"max": limit}).all()
    parts: dict[str, list[rows.AnyRow]] = {}
    for row in connection.execute(_FRAGMENTS, {"of": found}) if found else ():
        parts.setdefault(row.batch_id, []).append(row)
    return [Compaction(batch_id=batch_id, ranges=tuple(rows.ranges(lines))) for batch_id, lines in parts.items()]


def _compact(connection: Connection, batch_id: str, blob_key: str, length: int) -> bool:
    query = select(batches.c.ended_at, batches.c.archived_at, batches.c.results_key).where(batches.c.id == batch_id)
    row = connection.execute(query.with_for_update()).first()
    if row is None or row.ended_at is None or row.archived_at is not None:
        return False
    if row.results_key is not None:
        return bool(row.results_key == blob_key)
    found = connection.scalars(select(segments.c.length).where(segments.c.batch_id == batch_id)).all()
    if sum(found) != length:
        message = f"{batch_id} has {sum(found)} bytes of results, the blob that is to replace them {length}"
        raise ValueError(message)
    _drop_parts(connection, [batch_id])
    whole = {"results_key": blob_key, "results_length": length, "result_blobs": 1}
    connection.execute(update(batches).where(batches.c.id == batch_id).values(**whole))
    return True


def referenced(blob_keys: Sequence[str]) -> Any:  # noqa: ANN401  # SQLAlchemy's CompoundSelect
    """Return the query for the keys that rows refer to."""
    return union_all(
        select(batches.c.requests_key).where(batches.c.requests_key.in_(blob_keys), batches.c.archived_at.is_(None)),
        select(batches.c.results_key).where(batches.c.results_key.in_(blob_keys)),
        select(segments.c.blob_key).where(segments.c.blob_key.in_(blob_keys)).distinct(),
        select(files.c.blob_key).where(files.c.blob_key.in_(blob_keys)).distinct(),
    )
