"""One suite, two databases: every test here that asks for a store runs on both."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from slackwater.clock import SystemClock
from slackwater.store import Store
from support.postgres import PostgresServer
from support.stores import empty


@pytest.fixture(scope="session")
def postgres_database(postgres_server: PostgresServer) -> str:
    """Address of a database that all conformance tests share, one after the other: each finds it empty."""
    return postgres_server.create_database()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty database once, to be copied: migrating one for every test takes longer than the test."""
    path = tmp_path_factory.mktemp("template") / "slackwater.db"

    async def make() -> None:
        await (await Store.open(f"sqlite:///{path}", clock=SystemClock())).close()

    asyncio.run(make())
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a database with nothing in it."""
    if request.param == "sqlite":
        path = tmp_path / "slackwater.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open an empty store."""
    opened = await Store.open(url, clock=SystemClock())
    if url.startswith("postgresql"):
        await empty(opened)
    yield opened
    await opened.close()
