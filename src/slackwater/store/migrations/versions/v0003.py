"""Schema version 3: the record of a create outlives its batch and says which call it overtook."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Let creates stand alone; marks that an earlier version left where a client's key belongs go."""
    with op.batch_alter_table("creates") as creates:
        creates.drop_constraint("creates_batch_id_fkey", type_="foreignkey")
        creates.add_column(sa.Column("overtook", _identifier(), nullable=True))
    op.execute("UPDATE creates SET overtook = '', idempotency_key = NULL WHERE idempotency_key = '\n' || batch_id")
    op.execute("UPDATE creates SET idempotency_key = NULL WHERE idempotency_key LIKE '\n%'")


def _identifier() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
