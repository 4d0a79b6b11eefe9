"""`kill -9` in the middle of uploads and deletions: what was acknowledged is whole, and nothing else stays for long."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

from slackwater.blobs import LocalBlobs
from slackwater.clock import SystemClock
from slackwater.flow.content import Content
from slackwater.store import Store
from support.uploading import WORKSPACE, content

KILLS = 4


async def test_kills_lose_no_file_and_leave_no_bytes(tmp_path: Path, database: str) -> None:
    """D1, D2, D5, D7: each acknowledged file is there with its bytes, each deleted one is not; no orphan stays."""
    chance = random.Random(20261122)  # noqa: S311  # where to hurt, not what to hide
    (tmp_path / "spool").mkdir()
    url = f"sqlite:///{tmp_path / 'slackwater.db'}" if database == "sqlite" else database
    kept: dict[str, int] = {}
    unsure: set[str] = set()
    for _ in range(KILLS):
        for word, file_id, number in _killed(tmp_path, url, chance):
            if word == "kept":
                kept[file_id] = number
            else:  # going: the answer may not have come; gone: it did
                kept.pop(file_id, None)
                (unsure.add if word == "going" else unsure.discard)(file_id)
        await _assert_whole(tmp_path, url, kept, unsure)
    assert kept


def _killed(directory: Path, url: str, chance: random.Random) -> list[tuple[str, str, int]]:
    """Let a process upload, kill it after some acknowledgements, at once or while it goes on; return what it said."""
    command = [sys.executable, "-m", "support.uploading", str(directory), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(chance.randrange(5, 30))]
        process.kill()
        said += process.stdout.readlines()
    whole = [line.split() for line in said if line.endswith("\n")]
    return [(word, file_id, int(number)) for word, file_id, number in whole]


async def _assert_whole(directory: Path, url: str, kept: dict[str, int], unsure: set[str]) -> None:
    clock = SystemClock()
    store = await Store.open(url, clock=clock)
    blobs = LocalBlobs(directory / "blobs")
    try:
        page = await store.files_page(WORKSPACE, limit=1_000)
        assert not page.has_more
        there = {file.id: file for file in page.items}
        assert kept.keys() <= there.keys()
        for file_id, file in there.items():
            data = await Content(file=file, blobs=blobs).read()
            if file_id in kept:
                assert data == content(kept[file_id])
            else:  # whole, and its answer, or that of its deletion, was on its way
                assert hashlib.sha256(data).digest() == file.digest
        said_nothing = there.keys() - kept.keys() - unsure
        assert len(said_nothing) <= KILLS
        await _sweep(store, blobs)
        left = await blobs.keys("files/")
        assert set(left) == {file.blob_key for file in there.values()}
    finally:
        await store.close()


async def _sweep(store: Store, blobs: LocalBlobs) -> None:
    """Remove orphans as the sweep does, without waiting until they have been there for an hour."""
    keys = await blobs.keys("files/")
    known = await store.referenced(keys)
    for key in set(keys) - known:
        await blobs.delete(key)
