"""The schema: what migrations make is what the code describes, and a newer one is left alone (U2)."""

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from slackwater.clock import SystemClock
from slackwater.store import SchemaTooNewError, Store, migrations
from slackwater.store.database import SCHEMA
from slackwater.store.schema import metadata
from support.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a database that nothing ever opened."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'slackwater.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database()


def partial_indices(connection: Connection) -> set[str]:
    """Name the indices that cover part of a table; the comparison below does not look at that."""
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'",
        "postgresql": "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '% WHERE %' AND schemaname = 'public'",
    }
    return set(connection.scalars(text(query[connection.dialect.name])))


async def test_migrating_an_empty_database_gives_the_described_schema(fresh_url: str) -> None:
    """U2: tables, columns, types, keys and indices; opening again changes nothing."""
    for _ in range(2):
        store = await Store.open(fresh_url, clock=SystemClock())

        def differences(connection: Connection) -> list[object]:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, metadata))

        found = await store.database.read(differences)
        partial = await store.database.read(partial_indices)
        await store.close()
        assert found == []
        assert partial == {
            "batches_kept",
            "batches_running",
            "batches_fragmented",
            "shards_open",
            "shards_held",
            "shards_worker",
            "files_expiring",
            "files_forgotten",
            "files_deleted",
        }


async def test_ids_sort_by_bytes(fresh_url: str) -> None:
    """Base58 ids sort by time only where capital letters come before small ones, whatever the server's language."""
    store = await Store.open(fresh_url, clock=SystemClock())
    query = text(
        "SELECT batch_id FROM (SELECT batch_id FROM shards UNION ALL SELECT id FROM batches) AS ids ORDER BY batch_id"
    )
    ids = ["msgbatch_01B", "msgbatch_01Z", "msgbatch_01a", "msgbatch_01z"]

    def fill(connection: Connection) -> list[str]:
        columns = {column.name: column for column in metadata.tables["batches"].c}
        for batch_id in reversed(ids):
            values = {name: 0 if "INT" in str(column.type) else "x" for name, column in columns.items()}
            values |= {name: None for name, column in columns.items() if column.nullable}
            names = ", ".join(columns)
            marks = ", ".join(f":{name}" for name in columns)
            connection.execute(text(f"INSERT INTO batches ({names}) VALUES ({marks})"), values | {"id": batch_id})  # noqa: S608
        return list(connection.scalars(query))

    assert await store.database.write(fill) == ids
    await store.close()


async def test_servers_that_start_together_migrate_once(postgres_server: PostgresServer) -> None:
    """U2: five replicas come up on an empty database at the same time."""
    url = postgres_server.create_database()
    stores = await asyncio.gather(*(Store.open(url, clock=SystemClock()) for _ in range(5)))
    for store in stores:
        assert await store.workspaces() == []
        await store.close()


async def test_a_newer_schema_is_refused_and_not_touched(fresh_url: str) -> None:
    """U2: the message says what to do; main exits with 3."""
    store = await Store.open(fresh_url, clock=SystemClock())
    await store.database.write(
        lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")).close()
    )
    await store.close()
    with pytest.raises(SchemaTooNewError, match=r"version 9999.*newer") as caught:
        await Store.open(fresh_url, clock=SystemClock())
    assert caught.value.known == SCHEMA


async def test_a_failed_migration_leaves_nothing(fresh_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """U2: all of it happens in one transaction; the next start begins from the same place."""
    tables: list[list[str]] = []

    def half(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (x INTEGER)"))
        message = "killed"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr("slackwater.store.sqlite.migrate", half)
        patch.setattr("slackwater.store.postgres.migrate", half)
        with pytest.raises(RuntimeError, match="killed"):
            await Store.open(fresh_url, clock=SystemClock())
    store = await Store.open(fresh_url, clock=SystemClock())
    await store.database.read(lambda connection: tables.append(inspect(connection).get_table_names()))
    await store.close()
    assert set(tables[0]) == {*metadata.tables, "alembic_version"}


def test_the_known_schema_is_the_newest_migration() -> None:
    """What the fast path compares with is what alembic would migrate to."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [SCHEMA]
