"""Shards as workers see them: `ports.WorkStore`, but for what a commit does.

Locks are taken in one order everywhere: batches by id, then shards by number. Leases skip what others hold.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, bindparam, exists, func, or_, select, tuple_, update
from sqlalchemy.sql.dml import ReturningUpdate

from slackwater.domain.batch import Backlog, Lease
from slackwater.domain.result import CommitReport, Flush
from slackwater.store import rows
from slackwater.store.commit import commit
from slackwater.store.database import Database
from slackwater.store.rows import BATCH_COLUMNS, AnyRow
from slackwater.store.schema import EPOCH, HELD_SHARD, OPEN_SHARD, RUNNING, Instant, backlogs, batches, shards

SHARD_COLUMNS: Final = (
    shards.c.batch_id,
    shards.c.number,
    shards.c.model,
    shards.c.offset,
    shards.c.length,
    shards.c.size,
    shards.c.done,
    shards.c.epoch,
    shards.c.lease_until,
)

_NOW: Final = bindparam("now", type_=Instant)
_MAX: Final = bindparam("max", type_=Integer)

_HELD: Final = (
    select(func.count())
    .where(
        shards.c.batch_id == backlogs.c.batch_id,
        shards.c.model == backlogs.c.model,
        HELD_SHARD,
        shards.c.lease_until >= _NOW,
    )
    .correlate(backlogs)
    .scalar_subquery()
)
_BACKLOG: Final = (  # both tables are read in this order, so that the query is over when it has found enough
    select(
        batches.c.id,
        batches.c.workspace_id,
        backlogs.c.model,
        (backlogs.c.shards_open - _HELD).label("free"),
        batches.c.created_at,
        batches.c.expires_at,
    )
    .join_from(batches, backlogs, backlogs.c.batch_id == batches.c.id)
    .where(
        RUNNING,
        batches.c.processing_status == "in_progress",
        batches.c.expires_at > _NOW,
        backlogs.c.shards_open > _HELD,
    )
    .order_by(batches.c.created_at, batches.c.id, backlogs.c.model)
    .limit(_MAX)
)

_RUNNING: Final = (
    select(*BATCH_COLUMNS)
    .where(
        batches.c.id == bindparam("of_batch"),
        batches.c.processing_status == "in_progress",
        batches.c.expires_at > _NOW,
    )
    .with_for_update(read=True)  # a cancel waits until the leases are committed, or comes first (C1)
)
_CLOSING: Final = (
    select(*BATCH_COLUMNS)
    .where(
        RUNNING,
        or_(batches.c.processing_status == "canceling", batches.c.expires_at <= _NOW),
        exists().where(shards.c.batch_id == batches.c.id, OPEN_SHARD, shards.c.lease_until < _NOW),
    )
    .order_by(batches.c.created_at, batches.c.id)
    .limit(_MAX)
)


def _taking(*conditions: ColumnElement[bool]) -> ReturningUpdate[Any]:
    """Return the statement that leases free shards of a batch, passing over those that others are just leasing."""
    free = (
        select(shards.c.batch_id, shards.c.number)
        .where(shards.c.batch_id == bindparam("of_batch"), OPEN_SHARD, shards.c.lease_until < _NOW, *conditions)
        .order_by(shards.c.number)
        .limit(_MAX)
        .with_for_update(skip_locked=True)
        .cte("free")  # run once: as a plain subquery PostgreSQL may run it again for each row, and take more than asked
    )
    return (
        update(shards)
        .where(tuple_(shards.c.batch_id, shards.c.number).in_(select(free.c.batch_id, free.c.number)))
        .values(
            epoch=shards.c.epoch + 1,
            worker_id=bindparam("to_worker"),
            lease_until=bindparam("to_until", type_=Instant),
        )
        .returning(*SHARD_COLUMNS)
    )


_TAKE: Final = _taking()
_TAKE_MODEL: Final = _taking(shards.c.model == bindparam("of_model"))

_MINE: Final = (
    shards.c.batch_id == bindparam("of_batch"),
    shards.c.number == bindparam("of_number"),
    shards.c.epoch == bindparam("of_epoch"),
    OPEN_SHARD,
)
_RENEW: Final = update(shards).where(*_MINE).values(lease_until=bindparam("until", type_=Instant))
_RELEASE: Final = update(shards).where(*_MINE).values(lease_until=EPOCH, worker_id=None)
_HELD_BY: Final = (
    select(shards.c.batch_id, shards.c.number, shards.c.epoch)
    .where(shards.c.worker_id == bindparam("holder"))  # a finished shard has none
    .order_by(shards.c.batch_id, shards.c.number)
    .with_for_update()
)
_RUNNING_AMONG: Final = select(batches.c.id).where(
    batches.c.id.in_(bindparam("asked", expanding=True)), batches.c.processing_status == "in_progress"
)


class Work:
    """Satisfies `ports.WorkStore`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def backlog(self, now: datetime, *, limit: int) -> list[Backlog]:
        """Return up to `limit` pairs of batch and model that have free shards, oldest batch first."""
        return await self.database.read(lambda connection: _backlog(connection, now, limit))

    async def lease(
        self, batch_id: str, model: str, *, worker_id: str, now: datetime, until: datetime, limit: int
    ) -> list[Lease]:
        """Take up to `limit` free shards, lowest numbers first; none of a batch that may not run (C1, T2)."""

        def work(connection: Connection) -> list[Lease]:
            of = connection.execute(_RUNNING, {"of_batch": batch_id, "now": now}).first()
            if of is None:
                return []
            return _take(connection, of, model, worker_id=worker_id, now=now, until=until, limit=limit)

        return await self.database.write(work)

    async def lease_closing(self, *, worker_id: str, now: datetime, until: datetime, limit: int) -> list[Lease]:
        """Take free shards of batches that are canceling or due to expire, oldest batch first."""

        def work(connection: Connection) -> list[Lease]:
            taken: list[Lease] = []
            for of in connection.execute(_CLOSING, {"now": now, "max": limit}).all():
                left = limit - len(taken)
                if left == 0:
                    break
                taken += _take(connection, of, None, worker_id=worker_id, now=now, until=until, limit=left)
            return taken

        return await self.database.write(work)

    async def renew(self, worker_id: str, leases: Sequence[Lease], until: datetime) -> frozenset[tuple[str, int]]:
        """Extend this worker's leases that still have their epoch; return the shards that were kept."""
        wanted = {(lease.batch_id, lease.shard.number, lease.epoch) for lease in leases}

        def work(connection: Connection) -> frozenset[tuple[str, int]]:
            held = connection.execute(_HELD_BY, {"holder": worker_id})
            kept = [(row.batch_id, row.number, row.epoch) for row in held]
            kept = [key for key in kept if key in wanted]
            if kept:
                connection.execute(_RENEW, [{**_mine(*key), "until": until} for key in kept])
            return frozenset((batch_id, number) for batch_id, number, _ in kept)

        return await self.database.write(work)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give shards back before their time, where the epoch still matches."""
        keys = sorted((lease.batch_id, lease.shard.number, lease.epoch) for lease in leases)
        if keys:
            await self.database.write(
                lambda connection: connection.execute(_RELEASE, [_mine(*key) for key in keys]).close()
            )

    async def stopped(self, batch_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these batches must not be sent any more: canceling, ended or gone."""
        asked = frozenset(batch_ids)
        if not asked:
            return frozenset()
        values = {"asked": list(asked)}
        running = await self.database.read(lambda connection: frozenset(connection.scalars(_RUNNING_AMONG, values)))
        return asked - running

    async def commit(self, flush: Flush, now: datetime) -> CommitReport:
        """Make segments visible, each only if its shard still has its epoch (S5); see `commit`."""
        return await self.database.write(lambda connection: commit(connection, flush, now))

    async def release_worker(self, worker_id: str) -> int:
        """Void the leases of a worker that is known to be dead; return how many."""
        statement = (
            update(shards)
            .where(shards.c.worker_id == worker_id)
            .values(lease_until=EPOCH, worker_id=None)
            .returning(shards.c.number)
        )
        return await self.database.write(lambda connection: len(connection.execute(statement).all()))


def _mine(batch_id: str, number: int, epoch: int) -> dict[str, Any]:
    return {"of_batch": batch_id, "of_number": number, "of_epoch": epoch}


def _backlog(connection: Connection, now: datetime, limit: int) -> list[Backlog]:
    return [
        Backlog(
            batch_id=row.id,
            workspace_id=row.workspace_id,
            model=row.model,
            shards=row.free,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
        for row in connection.execute(_BACKLOG, {"now": now, "max": limit})
    ]


def _take(  # what a lease consists of
    connection: Connection,
    of: AnyRow,
    model: str | None,
    *,
    worker_id: str,
    now: datetime,
    until: datetime,
    limit: int,
) -> list[Lease]:
    """Lease free shards of one batch, of one model or of any."""
    values = {"of_batch": of.id, "now": now, "max": limit, "to_worker": worker_id, "to_until": until}
    if model is not None:
        values["of_model"] = model
    taken = connection.execute(_TAKE if model is None else _TAKE_MODEL, values).all()
    return [rows.lease(of, row) for row in sorted(taken, key=lambda row: int(row.number))]
