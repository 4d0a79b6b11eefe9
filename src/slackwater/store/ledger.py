"""The ledger, one line for each day, workspace, model and tier, and each batch's own sums: `ports.Ledger`."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects.postgresql import Insert

from slackwater.domain.pricing import ServiceTier
from slackwater.domain.result import Charge
from slackwater.ports import UsageRow
from slackwater.store import rows
from slackwater.store.database import DIALECTS, Database, upsert
from slackwater.store.rows import CHARGE_NAMES
from slackwater.store.schema import batch_charges, ledger


def _adding(dialect: str, table: Table) -> Insert:
    """Return the statement that adds a charge to its line, or makes the line."""
    statement = upsert(dialect, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: table.c[name] + statement.excluded[name] for name in CHARGE_NAMES},
    )


_TO_BATCH: Final = {dialect: _adding(dialect, batch_charges) for dialect in DIALECTS}
_TO_LEDGER: Final = {dialect: _adding(dialect, ledger) for dialect in DIALECTS}


class Ledger:
    """Satisfies `ports.Ledger`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def charge(self, workspace_id: str, tier: ServiceTier, charge: Charge, now: datetime) -> None:
        """Add a synchronous call's usage. Not repeated when the answer to its commit is lost: better once too few."""
        await self.database.write(
            lambda connection: add_to_ledger(connection, [(workspace_id, charge)], tier, now), repeatable=False
        )

    async def usage(self, workspace_id: str | None = None) -> list[UsageRow]:
        """Return the ledger, oldest day first."""
        query = select(ledger).order_by(*ledger.primary_key.columns)
        if workspace_id is not None:
            query = query.where(ledger.c.workspace_id == workspace_id)
        return await self.database.read(
            lambda connection: [
                UsageRow(day=row.day, workspace_id=row.workspace_id, tier=rows.tier(row), charge=rows.charge(row))
                for row in connection.execute(query)
            ]
        )


def add_to_batch(connection: Connection, charges: Sequence[tuple[str, Charge]]) -> None:
    """Add charges to batches by id; at most one for each batch and model."""
    if charges:
        values = [{"batch_id": batch_id, **rows.charge_values(charge)} for batch_id, charge in charges]
        connection.execute(_TO_BATCH[connection.dialect.name], values)


def add_to_ledger(
    connection: Connection, charges: Sequence[tuple[str, Charge]], tier: ServiceTier, now: datetime
) -> None:
    """Add charges to workspaces on the day of an instant, lines in their order so that nobody waits in a circle."""
    by_workspace: defaultdict[str, list[Charge]] = defaultdict(list)
    for workspace_id, charge in charges:
        by_workspace[workspace_id].append(charge)
    day = now.astimezone(UTC).date().isoformat()
    values = [
        {"day": day, "workspace_id": workspace_id, "tier": tier, **rows.charge_values(charge)}
        for workspace_id in sorted(by_workspace)
        for charge in rows.merged(by_workspace[workspace_id])
    ]
    if values:
        connection.execute(_TO_LEDGER[connection.dialect.name], values)
