"""Batches as their owner sees them: `ports.BatchStore`."""

import hashlib
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy import insert as plain_insert

from slackwater.domain import lifecycle
from slackwater.domain.batch import Admission, Batch
from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.events import BatchAdmitted, BatchCancelInitiated
from slackwater.domain.limits import IDEMPOTENCY_KEY_WINDOW_SECONDS, RETRIED_CREATE_WINDOW_SECONDS
from slackwater.domain.result import Charge, ResultRange
from slackwater.ports import Page, Sealed
from slackwater.store import rows
from slackwater.store.database import Database
from slackwater.store.files import pin
from slackwater.store.hints import tell
from slackwater.store.places import place_of
from slackwater.store.rows import BATCH_COLUMNS, AnyRow
from slackwater.store.schema import Instant, backlogs, batch_charges, batches, creates, segments, shards

RETRIED_WINDOW: Final = timedelta(seconds=RETRIED_CREATE_WINDOW_SECONDS)
IDEMPOTENCY_WINDOW: Final = timedelta(seconds=IDEMPOTENCY_KEY_WINDOW_SECONDS)

SEGMENT_RANGE = (segments.c.blob_key, segments.c.offset, segments.c.length)

_NOBODY: Final = ""
"""As what a create overtook: the call that it repeats was not sealed before it, and has not come since."""

_OTHER_BODY = "Idempotency-Key: this key was used with another request body in the last 24 hours."
_DELETED = (
    "This call repeats the one that made {}, which has been deleted since."
    " To make another one, call anew, under another Idempotency-Key if you use any."
)


class Batches:
    """Satisfies `ports.BatchStore`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def seal(self, admission: Admission) -> Sealed:
        """Make a batch exist, all of it in one transaction (D1), or find the one it repeats (D3)."""
        return await self.database.write(lambda connection: _seal(connection, admission))

    async def find(self, workspace_id: str, batch_id: str) -> Batch | None:
        """Return a batch of this workspace."""
        return await self.database.read(
            lambda connection: find(connection, workspace_id, batch_id), memo=("batch", workspace_id, batch_id)
        )

    async def page(
        self, workspace_id: str, *, limit: int, after_id: str | None = None, before_id: str | None = None
    ) -> Page:
        """List newest first; equal instants are told apart by id, so that a cursor stands for one place."""
        if after_id is not None and before_id is not None:
            message = "Only one of after_id and before_id may be given."
            raise InvalidRequestError(message)
        return await self.database.read(
            lambda connection: _page(connection, workspace_id, limit=limit, after_id=after_id, before_id=before_id)
        )

    async def cancel(self, workspace_id: str, batch_id: str, now: datetime) -> Batch | None:
        """Start canceling; the first instant stays, an ended batch comes back as it is (C4)."""
        return await self.database.write(lambda connection: _cancel(connection, workspace_id, batch_id, now))

    async def delete(self, workspace_id: str, batch_id: str) -> Batch | None:
        """Remove an ended batch with everything that belongs to it, its ledger lines excepted."""
        removed: list[Batch] = []  # for the run after a commit whose answer was lost

        def work(connection: Connection) -> Batch | None:
            found = _delete(connection, workspace_id, batch_id)
            if found is not None:
                removed.append(found)
            return removed[-1] if removed else None

        return await self.database.write(work)

    async def results(self, workspace_id: str, batch_id: str) -> list[ResultRange]:
        """Return where the result lines are, in commit order, which never changes (R1)."""
        return await self.database.read(lambda connection: _results(connection, workspace_id, batch_id))

    async def charges(self, workspace_id: str, batch_id: str) -> list[Charge]:
        """Return what the batch used so far, by model."""
        query = (
            select(batch_charges)
            .join(batches, batches.c.id == batch_charges.c.batch_id)
            .where(_OWNED)
            .order_by(batch_charges.c.model)
        )
        own = _own(workspace_id, batch_id)
        return await self.database.read(lambda connection: [rows.charge(row) for row in connection.execute(query, own)])


def _create(*conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401  # SQLAlchemy's Select
    """Return the query for the latest create that fits, with its batch, all null when that was deleted."""
    return (
        select(*BATCH_COLUMNS, creates.c.batch_id, creates.c.digest, creates.c.created_at.label("create_at"))
        .select_from(creates)
        .join(batches, creates.c.batch_id == batches.c.id, isouter=True)
        .where(*conditions)
        .order_by(creates.c.created_at.desc())
        .limit(1)
    )


_OF_CREATE: Final = creates.c.batch_id == bindparam("of_batch")
_OF_WORKSPACE: Final = creates.c.workspace_id == bindparam("of_workspace")
_SAME_BODY: Final = and_(
    _OF_WORKSPACE, creates.c.key_id == bindparam("of_key"), creates.c.digest == bindparam("of_digest")
)
_UNDER_WAY: Final = creates.c.created_at > bindparam("arrived_at")
_MADE_ALREADY: Final = _create(_OF_CREATE)
_SAME_KEY: Final = _create(_OF_WORKSPACE, creates.c.idempotency_key == bindparam("key"))
_OVERTAKEN: Final = _create(_SAME_BODY, _UNDER_WAY, creates.c.overtook.in_(bindparam("by", expanding=True)))
_RETRIED: Final = _create(
    _SAME_BODY,
    creates.c.created_at > bindparam("since"),
    # One that was deleted before this call came is not what it repeats: nobody deletes what he is still asking for.
    or_(batches.c.id.is_not(None), _UNDER_WAY),
)
_FREE_KEY: Final = update(creates).where(_OF_CREATE).values(idempotency_key=None)
_OVERTAKE: Final = update(creates).where(_OF_CREATE).values(overtook=bindparam("mine"))
_NEW_BATCH, _NEW_SHARDS, _NEW_BACKLOGS, _NEW_CREATE = map(plain_insert, (batches, shards, backlogs, creates))
_OWNED: Final = and_(batches.c.id == bindparam("of_batch"), batches.c.workspace_id == bindparam("of_workspace"))
_FIND: Final = select(*BATCH_COLUMNS).where(_OWNED)
_RESULTS: Final = (  # one statement, so that a compaction is seen either whole or not at all
    select(batches.c.results_key, batches.c.results_length, *SEGMENT_RANGE)
    .join_from(batches, segments, segments.c.batch_id == batches.c.id, isouter=True)
    .where(_OWNED)
    .order_by(segments.c.sequence)
)


def _own(workspace_id: str, batch_id: str) -> dict[str, str]:
    return {"of_batch": batch_id, "of_workspace": workspace_id}


def find(connection: Connection, workspace_id: str, batch_id: str) -> Batch | None:
    """Return a batch of this workspace."""
    row = connection.execute(_FIND, _own(workspace_id, batch_id)).first()
    return None if row is None else rows.batch(row)


def _seal(connection: Connection, admission: Admission) -> Sealed:
    new = admission.batch
    _stand_in_line(connection, admission)
    known = connection.execute(_MADE_ALREADY, {"of_batch": new.id}).first()
    if known is not None:  # the commit that answered nobody had taken effect (P2)
        return Sealed(batch=_made(known), duplicate=False)
    earlier = _repeated(connection, admission)
    if earlier is not None:
        return Sealed(batch=earlier, duplicate=True)
    connection.execute(_NEW_BATCH, rows.batch_values(admission))
    connection.execute(_NEW_SHARDS, [rows.shard_values(new.id, shard) for shard in admission.shards])
    models = Counter(shard.model for shard in admission.shards)
    backlog = [{"batch_id": new.id, "model": model, "shards_open": count} for model, count in models.items()]
    connection.execute(_NEW_BACKLOGS, backlog)
    pin(connection, new, admission.file_ids)
    create = {
        "batch_id": new.id,
        "workspace_id": new.workspace_id,
        "key_id": admission.key_id,
        "digest": admission.digest,
        "idempotency_key": admission.idempotency_key,
        "overtook": _NOBODY if admission.retried and admission.idempotency_key is None else None,
        "created_at": new.created_at,
    }
    connection.execute(_NEW_CREATE, create)
    tell(connection, BatchAdmitted(batch_id=new.id, workspace_id=new.workspace_id, size=new.size))
    return Sealed(batch=new, duplicate=False)


def _stand_in_line(connection: Connection, admission: Admission) -> None:
    """Let seals of equal bodies, then of equal idempotency keys, happen one after the other.

    Always in this order, so that nobody waits in a circle. SQLite has one writer and needs no line.
    """
    if connection.dialect.name == "sqlite":
        return
    places = [admission.digest, (admission.idempotency_key or "").encode()]
    for place in filter(None, places):
        digest = hashlib.sha256(admission.batch.workspace_id.encode() + b"\0" + place).digest()
        lock = int.from_bytes(digest[:8], signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _repeated(connection: Connection, admission: Admission) -> Batch | None:
    """Return the batch that this admission repeats (D3); a client's own key decides alone where there is one."""
    now = admission.batch.created_at
    values: dict[str, Any] = {"of_workspace": admission.batch.workspace_id}
    if admission.idempotency_key is not None:
        row = connection.execute(_SAME_KEY, values | {"key": admission.idempotency_key}).first()
        if row is None:
            return None
        if row.create_at <= now - IDEMPOTENCY_WINDOW:
            connection.execute(_FREE_KEY, {"of_batch": row.batch_id})
            return None
        if row.digest != admission.digest:
            raise InvalidRequestError(_OTHER_BODY)
        return _made(row)
    values |= {"of_key": admission.key_id, "of_digest": admission.digest, "arrived_at": admission.arrived_at or now}
    if not admission.retried:
        return _overtaken(connection, admission.batch.id, values)
    row = connection.execute(_RETRIED, values | {"since": now - RETRIED_WINDOW}).first()
    return None if row is None else _made(row)


def _overtaken(connection: Connection, mine: str, values: dict[str, Any]) -> Batch | None:
    """Return the batch that a repetition of this call made on its way past it; it stands for one call and no other."""
    # What stands for this one already does so since a commit whose answer was lost (P2).
    row = connection.execute(_OVERTAKEN, values | {"by": [_NOBODY, mine]}).first()
    if row is None:
        return None
    connection.execute(_OVERTAKE, {"of_batch": row.batch_id, "mine": mine})
    return _made(row)


def _made(row: AnyRow) -> Batch:
    """Return the batch of a create. Raises InvalidRequestError when it was deleted."""
    if row.id is None:
        raise InvalidRequestError(_DELETED.format(row.batch_id), should_retry=False)
    return rows.batch(row)


def _page(
    connection: Connection, workspace_id: str, *, limit: int, after_id: str | None, before_id: str | None
) -> Page:
    place = tuple_(batches.c.created_at, batches.c.id)
    query = select(*BATCH_COLUMNS).where(batches.c.workspace_id == workspace_id).limit(limit + 1)
    if before_id is not None:
        cursor = _cursor(connection, workspace_id, "before_id", before_id)
        query = query.where(place > cursor).order_by(batches.c.created_at, batches.c.id)
    else:
        if after_id is not None:
            query = query.where(place < _cursor(connection, workspace_id, "after_id", after_id))
        query = query.order_by(batches.c.created_at.desc(), batches.c.id.desc())
    found = [rows.batch(row) for row in connection.execute(query)]
    items = found[:limit]
    return Page(items=tuple(reversed(items) if before_id is not None else items), has_more=len(found) > limit)


def _cursor(connection: Connection, workspace_id: str, name: str, batch_id: str) -> Any:  # noqa: ANN401  # an SQL tuple
    row = connection.execute(select(batches.c.created_at).where(_OWNED), _own(workspace_id, batch_id)).first()
    instant = row.created_at if row is not None else place_of(batch_id, newer=name == "before_id")
    if instant is None:
        message = f"{name}: there is no batch `{batch_id}` in this list."
        raise InvalidRequestError(message)
    return tuple_(literal(instant, Instant), literal(batch_id, Text))


def _cancel(connection: Connection, workspace_id: str, batch_id: str, now: datetime) -> Batch | None:
    statement = (
        update(batches)
        .where(_OWNED, batches.c.processing_status.in_(lifecycle.allowed_from("cancel")))
        .values(
            processing_status="canceling",
            cancel_initiated_at=func.coalesce(batches.c.cancel_initiated_at, literal(now, Instant)),
        )
        .returning(*BATCH_COLUMNS)
    )
    row = connection.execute(statement, _own(workspace_id, batch_id)).first()
    if row is None:
        return find(connection, workspace_id, batch_id)
    tell(connection, BatchCancelInitiated(batch_id=batch_id, workspace_id=workspace_id))
    return rows.batch(row)


def _delete(connection: Connection, workspace_id: str, batch_id: str) -> Batch | None:
    row = connection.execute(_FIND.with_for_update(), _own(workspace_id, batch_id)).first()
    if row is not None and lifecycle.after(row.processing_status, "delete") == "gone":
        connection.execute(delete(batches).where(batches.c.id == batch_id))
    return None if row is None else rows.batch(row)


def _results(connection: Connection, workspace_id: str, batch_id: str) -> list[ResultRange]:
    found = connection.execute(_RESULTS, _own(workspace_id, batch_id)).all()
    if not found:
        return []
    whole = found[0]
    if whole.results_key is not None:
        return [ResultRange(blob_key=whole.results_key, offset=0, length=whole.results_length)]
    return rows.ranges(row for row in found if row.blob_key is not None)
