"""Workspaces and keys: `ports.KeyStore`."""

from datetime import datetime

from sqlalchemy import Connection, func, literal, select, update
from sqlalchemy import insert as plain_insert

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.workspace import APIKey, Workspace
from slackwater.store.database import Database, insert
from slackwater.store.rows import AnyRow
from slackwater.store.schema import Instant, api_keys, workspaces


class Keys:
    """Satisfies `ports.KeyStore`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def create_workspace(self, workspace: Workspace) -> None:
        """Add one. Raises InvalidRequestError when the name is taken, be it by an archived one."""

        def work(connection: Connection) -> None:
            statement = insert(connection, workspaces).values(
                id=workspace.id,
                name=workspace.name,
                created_at=workspace.created_at,
                archived_at=workspace.archived_at,
            )
            connection.execute(statement.on_conflict_do_nothing(index_elements=[workspaces.c.name]))
            holder = connection.scalar(select(workspaces.c.id).where(workspaces.c.name == workspace.name))
            if holder != workspace.id:
                message = f"name: there is already a workspace called `{workspace.name}`."
                raise InvalidRequestError(message)

        await self.database.write(work)

    async def workspaces(self) -> list[Workspace]:
        """List them, oldest first."""
        query = select(workspaces).order_by(workspaces.c.created_at, workspaces.c.id)
        return await self.database.read(lambda connection: [_workspace(row) for row in connection.execute(query)])

    async def archive_workspace(self, workspace_id: str, now: datetime) -> Workspace | None:
        """Archive one: its keys stop working; the first instant stays."""
        statement = (
            update(workspaces)
            .where(workspaces.c.id == workspace_id)
            .values(archived_at=func.coalesce(workspaces.c.archived_at, literal(now, Instant)))
            .returning(workspaces)
        )

        def work(connection: Connection) -> Workspace | None:
            row = connection.execute(statement).first()
            return None if row is None else _workspace(row)

        return await self.database.write(work)

    async def create_key(self, key: APIKey) -> None:
        """Add one."""
        values = {column.name: getattr(key, column.name) for column in api_keys.c}

        def work(connection: Connection) -> None:
            if connection.scalar(select(api_keys.c.id).where(api_keys.c.id == key.id)) is None:
                connection.execute(plain_insert(api_keys).values(values))

        await self.database.write(work)

    async def keys(self, workspace_id: str | None = None) -> list[APIKey]:
        """List keys, oldest first."""
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if workspace_id is not None:
            query = query.where(api_keys.c.workspace_id == workspace_id)
        return await self.database.read(lambda connection: [_key(row) for row in connection.execute(query)])

    async def revoke_key(self, key_id: str, now: datetime) -> APIKey | None:
        """Revoke one; the first instant stays."""
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key_id)
            .values(revoked_at=func.coalesce(api_keys.c.revoked_at, literal(now, Instant)))
            .returning(api_keys)
        )

        def work(connection: Connection) -> APIKey | None:
            row = connection.execute(statement).first()
            return None if row is None else _key(row)

        return await self.database.write(work)

    async def find_key(self, lookup: str) -> APIKey | None:
        """Return a key that is neither revoked nor in an archived workspace."""
        query = (
            select(api_keys)
            .join(workspaces, workspaces.c.id == api_keys.c.workspace_id)
            .where(api_keys.c.lookup == lookup, api_keys.c.revoked_at.is_(None), workspaces.c.archived_at.is_(None))
        )

        def work(connection: Connection) -> APIKey | None:
            row = connection.execute(query).first()
            return None if row is None else _key(row)

        return await self.database.read(work)


def _workspace(row: AnyRow) -> Workspace:
    return Workspace(id=row.id, name=row.name, created_at=row.created_at, archived_at=row.archived_at)


def _key(row: AnyRow) -> APIKey:
    return APIKey(**{column.name: getattr(row, column.name) for column in api_keys.c})
