"""The private PostgreSQL server of the tests."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from support import postgres
from support.postgres import PostgresServer

KILLED = """
import os
from support.postgres import PostgresServer
server = PostgresServer.start()
print(server._directory, server.port, server._guardian.pid, flush=True)
os.kill(os.getpid(), 9)
"""


async def test_a_test_gets_an_empty_database_that_sorts_by_language(postgres_url: str) -> None:
    """A client reaches it over TCP, and `a < B` there, so that a forgotten COLLATE "C" shows."""
    connection = await asyncpg.connect(postgres_url)
    assert (
        await connection.fetchval("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'") == 0
    )
    assert await connection.fetchval("SELECT 'a' < 'B'") is True
    await connection.close()


def test_a_template_is_copied_with_its_rows(postgres_server: PostgresServer) -> None:
    """A migrated database can be the template of many tests."""
    template = postgres_server.create_database().rsplit("/", 1)[1]
    postgres_server.run("CREATE TABLE t AS SELECT 7 AS n", template)
    copy = postgres_server.create_database(template).rsplit("/", 1)[1]
    assert postgres_server.run("SELECT n FROM t", copy) == "7"


def test_a_durable_server_keeps_what_it_committed_through_a_crash() -> None:
    """With `fsync=True` it has the settings of production, and recovery after a crash works."""
    server = PostgresServer.start(fsync=True)
    try:
        assert server.run("SHOW fsync") == "on"
        server.run("CREATE TABLE t AS SELECT 7 AS n")
        server.crash()
        server.restart()
        assert server.run("SELECT n FROM t") == "7"
    finally:
        server.stop()


def test_killed_tests_leave_no_server_behind() -> None:
    """The guardian cleans up after a process that could not."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, env=environment, check=False
    )
    directory, port, guardian = done.stdout.split()
    subprocess.run(["tail", f"--pid={guardian}", "-f", "/dev/null"], check=True, timeout=30)
    assert not Path(directory).exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(port)))


def test_a_machine_without_postgres_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests fail loudly, they never skip."""
    monkeypatch.setattr(postgres.shutil, "which", lambda _: None)
    monkeypatch.setattr(postgres.Path, "glob", lambda *_: iter(()))
    with pytest.raises(RuntimeError, match="apt-get install postgresql"):
        PostgresServer.start()
