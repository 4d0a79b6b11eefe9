"""The tables, and how domain values are written in them.

Instants are integer microseconds since the epoch on both databases: one representation, ordered, no time zone in it.
Ids compare by bytes (`COLLATE "C"` on PostgreSQL), so that they sort by time. Nothing that fences is nullable.
"""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""As a shard's `lease_until` it means that nobody holds the shard."""

_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Write."""
        del dialect
        return None if value is None else (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ANN401  # the base's
        """Read."""
        del dialect
        return None if value is None else EPOCH + timedelta(microseconds=value)

    def process_literal_param(self, value: datetime | None, dialect: Dialect) -> str:
        """Write into SQL text, for EXPLAIN."""
        return str(self.process_bind_param(value, dialect))


def _identifier() -> Text:
    return Text().with_variant(Text(collation="C"), "postgresql")


def _tokens() -> list[Column[Any]]:
    """Make the columns of a Charge."""
    names = (
        "requests",
        "input_tokens",
        "output_tokens",
        "cache_creation_5m_input_tokens",
        "cache_creation_1h_input_tokens",
        "cache_read_input_tokens",
        "cost_nanousd",
    )
    return [Column(name, BigInteger, nullable=False) for name in names]


metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_name)s",
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    }
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", _identifier(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("archived_at", Instant),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _identifier(), primary_key=True),
    Column("workspace_id", _identifier(), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("lookup", _identifier(), nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False),
    Column("hint", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

batches = Table(
    "batches",
    metadata,
    Column("id", _identifier(), primary_key=True),
    Column("workspace_id", _identifier(), nullable=False),
    Column("key_id", _identifier(), nullable=False),
    Column("version", Text, nullable=False),
    Column("betas", Text, nullable=False),  # a JSON array
    Column("user_profile_id", Text),
    Column("size", Integer, nullable=False),
    Column("processing_status", Text, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("errored", Integer, nullable=False),
    Column("canceled", Integer, nullable=False),
    Column("expired", Integer, nullable=False),
    Column("shards_open", Integer, nullable=False),  # at 0 the batch ends
    Column("segments", Integer, nullable=False),  # ever made: the next segment's sequence
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("cancel_initiated_at", Instant),
    Column("archived_at", Instant),
    Column("requests_key", _identifier(), nullable=False),
    Column("result_blobs", Integer, nullable=False),  # known at the end; more than one asks for compaction
    Column("results_key", _identifier()),  # the one blob that took the place of the segments
    Column("results_length", BigInteger),
    Index("batches_list", "workspace_id", "created_at", "id"),
    Index(
        "batches_running",
        "created_at",
        "id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "batches_kept",
        "created_at",
        sqlite_where=text("archived_at IS NULL"),
        postgresql_where=text("archived_at IS NULL"),
    ),
    Index("batches_fragmented", "id", sqlite_where=text("result_blobs > 1"), postgresql_where=text("result_blobs > 1")),
    Index("batches_requests_key", "requests_key"),
    Index("batches_results_key", "results_key"),
)

creates = Table(  # outlives the batch: a call that comes late must not make what was made, and deleted, already
    "creates",
    metadata,
    Column("batch_id", _identifier(), primary_key=True),
    Column("workspace_id", _identifier(), nullable=False),
    Column("key_id", _identifier(), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("idempotency_key", Text),
    Column("overtook", _identifier()),  # of a repetition: the id that the call before it would have got, "" until then
    Column("created_at", Instant, nullable=False),
    Index("creates_digest", "workspace_id", "key_id", "digest", "created_at"),
    Index("creates_idempotency_key", "workspace_id", "idempotency_key", unique=True),
    Index("creates_created_at", "created_at"),
)

shards = Table(
    "shards",
    metadata,
    Column("batch_id", _identifier(), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("model", _identifier(), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("done", LargeBinary, nullable=False),  # bit n, counted from the lowest of the first byte: position n
    Column("done_count", Integer, nullable=False),
    Column("state", Text, nullable=False),  # open, done
    Column("epoch", Integer, nullable=False),
    Column("worker_id", _identifier()),
    Column("lease_until", Instant, nullable=False),
    Index(
        "shards_open",
        "batch_id",
        "model",
        "number",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index(
        "shards_worker",
        "worker_id",
        sqlite_where=text("worker_id IS NOT NULL"),
        postgresql_where=text("worker_id IS NOT NULL"),
    ),
    Index(
        "shards_held",
        "batch_id",
        "model",
        "lease_until",
        sqlite_where=text("worker_id IS NOT NULL"),
        postgresql_where=text("worker_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

backlogs = Table(  # of running batches; what is free is this less what is held, and few shards are held at a time
    "backlogs",
    metadata,
    Column("batch_id", _identifier(), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("model", _identifier(), primary_key=True),
    Column("shards_open", Integer, nullable=False),
    sqlite_with_rowid=False,
)

segments = Table(
    "segments",
    metadata,
    Column("batch_id", _identifier(), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),  # commit order, the order of delivery
    Column("shard_number", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("blob_key", _identifier(), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("positions", LargeBinary, nullable=False),  # 16 bits each, big-endian, in the order of the lines
    Index("segments_blob_key", "blob_key"),
    sqlite_with_rowid=False,
)

batch_charges = Table(
    "batch_charges",
    metadata,
    Column("batch_id", _identifier(), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("model", _identifier(), primary_key=True),
    *_tokens(),
    sqlite_with_rowid=False,
)

ledger = Table(
    "ledger",
    metadata,
    Column("day", _identifier(), primary_key=True),  # ISO date, UTC
    Column("workspace_id", _identifier(), primary_key=True),
    Column("model", _identifier(), primary_key=True),
    Column("tier", Text, primary_key=True),
    *_tokens(),
    sqlite_with_rowid=False,
)

files = Table(
    "files",
    metadata,
    Column("id", _identifier(), primary_key=True),
    Column("workspace_id", _identifier(), nullable=False),
    Column("filename", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("blob_key", _identifier()),  # null once the bytes are gone
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("deleted_at", Instant),
    Index("files_list", "workspace_id", "id"),
    Index("files_bytes", "workspace_id", "digest"),
    Index("files_blob_key", "blob_key"),
    Index(
        "files_expiring",
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL AND blob_key IS NOT NULL"),
        postgresql_where=text("expires_at IS NOT NULL AND blob_key IS NOT NULL"),
    ),
    Index(
        "files_forgotten",
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL AND blob_key IS NULL"),
        postgresql_where=text("expires_at IS NOT NULL AND blob_key IS NULL"),
    ),
    Index(
        "files_deleted",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
)

batch_files = Table(  # pins, of use until the batch ends
    "batch_files",
    metadata,
    Column("batch_id", _identifier(), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("file_id", _identifier(), ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Index("batch_files_file_id", "file_id"),
    sqlite_with_rowid=False,
)

storage = Table(  # bytes that are held, once for each blob; who changes what holds them locks the row first
    "storage",
    metadata,
    Column("name", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)

flushes = Table(
    "flushes",
    metadata,
    Column("token", _identifier(), primary_key=True),
    Column("committed_at", Instant, nullable=False),
    Index("flushes_committed_at", "committed_at"),
    sqlite_with_rowid=False,
)

holds = Table(
    "holds",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", _identifier(), nullable=False),
    Column("until", Instant, nullable=False),
)

marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("reached_at", Instant, nullable=False),
)

# Conditions of partial indices are written out, not bound: only so do both planners see that the index applies.
OPEN_SHARD = text("shards.state = 'open'")
HELD_SHARD = text("shards.worker_id IS NOT NULL")
RUNNING = text("batches.ended_at IS NULL")
NOT_ARCHIVED = text("batches.archived_at IS NULL")
FRAGMENTED = text("batches.result_blobs > 1")
EXPIRING_FILE = text("files.expires_at IS NOT NULL AND files.blob_key IS NOT NULL")
FORGOTTEN_FILE = text("files.expires_at IS NOT NULL AND files.blob_key IS NULL")
DELETED_FILE = text("files.deleted_at IS NOT NULL")


def pack_positions(positions: tuple[int, ...]) -> bytes:
    """Write a segment's positions."""
    return struct.pack(f">{len(positions)}H", *positions)


def bits(positions: tuple[int, ...]) -> int:
    """Return the set of positions as a bitmap."""
    bitmap = 0
    for position in positions:
        bitmap |= 1 << position
    return bitmap


def pack_bits(bitmap: int) -> bytes:
    """Write a shard's bitmap of committed positions."""
    return bitmap.to_bytes((bitmap.bit_length() + 7) // 8, "little")


def unpack_bits(packed: bytes) -> int:
    """Read a shard's bitmap."""
    return int.from_bytes(packed, "little")


def positions_in(packed: bytes) -> frozenset[int]:
    """Return the positions that a shard's bitmap names."""
    bitmap = unpack_bits(packed)
    return frozenset(position for position in range(bitmap.bit_length()) if bitmap >> position & 1)
