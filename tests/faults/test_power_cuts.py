"""The power goes while a server accepts work: what was acknowledged is there when it comes back, on a real file system.

`kill -9` cannot tell a sync that is missing: the kernel writes what a dead process left. Here it does not.
"""

import hashlib
import http.client
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import pytest

from support.machine import Machine
from support.power import CutDisk, CutPostgres
from support.simulator import RunningSimulator
from support.table import PROPERTY

CUTS: Final = 60
REQUESTS: Final = 3
CLIENTS: Final = 3
PAUSE_SECONDS: Final = 0.02
FILE_BYTES: Final = 4_000
SETTINGS: Final = "[files]\ndownloadable = true\n"
EATMYDATA: Final = next(Path("/usr/lib").glob("*/libeatmydata.so"), None)
pytestmark = pytest.mark.slow


@dataclass
class Promises:
    """What a client was told."""

    batches: dict[str, str] = field(default_factory=dict)
    """Prefixes of the custom_ids, by id."""
    canceled: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    """Batches whose cancel was sent, whatever came of it."""
    files: dict[str, bytes] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    latest: threading.Event = field(default_factory=threading.Event)
    """Set by every file that was acknowledged."""

    def ask(self, one: Machine, prefix: str, turn: int) -> None:
        """Create a batch and upload a file; cancel some and delete some."""
        batch_id = one.create(prefix, REQUESTS)
        self.batches[batch_id] = prefix
        if turn % 4 == 0:
            self.doubtful.add(batch_id)
            if send(one, "POST", f"/v1/messages/batches/{batch_id}/cancel")[0] == http.HTTPStatus.OK:
                self.canceled.add(batch_id)
        content = hashlib.shake_256(prefix.encode()).digest(FILE_BYTES)
        file_id = upload(one, content)
        if turn % 4 != 1:
            self.files[file_id] = content
            self.latest.set()
        elif send(one, "DELETE", f"/v1/files/{file_id}")[0] == http.HTTPStatus.OK:
            self.deleted.add(file_id)

    def broken(self, one: Machine) -> list[str]:
        """Return what is not as it was promised."""
        found = []
        for batch_id in self.batches:
            status, body = send(one, "GET", f"/v1/messages/batches/{batch_id}")
            batch = msgspec.json.decode(body)
            if status != http.HTTPStatus.OK or sum(batch["request_counts"].values()) != REQUESTS:
                found.append(f"{batch_id}: {status}")
            elif batch_id in self.canceled and batch["cancel_initiated_at"] is None:
                found.append(f"{batch_id} is not canceled any more")
        for file_id, content in self.files.items():
            status, body = send(one, "GET", f"/v1/files/{file_id}/content")
            if status != http.HTTPStatus.OK or body != content:
                found.append(f"{file_id}: {status}")
        gone = http.HTTPStatus.NOT_FOUND
        return found + [file_id for file_id in self.deleted if send(one, "GET", f"/v1/files/{file_id}")[0] != gone]


@dataclass
class Powered:
    """A server on a disk whose power is cut, its database on the same disk or elsewhere."""

    one: Machine
    disk: CutDisk
    postgres: CutPostgres | None
    clients: int
    promises: list[Promises] = field(default_factory=list)

    def cut(self, seconds: float) -> list[str]:
        """Let clients work for a while, cut the power behind a promise; return what was not kept when it is back."""
        promises = [Promises() for _ in range(self.clients)]
        with self._at_work(promises):
            threading.Event().wait(seconds)
            promises[0].latest.clear()
            promises[0].latest.wait(5)
            self.disk.cut()
            self.one.kill()
        if self.postgres is not None:
            self.postgres.kill()
        self.disk.come_back()
        if self.postgres is not None:
            self.postgres.start()
        try:
            self.one.start()
        except RuntimeError as error:
            return [str(error)]
        self.promises += promises
        return [what for one in promises for what in one.broken(self.one)]

    @contextmanager
    def _at_work(self, promises: list[Promises]) -> Iterator[None]:
        life, ended = len(self.promises), threading.Event()

        def work(number: int) -> None:
            with suppress(AssertionError, OSError, http.client.HTTPException):  # the power is off
                for turn in range(10_000):
                    if ended.is_set():
                        return
                    promises[number].ask(self.one, f"l{life}-{number}-{turn}", turn)
                    ended.wait(PAUSE_SECONDS)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(promises))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def finished(self) -> int:
        """See every batch to its end, whole and with an answer for each request that nobody canceled."""
        finished = 0
        for promises in self.promises:
            for batch_id, prefix in promises.batches.items():
                self.one.ended(batch_id)
                kinds = self.one.assert_whole(batch_id, prefix, REQUESTS)
                assert kinds.keys() <= ({"succeeded", "canceled"} if batch_id in promises.doubtful else {"succeeded"})
                finished += REQUESTS
        return finished


MakePowered = Callable[..., Powered]


@pytest.fixture
def powered(tmp_path: Path) -> Iterator[MakePowered]:
    """Build one; everything is ended before the disk goes."""
    with CutDisk.mounted() as disk:
        data = disk.place / "data"
        data.mkdir(mode=0o700)
        (tmp_path / "data").symlink_to(data)
        made: list[Powered] = []

        def make(database: str, altered: dict[str, str] | None = None, clients: int = CLIENTS) -> Powered:
            postgres = None
            if database == "postgresql":
                postgres = CutPostgres(disk.place)
                postgres.start()
                database = postgres.url
            simulator = RunningSimulator.start(tmp_path, "--latency-ms", "20", "--capacity", "64")
            machine = Machine(tmp_path, simulator, database, SETTINGS, altered)
            made.append(Powered(machine, disk, postgres, clients))
            machine.start()
            return made[-1]

        try:
            yield make
        finally:
            for one in made:
                one.one.server.process.kill()
                one.one.server.process.wait()
                one.one.simulator.stop()
                if one.postgres is not None:
                    one.postgres.kill()


@pytest.mark.parametrize("place", ["sqlite", "postgresql", "bytes alone"])
def test_what_was_acknowledged_before_the_power_went_is_there_afterwards(
    powered: MakePowered,
    place: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """F3, D1, D2, D5, D7: batches, files, cancels and deletions; of the bytes alone where the database is elsewhere."""
    chance = random.Random(20261128)  # noqa: S311  # where to hurt, not what to hide
    one = powered(request.getfixturevalue("postgres_url") if place == "bytes alone" else place)
    broken: list[str] = []
    for _ in range(CUTS):
        broken += one.cut(chance.uniform(0.2, 1.2))
    assert broken == []
    accepted = REQUESTS * sum(len(promises.batches) for promises in one.promises)
    record_property(PROPERTY, {"hurt": CUTS, "accepted": accepted, "finished": one.finished(), "lost": len(broken)})
    assert accepted > CUTS * REQUESTS
    if place == "sqlite":
        one.one.kill()
        with closing(sqlite3.connect(tmp_path / "data" / "slackwater.db")) as database:
            assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("careless", ["normal", "directory", "eatmydata"])
def test_a_sync_that_is_missing_is_noticed(
    powered: MakePowered,
    careless: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """F3, D1: SQLite's `synchronous = NORMAL`, names of blobs that are not synced, a library that syncs nothing."""
    altered = {"ALTERED_SYNC": careless}
    if careless == "eatmydata":
        if EATMYDATA is None:
            pytest.skip("eatmydata is missing. On Debian or Ubuntu: sudo apt-get install eatmydata")
        altered = {"LD_PRELOAD": str(EATMYDATA)}
    chance = random.Random(20261128)  # noqa: S311  # where to hurt, not what to hide
    if careless == "directory":  # any other sync on the same disk takes the names along
        one = powered(request.getfixturevalue("postgres_url"), altered, clients=1)
    else:
        one = powered("sqlite", altered)
    noticed = next((number for number in range(1, CUTS + 1) if one.cut(chance.uniform(0.2, 1.2))), None)
    record_property(PROPERTY, {"hurt": noticed})
    assert noticed is not None


def send(one: Machine, method: str, path: str, body: bytes = b"", content_type: str = "") -> tuple[int, bytes]:
    """Make a call; status 0 stands for one that was cut off."""
    connection = http.client.HTTPConnection("127.0.0.1", one.server.port, timeout=30)
    headers = {"x-api-key": one.server.api_key, "anthropic-version": "2023-06-01"}
    try:
        connection.request(method, path, body, headers | ({"content-type": content_type} if content_type else {}))
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b"{}"
    finally:
        connection.close()


def upload(one: Machine, content: bytes) -> str:
    """Upload bytes; return the file's id."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n\r\n'
    status, body = send(one, "POST", "/v1/files", head + content + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")
    assert status == http.HTTPStatus.OK, body
    return str(msgspec.json.decode(body)["id"])
