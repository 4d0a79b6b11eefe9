"""One suite, two databases: every test here that asks for a store runs on both."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

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


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def url(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a database that a module's tests share."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("store") / "slackwater.db"
        shutil.copyfile(sqlite_template, path)
        return f"sqlite:///{path}"
    return str(request.getfixturevalue("postgres_database"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(url: str) -> AsyncIterator[Store]:
    """Open a store for a module: what it has compiled once is ready for the next test."""
    store = await Store.open(url, clock=SystemClock())
    yield store
    await store.close()


@pytest_asyncio.fixture(loop_scope="module")
async def store(opened: Store) -> Store:
    """Give an empty store; the tests that ask for it run in their module's loop."""
    await empty(opened)
    return opened
