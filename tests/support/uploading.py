"""A process that uploads until it is killed: `python -m support.uploading DIRECTORY DATABASE`.

It prints a line for every file that was acknowledged: its id and the number from which its bytes are made. Every third
upload has bytes of an earlier one; every seventh file is deleted again, which is printed too, once it was acknowledged.
"""

import asyncio
import hashlib
import itertools
import sys
from pathlib import Path

from slackwater.blobs import LocalBlobs
from slackwater.clock import SystemClock
from slackwater.domain.ids import IdSource
from slackwater.flow.files import Files
from slackwater.store import Store

WORKSPACE = "wrkspc_test"


def content(number: int) -> bytes:
    """Return the bytes of an upload: up to a megabyte."""
    return hashlib.shake_256(str(number).encode()).digest(1 + number * 7_919 % 50_000) * (1 + number % 20)


def files_in(directory: Path, store: Store, clock: SystemClock) -> Files:
    """Make the step over a directory and a store."""
    ids = IdSource(lambda: int(clock.now().timestamp() * 1000))
    blobs = LocalBlobs(directory / "blobs")
    return Files(
        store=store, blobs=blobs, clock=clock, ids=ids, sniff=lambda _head, _name: "text/plain", quota_bytes=10**12
    )


async def upload(files: Files, directory: Path, number: int) -> str:
    """Upload the bytes of a number; return the file's id."""
    data = content(number)
    path = directory / "spool" / f"{number}.{hashlib.sha256(data).hexdigest()[:8]}"
    path.write_bytes(data)
    digest = hashlib.sha256(data).digest()
    file = await files.upload(
        path, workspace_id=WORKSPACE, filename=f"{number}", mime_type=None, digest=digest, length=len(data)
    )
    return file.id


def _say(word: str, file_id: str, number: int) -> None:
    sys.stdout.write(f"{word} {file_id} {number}\n")
    sys.stdout.flush()


async def _upload_for_ever(directory: Path, database: str) -> None:
    clock = SystemClock()
    store = await Store.open(database, clock=clock)
    files = files_in(directory, store, clock)
    for turn in itertools.count():
        number = turn - 2 if turn % 3 == 2 else turn  # every third has earlier bytes
        file_id = await upload(files, directory, number)
        _say("kept", file_id, number)
        if turn % 7 == 0:
            _say("going", file_id, number)
            await files.delete(WORKSPACE, file_id)
            _say("gone", file_id, number)


if __name__ == "__main__":
    asyncio.run(_upload_for_ever(Path(sys.argv[1]), sys.argv[2]))
