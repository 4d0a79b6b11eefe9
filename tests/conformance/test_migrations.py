"""The schema: what migrations make is what the code describes, and a newer one is left alone (U2)."""

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from slackwater.clock import SystemClock
from slackwater.store import SchemaTooNewError, Store, migrations
from slackwater.store.database import SCHEMA
from slackwater.store.schema import metadata
from support.postgres import PostgresServer
from support.stores import MINE, NOW, file, sealed


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a database that nothing ever opened."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'slackwater.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database()


OLD_BATCH = """
INSERT INTO batches (id, workspace_id, key_id, version, betas, size, processing_status, succeeded, errored, canceled,
expired, shards_open, segments, created_at, expires_at, requests_key, result_blobs)
VALUES ('msgbatch_1', 'wrkspc_mine', 'apikey_1', '2026-10-21', '[]', 1, 'in_progress', 0, 0, 0, 0, 1, 0, 1, 2, 'r', 0)
"""
"""A batch as version 1 wrote it."""

OLD_CREATE = """
INSERT INTO creates (batch_id, workspace_id, key_id, digest, idempotency_key, created_at)
VALUES (:batch_id, 'wrkspc_mine', 'apikey_1', :digest, :key, 1)
"""
"""What versions 1 and 2 remembered of a create."""


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


async def opened_as(version: str, url: str) -> Store:
    """Open a database of an earlier version, as it was made then."""

    def migrate(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", "slackwater.store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, version)

    with pytest.MonkeyPatch.context() as patch:
        for place in ("sqlite", "postgres"):
            patch.setattr(f"slackwater.store.{place}.migrate", migrate)
        return await Store.open(url, clock=SystemClock())


async def test_creates_of_the_second_version_are_known_and_stand_alone(fresh_url: str) -> None:
    """U2, D3: keys and marks go on; what a mark was written into is the client's alone from then on."""
    old = await opened_as("0002", fresh_url)
    keys = {"msgbatch_1": "k", "msgbatch_2": "\nmsgbatch_2", "msgbatch_3": "\nmsgbatch_9", "msgbatch_4": None}

    def fill(connection: Connection) -> None:
        for batch_id, key in keys.items():
            connection.execute(text(OLD_BATCH.replace("msgbatch_1", batch_id)))
            connection.execute(text(OLD_CREATE), {"batch_id": batch_id, "key": key, "digest": b"d"})

    await old.database.write(fill)
    await old.close()
    store = await Store.open(fresh_url, clock=SystemClock())
    query = text("SELECT idempotency_key, overtook FROM creates ORDER BY batch_id")
    await store.database.write(lambda connection: connection.execute(text("DELETE FROM batches")).close())
    assert await store.database.read(lambda connection: [tuple(row) for row in connection.execute(query)]) == [
        ("k", None),
        (None, ""),
        (None, None),
        (None, None),
    ]
    await store.close()


async def test_a_database_of_the_first_version_is_brought_up_to_date(fresh_url: str) -> None:
    """U2: what it held is there afterwards and works with what is new; nobody has to do anything."""
    old = await opened_as("0001", fresh_url)
    assert not await old.database.read(lambda connection: inspect(connection).has_table("files"))
    await old.database.write(lambda connection: connection.execute(text(OLD_BATCH)).close())
    before = await old.page(MINE, limit=10)
    await old.close()

    store = await Store.open(fresh_url, clock=SystemClock())
    assert await store.page(MINE, limit=10) == before
    assert [batch.id for batch in before.items] == ["msgbatch_1"]
    kept = await store.add_file(file(), quota_bytes=100)
    batch = await sealed(store, file_ids=frozenset({kept.id}))
    deleted = await store.delete_file(MINE, kept.id, NOW)
    assert deleted is not None
    assert deleted.pinned_by == (batch.id,)
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
