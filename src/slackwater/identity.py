"""Who a process is to the store: the name in its leases, and the proof that whoever had it before is dead."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slackwater.domain.ids import WORKER, IdSource

WORKERS_MAX = 1_024


@contextmanager
def worker_identity(directory: Path, ids: IdSource) -> Iterator[str]:
    """Hold a worker's id: the content of the first numbered lock file that nobody has locked.

    Who holds the lock knows that the process which held it before is dead, so that its leases can be voided at once
    instead of waiting for them to lapse (L3). Raises OSError when the directory cannot be used.
    """
    file = _first_free(directory)
    try:
        yield _known(file) or _new(file, ids)
    finally:
        os.close(file)


def _first_free(directory: Path) -> int:
    for number in range(WORKERS_MAX):
        file = os.open(directory / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return file
    message = f"more than {WORKERS_MAX} processes on one data directory"
    raise OSError(message)


def _known(file: int) -> str:
    return os.pread(file, 128, 0).decode().strip()


def _new(file: int, ids: IdSource) -> str:
    made = ids.new(WORKER)
    os.pwrite(file, made.encode(), 0)
    os.fsync(file)
    return made
