"""Requests in plan order, written to a file by several hands."""

import mmap
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Final, NoReturn

from slackwater import failpoints
from slackwater.flow.plan import Planned
from slackwater.ingestion.reading import Found
from slackwater.wire.envelope import Item
from slackwater.wire.stored import request_length, request_pieces, without_breaks
from slackwater.writeback import written_back

_STEP_BYTES: Final = 2**20


@contextmanager
def created(path: Path) -> Iterator[int]:
    """Make a file of mode 0600 and hold it open: a sync of this descriptor tells of every write that failed (D6)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write(path: Path, found: Found, places: Sequence[Planned], hands: int) -> list[int]:
    """Write the requests to an empty file, still to be synced; return the bytes of each.

    More hands than one are forked off a process that has to have one thread. Raises OSError.
    """
    items = [found.items[place.index] for place in places]
    sizes = [
        request_length(place.index, place.group, item.custom_id, len(memoryview(item.params)))
        for place, item in zip(places, items, strict=True)
    ]
    share = -(-len(items) // hands)
    offsets = [0, *accumulate(sizes)]

    def part(start: int) -> None:
        chosen = slice(start, start + share)
        _write_part(path, offsets[start], found, places[chosen], items[chosen])

    with _others(part, range(share, len(items), share)):
        part(0)
    return sizes


def sync(descriptor: int) -> None:
    """Have all of a file on the disk. Raises OSError."""
    failpoints.hit("ingest.before_fsync")
    os.fsync(descriptor)
    failpoints.hit("ingest.after_fsync")


def _write_part(path: Path, offset: int, found: Found, places: Sequence[Planned], items: Sequence[Item]) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(offset)
        for data, _ in written_back(file.fileno(), _steps(found, places, items)):
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]


def _steps(found: Found, places: Sequence[Planned], items: Sequence[Item]) -> Iterator[tuple[bytes, int]]:
    """Yield what is written at once, and its length."""
    pieces: list[bytes | memoryview] = []
    length = 0
    for place, item in zip(places, items, strict=True):
        params = memoryview(item.params)
        if not found.one_line:
            params = without_breaks(params)
        pieces += request_pieces(place.index, place.group, item.custom_id, params)
        length += len(params)
        if length >= _STEP_BYTES:
            data = b"".join(pieces)
            yield data, len(data)
            found.body.madvise(mmap.MADV_DONTNEED)  # pages that were read count as memory of ours
            pieces, length = [], 0
    data = b"".join(pieces)
    yield data, len(data)


@contextmanager
def _others(work: Callable[[int], None], starts: Iterable[int]) -> Iterator[None]:
    """Have the parts that begin there written meanwhile, each by a process. Raises OSError when one could not."""
    hands: list[int] = []
    try:
        for start in starts:
            hands.append(os.fork() or _end(work, start))  # noqa: PERF401  # those made are ended if one cannot be
        yield
        while hands:
            _, status = os.waitpid(hands[-1], 0)
            hands.pop()
            number = os.waitstatus_to_exitcode(status)
            if number != 0:
                raise OSError(number, os.strerror(number) if number > 0 else "killed")
    finally:
        for hand in hands:
            os.kill(hand, signal.SIGKILL)
            os.waitpid(hand, 0)


def _end(work: Callable[[int], None], start: int) -> NoReturn:
    """Work, and end the process."""
    status = os.EX_SOFTWARE
    try:
        work(start)
        status = 0
    except OSError as error:
        status = error.errno or os.EX_SOFTWARE
    except BaseException:  # noqa: BLE001  # there is nobody above
        traceback.print_exc()
    finally:
        os._exit(status)
