"""Schema version 2: files, what batches pin of them, and how many bytes they hold."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make three tables; nothing that was there changes."""
    _files()
    op.create_table(
        "batch_files",
        sa.Column("batch_id", _identifier(), nullable=False),
        sa.Column("file_id", _identifier(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="batch_files_batch_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="batch_files_file_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "file_id", name="batch_files_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("batch_files_file_id", "batch_files", ["file_id"], unique=False)
    op.create_table(
        "storage",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="storage_pkey"),
    )


def _identifier() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", _identifier(), nullable=False),
        sa.Column("workspace_id", _identifier(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("blob_key", _identifier(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="files_pkey"),
    )
    op.create_index("files_list", "files", ["workspace_id", "id"], unique=False)
    op.create_index("files_bytes", "files", ["workspace_id", "digest"], unique=False)
    op.create_index("files_blob_key", "files", ["blob_key"], unique=False)
    _partial("files_expiring", "expires_at", "expires_at IS NOT NULL AND blob_key IS NOT NULL")
    _partial("files_forgotten", "expires_at", "expires_at IS NOT NULL AND blob_key IS NULL")
    _partial("files_deleted", "deleted_at", "deleted_at IS NOT NULL")


def _partial(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "files", [column], unique=False, sqlite_where=where, postgresql_where=where)
