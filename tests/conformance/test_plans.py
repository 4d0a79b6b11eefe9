"""Guards on the plans of frequent statements: a scan of a whole table is an error, however small the table is now."""

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Connection, Table, event, insert, text

from slackwater.store import Store
from slackwater.store.rows import batch_values, shard_values
from slackwater.store.schema import (
    api_keys,
    backlogs,
    batch_files,
    batches,
    creates,
    files,
    segments,
    shards,
    storage,
    workspaces,
)
from support.stores import (
    DAY,
    LEASE,
    MINE,
    NOW,
    SECOND,
    admission,
    committed,
    file,
    flush,
    leased,
    sealed,
    segment,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Plans:
    """Explains every statement that the store runs, as it runs it, and keeps what scans."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self.explained = 0
        self.scans: list[str] = []
        self._busy = False

    def look(  # the signature of SQLAlchemy's event
        self, connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        """Explain a statement with the parameters it is about to get."""
        if self._busy or statement.split(None, 1)[0] not in {"SELECT", "UPDATE", "DELETE"}:
            return
        if "advisory" in statement or "pg_catalog" in statement:
            return
        self._busy = True
        try:
            explain = "EXPLAIN QUERY PLAN " if self._dialect == "sqlite" else "EXPLAIN "
            given = parameters[0] if many else parameters
            rows = connection.exec_driver_sql(explain + statement, given).all()
        finally:
            self._busy = False
        self.explained += 1
        lines = [str(row[-1]).strip() for row in rows]
        look = _sqlite_scans if self._dialect == "sqlite" else _postgres_scans
        if any(look(lines)):
            self.scans.append("\n".join([statement, *lines]))


SMALL = ("batches_fragmented", "batches_running", "files_deleted", "storage_pkey")
"""Partial indices that hold only what is still to be done: these may be read from one end to the other."""


def _sqlite_scans(lines: list[str]) -> Iterator[str]:
    for line in lines:
        made_here = any(made in line for made in ("CONSTANT ROW", "(subquery", "SCAN ANON_1", "SCAN free"))
        if ("SCAN" in line and not made_here and not line.endswith(SMALL)) or "AUTOMATIC" in line:
            yield line


def _postgres_scans(lines: list[str]) -> Iterator[str]:
    """Find sequential scans, and index scans without a condition on the index, which read all of it."""
    for line, following in pairwise([*lines, ""]):
        if "Seq Scan" in line:
            yield line
        named = re.search(r"(?:Scan using|Bitmap Index Scan on) (\w+)", line)
        if named and not following.startswith("Index Cond") and named[1] not in SMALL:
            yield line


def fill(connection: Connection) -> None:
    """Give the tables what a busy server has: many ended batches, some in progress, a few held shards."""
    sizes = {"ended": 2000, "in_progress": 40}
    tables = (batches, creates, shards, backlogs, segments, workspaces, api_keys, files, batch_files, storage)
    rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in tables}
    for status, count in sizes.items():
        for number in range(count):
            admitted = admission((1,) * 4, created_at=NOW - timedelta(minutes=number))
            over = status == "ended"
            values = {**batch_values(admitted), "processing_status": status, "result_blobs": 1}
            values["ended_at"] = NOW if over else None
            rows[batches].append(values)
            key = {"batch_id": admitted.batch.id}
            names = ("workspace_id", "key_id", "created_at")
            rows[creates].append({**key, "digest": admitted.digest, **{name: values[name] for name in names}})
            held = {"state": "done" if over else "open", "worker_id": f"worker_{number}" if number < 9 else None}
            rows[shards] += [{**shard_values(key["batch_id"], shard), **held} for shard in admitted.shards]
            rows[backlogs] += [] if over else [{**key, "model": "m", "shards_open": 4}]
            made = {"shard_number": 0, "epoch": 1, "offset": 0, "length": 9, "positions": b"\0\0"}
            rows[segments] += [{**key, **made, "sequence": n, "blob_key": f"{key}/{n}"} for n in range(4 * over)]
    for number in range(400):
        owner = {"id": str(number), "name": str(number), "created_at": NOW}
        rows[workspaces].append(owner)
        rows[api_keys].append({**owner, "workspace_id": str(number), "lookup": str(number), "digest": b"", "hint": ""})
    for number in range(2000):
        one = file(str(number).encode(), expires_at=NOW + DAY if number % 2 else None)
        rows[files].append({column.name: getattr(one, column.name) for column in files.c})
        rows[batch_files].append({"file_id": one.id, "batch_id": rows[batches][number]["id"]})
    rows[storage].append({"name": "files", "size_bytes": 10_000})
    for table, values in rows.items():
        connection.execute(insert(table), values)
    connection.execute(text("ANALYZE"))


@pytest_asyncio.fixture(loop_scope="module")
async def plans(store: Store) -> Plans:
    """Watch the store's statements from here on."""
    database: Any = store.database
    await database.write(fill)
    if hasattr(database, "writer"):
        found = Plans("sqlite")
        engines = [database.writer, database.readers]
    else:
        found = Plans("postgresql")
        engines = [database.engine.sync_engine]
        # A sequential scan that is left then is one for which there is no index.
        event.listen(engines[0], "begin", lambda connection: connection.execute(text("SET enable_seqscan = off")))
    for engine in engines:
        event.listen(engine, "before_cursor_execute", found.look)
    return found


async def test_no_frequent_statement_reads_a_whole_table(store: Store, plans: Plans) -> None:
    """With 100,000 ended batches lists, leases, commits, progress and results stay as fast as on the first day."""
    await store.seal(admission((1,), digest=b"x", idempotency_key="k"))
    await store.seal(admission((1,), digest=b"x", retried=True))
    batch = await sealed(store, (2, 2), created_at=NOW + SECOND)
    now = NOW + 2 * SECOND
    await store.backlog(now, limit=50)
    first, second = await leased(store, batch, now=now)
    await store.renew("worker_1", [first, second], now + LEASE)
    await store.stopped([batch.id])
    await committed(store, segment(first, [0]), segment(second))
    await store.commit(flush(segment(first)), now)
    await store.release([second])
    await store.release_worker("worker_1")
    await store.find(MINE, batch.id)
    await store.charges(MINE, batch.id)
    await store.results(MINE, batch.id)
    page = await store.page(MINE, limit=20)
    await store.page(MINE, limit=20, after_id=page.items[3].id)
    await store.page(MINE, limit=20, before_id=page.items[3].id)
    canceled = await sealed(store)
    await store.cancel(MINE, canceled.id, now)
    await store.lease_closing(worker_id="w", now=now, until=now + LEASE, limit=9)
    await store.find_key("lookup")
    await store.referenced(["requests/x", "results/y"])
    await store.compacted(batch.id, "results/whole", 40)
    await store.delete(MINE, batch.id)
    await store.forget_creates(now)
    await store.fragmented(limit=10)
    await store.archive_due(NOW, NOW - DAY, limit=10)
    assert plans.explained > 30
    assert not plans.scans, "\n\n".join(plans.scans)


async def test_no_statement_about_files_reads_a_whole_table(store: Store, plans: Plans) -> None:
    """A hundred thousand files make an upload, a list, a pin or a round of the sweep no slower."""
    one = await store.add_file(file(expires_at=NOW + SECOND), quota_bytes=10**9)
    two = await store.add_file(file(), quota_bytes=10**9)
    batch = await sealed(store, file_ids=frozenset({one.id, two.id}))
    await store.find_file(MINE, one.id, batch_id=batch.id)
    await store.files_page(MINE, limit=20)
    await store.files_page(MINE, limit=20, after=one.id)
    await store.files_page(MINE, limit=20, before=one.id)
    await store.files_by_id(MINE, [one.id, two.id])
    await store.delete_file(MINE, two.id, NOW)
    await store.sweep_files(NOW + DAY + SECOND, limit=10)
    await store.referenced([one.blob_key])
    assert plans.explained > 15
    assert not plans.scans, "\n\n".join(plans.scans)
