"""The journal: a worker's local, append-only record of result lines, one file for each shard and epoch.

Lines are written in the turn of the loop in which they came, so they survive `kill -9`; the segment that follows makes
them durable against power loss too. Each record has a checksum: the request of a torn or flipped one is done again.
"""

import os
from contextlib import suppress
from pathlib import Path

from slackwater import failpoints
from slackwater.domain.batch import Lease
from slackwater.domain.result import ResultLine
from slackwater.wire.journal import decode_records, encode_record

_SUFFIX = ".journal"


class Journal:
    """A journal; its file is made for the first record, so that taking up a shard needs nothing of the disk."""

    def __init__(self, directory: Path, lease: Lease) -> None:
        self.path = directory / f"{_stem(lease)}.{lease.epoch}{_SUFFIX}"
        self._file = -1

    def append(self, *results: ResultLine) -> None:
        """Write a record for each. Raises OSError when the disk refuses them."""
        if self._file < 0:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        records = b"".join(map(encode_record, results))
        failpoints.hit("journal.before_write")
        if os.write(self._file, records) != len(records):
            raise OSError(f"short write to {self.path.name}")
        failpoints.hit("journal.after_write")

    def close(self) -> None:
        """Close the file; it stays on disk."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def adoptable(directory: Path, lease: Lease) -> tuple[list[ResultLine], list[Path]]:
    """Return complete lines that earlier epochs of this shard left here and nobody committed, and the files read."""
    found: dict[int, ResultLine] = {}
    paths = sorted(directory.glob(f"{_stem(lease)}.*{_SUFFIX}"), key=_epoch)
    older = [path for path in paths if _epoch(path) < lease.epoch]
    for path in older:
        data = b""
        with suppress(OSError):  # what cannot be read is worked on again
            data = path.read_bytes()
        for result in decode_records(data):
            if result.position < lease.shard.count and result.position not in lease.done:
                found.setdefault(result.position, result)
    return list(found.values()), older


def leftovers(directory: Path, before_seconds: float) -> dict[str, list[Path]]:
    """Return journals that nothing was written to since an instant (Unix seconds), by batch."""
    found: dict[str, list[Path]] = {}
    for path in directory.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before_seconds:
                found.setdefault(path.name.split(".", 1)[0], []).append(path)
    return found


def _stem(lease: Lease) -> str:
    return f"{lease.batch_id}.{lease.shard.number}"


def _epoch(path: Path) -> int:
    return int(path.name.removesuffix(_SUFFIX).rsplit(".", 1)[1])
