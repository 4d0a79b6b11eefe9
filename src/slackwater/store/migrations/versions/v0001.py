"""Schema version 1: batches, shards with their fence, segments, charges, the ledger, keys."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    _owners()
    _batches()
    _creates()
    _shards()
    _segments()
    _money()
    _bookkeeping()


def _identifier() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _charge_columns() -> list[sa.Column[Any]]:
    names = (
        "requests",
        "input_tokens",
        "output_tokens",
        "cache_creation_5m_input_tokens",
        "cache_creation_1h_input_tokens",
        "cache_read_input_tokens",
        "cost_nanousd",
    )
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _owners() -> None:
    op.create_table(
        "workspaces",
        sa.Column("id", _identifier(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="workspaces_pkey"),
        sa.UniqueConstraint("name", name="workspaces_name_key"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", _identifier(), nullable=False),
        sa.Column("workspace_id", _identifier(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lookup", _identifier(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="api_keys_pkey"),
        sa.UniqueConstraint("lookup", name="api_keys_lookup_key"),
    )
    op.create_index("api_keys_workspace_id", "api_keys", ["workspace_id"], unique=False)


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", _identifier(), nullable=False),
        sa.Column("workspace_id", _identifier(), nullable=False),
        sa.Column("key_id", _identifier(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("betas", sa.Text(), nullable=False),
        sa.Column("user_profile_id", sa.Text(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("processing_status", sa.Text(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("errored", sa.Integer(), nullable=False),
        sa.Column("canceled", sa.Integer(), nullable=False),
        sa.Column("expired", sa.Integer(), nullable=False),
        sa.Column("shards_open", sa.Integer(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("cancel_initiated_at", sa.BigInteger(), nullable=True),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("requests_key", _identifier(), nullable=False),
        sa.Column("result_blobs", sa.Integer(), nullable=False),
        sa.Column("results_key", _identifier(), nullable=True),
        sa.Column("results_length", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="batches_pkey"),
    )
    op.create_index(
        "batches_fragmented",
        "batches",
        ["id"],
        unique=False,
        sqlite_where=sa.text("result_blobs > 1"),
        postgresql_where=sa.text("result_blobs > 1"),
    )
    op.create_index(
        "batches_kept",
        "batches",
        ["created_at"],
        unique=False,
        sqlite_where=sa.text("archived_at IS NULL"),
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_index("batches_list", "batches", ["workspace_id", "created_at", "id"], unique=False)
    op.create_index("batches_requests_key", "batches", ["requests_key"], unique=False)
    op.create_index("batches_results_key", "batches", ["results_key"], unique=False)
    op.create_index(
        "batches_running",
        "batches",
        ["created_at", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _creates() -> None:
    op.create_table(
        "creates",
        sa.Column("batch_id", _identifier(), nullable=False),
        sa.Column("workspace_id", _identifier(), nullable=False),
        sa.Column("key_id", _identifier(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="creates_batch_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", name="creates_pkey"),
    )
    op.create_index("creates_created_at", "creates", ["created_at"], unique=False)
    op.create_index("creates_digest", "creates", ["workspace_id", "key_id", "digest", "created_at"], unique=False)
    op.create_index("creates_idempotency_key", "creates", ["workspace_id", "idempotency_key"], unique=True)


def _shards() -> None:
    op.create_table(
        "shards",
        sa.Column("batch_id", _identifier(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", _identifier(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("done", sa.LargeBinary(), nullable=False),
        sa.Column("done_count", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("worker_id", _identifier(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="shards_batch_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "number", name="shards_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "shards_open",
        "shards",
        ["batch_id", "model", "number"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "shards_worker",
        "shards",
        ["worker_id"],
        unique=False,
        sqlite_where=sa.text("worker_id IS NOT NULL"),
        postgresql_where=sa.text("worker_id IS NOT NULL"),
    )
    op.create_index(
        "shards_held",
        "shards",
        ["batch_id", "model", "lease_until"],
        unique=False,
        sqlite_where=sa.text("worker_id IS NOT NULL"),
        postgresql_where=sa.text("worker_id IS NOT NULL"),
    )
    op.create_table(
        "backlogs",
        sa.Column("batch_id", _identifier(), nullable=False),
        sa.Column("model", _identifier(), nullable=False),
        sa.Column("shards_open", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="backlogs_batch_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "model", name="backlogs_pkey"),
        sqlite_with_rowid=False,
    )


def _segments() -> None:
    op.create_table(
        "segments",
        sa.Column("batch_id", _identifier(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shard_number", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("blob_key", _identifier(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("positions", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="segments_batch_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "sequence", name="segments_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("segments_blob_key", "segments", ["blob_key"], unique=False)


def _money() -> None:
    op.create_table(
        "batch_charges",
        sa.Column("batch_id", _identifier(), nullable=False),
        sa.Column("model", _identifier(), nullable=False),
        *_charge_columns(),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="batch_charges_batch_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "model", name="batch_charges_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger",
        sa.Column("day", _identifier(), nullable=False),
        sa.Column("workspace_id", _identifier(), nullable=False),
        sa.Column("model", _identifier(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        *_charge_columns(),
        sa.PrimaryKeyConstraint("day", "workspace_id", "model", "tier", name="ledger_pkey"),
        sqlite_with_rowid=False,
    )


def _bookkeeping() -> None:
    op.create_table(
        "flushes",
        sa.Column("token", _identifier(), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token", name="flushes_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("flushes_committed_at", "flushes", ["committed_at"], unique=False)
    op.create_table(
        "holds",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", _identifier(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="holds_pkey"),
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reached_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="marks_pkey"),
    )
