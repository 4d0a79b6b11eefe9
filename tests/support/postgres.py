"""A private PostgreSQL server for the tests: started from nothing, gone at the end, whatever happens in between.

A small guardian shell owns the server. It waits on a pipe that only this process holds open, so that it stops the
server and removes its files when the tests end, however they end, `kill -9` included. PostgreSQL refuses to run as
root: there the guardian runs as `postgres`, or as `nobody` where that account is missing.
"""

import itertools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import pytest

from support.server import free_port

ICU_SINCE_VERSION: Final = 15
"""From here on initdb knows `--locale-provider`. A linguistic order in the tests finds a forgotten `COLLATE "C"`."""

GUARDIAN: Final = """
set -eu
cd "$1"; shift
"$BIN/initdb" -D data -U postgres -A trust -E UTF8 $LOCALE --no-sync >initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }
"$BIN/pg_ctl" -D data -l server.log -o "$*" -w start >start.log 2>&1 || { cat start.log server.log >&2; exit 1; }
echo ready
cat >/dev/null
"$BIN/pg_ctl" -D data -m immediate -w stop >/dev/null 2>&1 || true
rm -rf "$PWD"
"""


class PostgresServer:
    """One server on 127.0.0.1 and on a socket of its own, with as many databases as tests ask for."""

    def __init__(self, directory: Path, port: int, guardian: subprocess.Popen[str]) -> None:
        self._directory = directory
        self._guardian = guardian
        self._numbers = itertools.count(1)
        self.port = port

    @classmethod
    def start(cls, *, fsync: bool = False) -> Self:
        """Start a server; `fsync=True` makes it as durable as in production, and slower.

        Raises RuntimeError when PostgreSQL is not installed (naming the package) or does not start (with its log).
        """
        binaries = find_binaries()
        account = whom()
        directory = Path(tempfile.mkdtemp(prefix="slackwater-postgres-"))
        if account:
            os.chown(directory, account.pw_uid, account.pw_gid)
        port = free_port()
        guardian = subprocess.Popen(
            ["/bin/sh", "-c", GUARDIAN, "postgres-guardian", str(directory), *options(directory, port, fsync=fsync)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "BIN": str(binaries), "LOCALE": locale_of(binaries)},
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            # A Ctrl-C is for pytest; the guardian hears of it through the pipe, after the tests have cleaned up.
            start_new_session=True,
        )
        if guardian.stdout and guardian.stdout.readline() != "ready\n":
            _, log = guardian.communicate()
            shutil.rmtree(directory, ignore_errors=True)
            message = f"PostgreSQL did not start:\n{log}"
            raise RuntimeError(message)
        return cls(directory, port, guardian)

    def url(self, database: str) -> str:
        """Return the address of a database of this server, as `storage.database` takes it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template0") -> str:
        """Create an empty database, or a copy of `template` (to which nobody may be connected); return its address."""
        name = f"test_{next(self._numbers)}"
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database by its address, together with the connections that are still open."""
        self.run(f'DROP DATABASE IF EXISTS "{url.rsplit("/", 1)[1]}" WITH (FORCE)')

    def run(self, statement: str, database: str = "postgres") -> str:
        """Run one SQL statement as the superuser; return what psql prints: rows by line, columns by `|`."""
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-p", str(self.port), "-d", database]
        command[0] = str(find_binaries() / "psql")
        done = subprocess.run(
            [*command, "-h", str(self._directory), "-c", statement], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def crash(self) -> None:
        """Stop the server at once, as a crash would: no checkpoint, open transactions lost."""
        self._control("-m", "immediate", "stop")

    def restart(self) -> None:
        """Start the server again on the same files, with recovery where it crashed."""
        self._control(
            "-l", "server.log", "-o", (self._directory / "data/postmaster.opts").read_text().split(" ", 1)[1], "start"
        )

    def stop(self) -> None:
        """Stop the server and remove its files. Stopping twice is fine."""
        self._guardian.communicate()

    def _control(self, *arguments: str) -> None:
        account = whom()
        subprocess.run(
            [str(find_binaries() / "pg_ctl"), "-D", "data", "-w", *arguments],
            cwd=self._directory,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all the tests of a process."""
    server = PostgresServer.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Address of an empty database for this test alone."""
    url = postgres_server.create_database()
    try:
        yield url
    finally:
        postgres_server.drop_database(url)


def find_binaries() -> Path:
    """Return the directory of PostgreSQL's server programs: the one on PATH, else the newest that Debian installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if installed:
        return max(installed, key=lambda directory: int(directory.parent.name))
    message = "PostgreSQL's server programs are missing. On Debian or Ubuntu: sudo apt-get install postgresql"
    raise RuntimeError(message)


def options(directory: Path, port: int, *, fsync: bool) -> list[str]:
    """Return how a server is told its settings; its socket goes to `directory`."""
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": directory,
        "max_connections": 100,
        "shared_buffers": "64MB",
        "fsync": "on" if fsync else "off",
        "full_page_writes": "on" if fsync else "off",
    }
    return [f"-c {name}={value}" for name, value in settings.items()]


def locale_of(binaries: Path) -> str:
    """Return what initdb is told of languages."""
    version = subprocess.run([str(binaries / "initdb"), "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\d+", version)
    if number and int(number[0]) >= ICU_SINCE_VERSION:
        return "--locale-provider=icu --icu-locale=en-US --locale=C.UTF-8"
    return "--locale=C.UTF-8"


def whom() -> pwd.struct_passwd | None:
    """Return whom a server runs as where that is not us."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")
