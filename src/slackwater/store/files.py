"""Files and what pins them: `ports.FileStore`.

The bytes of a file are a blob that files of one workspace with equal bytes share. Whoever makes files begin or end to
refer to blobs locks the row of `storage` first: nobody can take to a blob that somebody else is about to give up, and
the quota is exact.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Integer, Text, and_, bindparam, delete, exists, literal, select, update
from sqlalchemy import insert as plain_insert

from slackwater.domain.batch import Batch
from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.file import METADATA_KEPT, File
from slackwater.ports import DeletedFile, FilePage
from slackwater.store.database import Database, insert
from slackwater.store.places import place_of
from slackwater.store.rows import AnyRow
from slackwater.store.schema import (
    DELETED_FILE,
    EXPIRING_FILE,
    FORGOTTEN_FILE,
    RUNNING,
    batch_files,
    batches,
    files,
    storage,
)

_IDS_MAX: Final = 500  # in one statement


class Files:
    """Satisfies `ports.FileStore`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def add_file(self, file: File, *, quota_bytes: int) -> File:
        """Make a file exist; equal bytes of its workspace are shared, and count once towards the quota."""
        return await self.database.write(lambda connection: _add(connection, file, quota_bytes))

    async def find_file(self, workspace_id: str, file_id: str, *, batch_id: str | None = None) -> File | None:
        """Return a file of this workspace, or what an unfinished batch pins of it."""
        return await self.database.read(lambda connection: _find(connection, workspace_id, file_id, batch_id))

    async def files_page(
        self, workspace_id: str, *, limit: int, after: str | None = None, before: str | None = None
    ) -> FilePage:
        """List newest first, by id: ids sort by time, and one that was deleted still stands for its place."""
        query = select(files).where(files.c.workspace_id == workspace_id, files.c.deleted_at.is_(None)).limit(limit + 1)
        if before is not None:
            query = query.where(files.c.id > _cursor("before_id", before)).order_by(files.c.id)
        else:
            if after is not None:
                query = query.where(files.c.id < _cursor("after_id", after))
            query = query.order_by(files.c.id.desc())
        found = await self.database.read(lambda connection: [_file(row) for row in connection.execute(query)])
        items = found[:limit]
        return FilePage(items=tuple(reversed(items) if before is not None else items), has_more=len(found) > limit)

    async def files_by_id(self, workspace_id: str, file_ids: Sequence[str]) -> list[File]:
        """Return those of these that there are, newest first."""
        query = (
            select(files)
            .where(files.c.workspace_id == workspace_id, files.c.deleted_at.is_(None), files.c.id.in_(set(file_ids)))
            .order_by(files.c.id.desc())
        )
        return await self.database.read(lambda connection: [_file(row) for row in connection.execute(query)])

    async def delete_file(self, workspace_id: str, file_id: str, now: datetime) -> DeletedFile | None:
        """Remove a file, or hide it while unfinished batches pin it (I3)."""
        removed: list[DeletedFile] = []  # for the run after a commit whose answer was lost

        def work(connection: Connection) -> DeletedFile | None:
            found = _delete(connection, workspace_id, file_id, now)
            if found is not None:
                removed.append(found)
            return removed[-1] if removed else None

        return await self.database.write(work)


def pin(connection: Connection, batch: Batch, file_ids: Iterable[str]) -> None:
    """Pin what a new batch may use: files of its workspace that are neither deleted nor expired.

    Their rows are locked until the commit, so that a deletion either comes first or sees the pin (I3).
    """
    ordered = sorted(file_ids)
    for start in range(0, len(ordered), _IDS_MAX):
        usable = (
            select(literal(batch.id, Text), files.c.id)
            .where(
                files.c.id.in_(ordered[start : start + _IDS_MAX]),
                files.c.workspace_id == batch.workspace_id,
                files.c.deleted_at.is_(None),
                files.c.expires_at.is_(None) | (files.c.expires_at > batch.created_at),
            )
            .order_by(files.c.id)
            .with_for_update(read=True)
        )
        connection.execute(plain_insert(batch_files).from_select(["batch_id", "file_id"], usable))


def _due(condition: Any, since: Any) -> Any:  # noqa: ANN401  # a condition, a column; SQLAlchemy's Select
    """Return the query for files that a condition is true of and nothing pins, those first for which it is longest."""
    pinned = exists().where(batch_files.c.file_id == files.c.id, batches.c.id == batch_files.c.batch_id, RUNNING)
    return select(files.c.id).where(condition, ~pinned).order_by(since).limit(bindparam("max", type_=Integer))


_DUE: Final = (
    _due(DELETED_FILE, files.c.deleted_at),
    _due(and_(EXPIRING_FILE, files.c.expires_at <= bindparam("now")), files.c.expires_at),
    _due(and_(FORGOTTEN_FILE, files.c.expires_at <= bindparam("forgotten")), files.c.expires_at),
)


def sweep(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Let go of what is due and not pinned; return the blob keys that nothing refers to now."""
    ids = set[str]()
    for query in _DUE:
        ids.update(connection.scalars(query, {"now": now, "forgotten": now - METADATA_KEPT, "max": limit}))
    if not ids:
        return []
    _lock(connection)
    held = select(files).where(files.c.id.in_(ids)).order_by(files.c.id).with_for_update()
    rows = connection.execute(held).all()
    pinned = _pins(connection, ids)  # once more: with the rows locked no pin can come after this look
    rows = [row for row in rows if row.id not in pinned]
    over = [row.id for row in rows if row.deleted_at is not None or row.expires_at <= now - METADATA_KEPT]
    connection.execute(delete(files).where(files.c.id.in_(over)))
    connection.execute(update(files).where(files.c.id.in_([row.id for row in rows])).values(blob_key=None))
    return _let_go(connection, rows)


def _add(connection: Connection, file: File, quota_bytes: int) -> File:
    held = _lock(connection)
    known = connection.execute(select(files).where(files.c.id == file.id)).first()
    if known is not None:  # the commit that answered nobody had taken effect (P2)
        return _file(known)
    equal = select(files.c.blob_key).where(
        files.c.workspace_id == file.workspace_id,
        files.c.digest == file.digest,
        files.c.size_bytes == file.size_bytes,
        files.c.blob_key.is_not(None),
    )
    blob_key = connection.scalar(equal.limit(1))
    if blob_key is None and held + file.size_bytes > quota_bytes:
        message = (
            f"The file storage quota of {quota_bytes} bytes is used up. Delete files that are not needed any more."
        )
        raise InvalidRequestError(message, error_code="storage_quota_exceeded")
    if blob_key is None:
        _grow(connection, file.size_bytes)
    stored = file if blob_key is None else replace(file, blob_key=blob_key)
    connection.execute(plain_insert(files).values({column.name: getattr(stored, column.name) for column in files.c}))
    return stored


def _find(connection: Connection, workspace_id: str, file_id: str, batch_id: str | None) -> File | None:
    row = connection.execute(select(files).where(files.c.id == file_id, files.c.workspace_id == workspace_id)).first()
    if row is None:
        return None
    if batch_id is not None and batch_id in _pins(connection, [file_id]).get(file_id, ()):
        return replace(_file(row), expires_at=None, deleted_at=None)
    return None if row.deleted_at is not None else _file(row)


def _delete(connection: Connection, workspace_id: str, file_id: str, now: datetime) -> DeletedFile | None:
    _lock(connection)
    visible = and_(files.c.id == file_id, files.c.workspace_id == workspace_id, files.c.deleted_at.is_(None))
    row = connection.execute(select(files).where(visible).with_for_update()).first()
    if row is None:
        return None
    pinned_by = tuple(_pins(connection, [file_id]).get(file_id, ()))
    gone: list[str] = []
    if pinned_by:
        connection.execute(update(files).where(files.c.id == file_id).values(deleted_at=now))
    else:
        connection.execute(delete(files).where(files.c.id == file_id))
        gone = _let_go(connection, [row])
    return DeletedFile(file=_file(row), pinned_by=pinned_by, blob_key=gone[0] if gone else None)


def _lock(connection: Connection) -> int:
    """Lock the row of `storage`; return how many bytes files hold."""
    statement = insert(connection, storage).values(name="files", size_bytes=0)
    same = statement.on_conflict_do_update(
        index_elements=[storage.c.name], set_={"size_bytes": storage.c.size_bytes}
    ).returning(storage.c.size_bytes)
    held: int = connection.scalars(same).one()
    return held


def _grow(connection: Connection, size_bytes: int) -> None:
    grown = {"size_bytes": storage.c.size_bytes + size_bytes}
    connection.execute(update(storage).where(storage.c.name == "files").values(grown))


def _let_go(connection: Connection, rows: Iterable[AnyRow]) -> list[str]:
    """Return the blob keys among those of rows that let go of them to which no other row refers."""
    sizes = {row.blob_key: row.size_bytes for row in rows if row.blob_key is not None}
    kept = set(connection.scalars(select(files.c.blob_key).where(files.c.blob_key.in_(sizes)).distinct()))
    gone = sorted(sizes.keys() - kept)
    if gone:
        _grow(connection, -sum(sizes[key] for key in gone))
    return gone


def _pins(connection: Connection, file_ids: Iterable[str]) -> dict[str, list[str]]:
    """Return the unfinished batches that pin these files."""
    query = (
        select(batch_files.c.file_id, batch_files.c.batch_id)
        .join(batches, batches.c.id == batch_files.c.batch_id)
        .where(batch_files.c.file_id.in_(file_ids), RUNNING)
        .order_by(batch_files.c.batch_id)
    )
    found: dict[str, list[str]] = {}
    for row in connection.execute(query):
        found.setdefault(row.file_id, []).append(row.batch_id)
    return found


def _cursor(name: str, file_id: str) -> str:
    if place_of(file_id, newer=False) is None:
        message = f"{name}: there is no file `{file_id}` in this list."
        raise InvalidRequestError(message)
    return file_id


def _file(row: AnyRow) -> File:
    values: dict[str, Any] = {column.name: getattr(row, column.name) for column in files.c}
    return File(**values | {"blob_key": row.blob_key or ""})
