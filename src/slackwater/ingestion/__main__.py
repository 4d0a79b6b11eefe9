"""The child: `python -m slackwater.ingestion`. Nothing that starts slowly is imported here."""

import gc
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from slackwater.domain.batch import ORDERED
from slackwater.ingestion.ingest import ingest_file

_HEADROOM_BYTES: Final = 2**30
_STEP_BYTES: Final = 2**20
"""Read at once: much more than the work around it, little beside what a process may hold."""
_HAND_BYTES: Final = 32 * 2**20
"""So much is worth a hand of its own."""
_HANDS_MAX: Final = 4


class _GoneError(Exception):
    """The server will send no more of the body."""


def _arrived(lines: Iterable[bytes], length: int) -> Iterator[int]:
    """Tell how much has arrived, in small steps: what arrives faster than it is read must not be in memory at once."""
    reached = 0
    for line in lines:
        yield from range(reached + _STEP_BYTES, int(line), _STEP_BYTES)
        reached = int(line)
        yield reached
        if reached == length:
            return
    raise _GoneError


def _main() -> None:
    first = sys.stdin.buffer.readline()
    if not first:
        return  # never needed
    spool = Path(msgspec.json.decode(first, type=str))
    length = spool.stat().st_size
    # A body made of millions of tiny entries would otherwise take many times its size before it can be refused.
    resource.setrlimit(resource.RLIMIT_AS, (length + _HEADROOM_BYTES, length + _HEADROOM_BYTES))
    gc.disable()  # a short life, and no cycles worth the search through a hundred thousand requests
    hands = max(1, min(_HANDS_MAX, len(os.sched_getaffinity(0)), length // _HAND_BYTES))
    try:
        ingested = ingest_file(spool, _arrived(sys.stdin.buffer, length), hands=hands)
        sys.stdout.buffer.write(msgspec.msgpack.encode(ingested))
        sys.stdout.buffer.close()  # the server waits for the end of the answer, and for nothing that comes after it
        os._exit(0)
    except (BrokenPipeError, _GoneError):  # the server is gone, and nobody else wants this
        spool.with_suffix(ORDERED).unlink(missing_ok=True)
        os._exit(0)
    except OSError as error:  # the server knows what its number means
        sys.exit(error.errno if error.errno is not None and error.errno > 0 else os.EX_SOFTWARE)


if __name__ == "__main__":
    _main()
