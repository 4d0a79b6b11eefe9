"""Ingest: from the spool file of a create call to a file of requests in plan order, and the shards it is cut into.

A large body is ingested in a process of its own, `python -m slackwater.flow.ingest`: no event loop is held, its memory
is given back, and nothing that starts slowly is imported here. The spool is mapped: no body is whole on the heap.
"""

import gc
import mmap
import os
import re
import resource
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from slackwater import failpoints
from slackwater.domain.batch import Shard
from slackwater.domain.errors import WireError
from slackwater.domain.limits import BATCH_REQUESTS_MAX
from slackwater.flow.plan import Planned, cut, plan
from slackwater.flow.split import split
from slackwater.wire.envelope import Item
from slackwater.wire.lines import request_pieces, without_breaks
from slackwater.wire.prompt import glance
from slackwater.writeback import written_back

_HEADROOM_BYTES = 2**30
_WRITE_BUFFER_BYTES = 2**20
_READ_BYTES_HELD = 16 * 2**20

_FILE_ID = re.compile(rb'"(file_01[1-9A-HJ-NP-Za-km-z]{22})"')  # as we make them (domain.ids)
_FILE_IDS_MAX = BATCH_REQUESTS_MAX
"""What is looked up when the batch is sealed; files beyond it are found all the same, but deleting them is felt."""


class Ingested(msgspec.Struct, frozen=True):
    """What became of a body: its shards, or the error that refuses it."""

    shards: tuple[Shard, ...] = ()
    size: int = 0
    """Requests."""
    file_ids: frozenset[str] = frozenset()
    """What looks like the id of a file of ours, wherever it stands."""
    refusal: str | None = None


def ingest_file(spool: Path, ordered: Path) -> Ingested:
    """Split and plan the body in `spool` and write its requests in plan order to `ordered`, synced."""
    try:
        with spool.open("rb") as file:
            # Not closed by hand: every entry is a view into the map, which goes when the last of them does.
            if os.fstat(file.fileno()).st_size == 0:
                split(b"")  # which says what is wrong with it: an empty file cannot be mapped
            return _ingest(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), ordered)
    except WireError as error:
        return Ingested(refusal=error.message)


def _ingest(body: mmap.mmap, ordered: Path) -> Ingested:
    items = split(memoryview(body))
    file_ids = _file_ids(body)  # while all of it is in memory
    one_line = body.find(b"\n") in {-1, len(body) - 1} and body.find(b"\r") == -1  # or no line break but a last one
    places = plan(glance(item.params, files=bool(file_ids)) for item in _let_go(body, items))
    with os.fdopen(os.open(ordered, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", _WRITE_BUFFER_BYTES) as file:
        planned = _let_go(body, (items[place.index] for place in places))
        sizes = list(written_back(file.fileno(), _write(file, planned, places, one_line=one_line)))
        file.flush()
        failpoints.hit("ingest.before_fsync")
        os.fsync(file.fileno())
        failpoints.hit("ingest.after_fsync")
    return Ingested(shards=tuple(cut(sizes)), size=len(items), file_ids=file_ids)


def _file_ids(body: mmap.mmap) -> frozenset[str]:
    """Find the ids of files without reading JSON again: most bodies have none, and that is soon seen."""
    found = set[bytes]()
    start = body.find(b'"file_01')
    for match in _FILE_ID.finditer(body, start) if start >= 0 else ():
        found.add(match[1])
        if len(found) == _FILE_IDS_MAX:
            break
    return frozenset(one.decode() for one in found)


def _let_go(body: mmap.mmap, items: Iterable[Item]) -> Iterator[Item]:
    """Pass items on, and the pages of the body that were read back to the system: they count as memory of ours."""
    read = _READ_BYTES_HELD
    for item in items:
        if read >= _READ_BYTES_HELD:
            body.madvise(mmap.MADV_DONTNEED)
            read = 0
        read += len(memoryview(item.params))
        yield item


def _write(
    file: BinaryIO, items: Iterable[Item], places: Sequence[Planned], *, one_line: bool
) -> Iterator[tuple[str, int]]:
    write = file.write
    for place, item in zip(places, items, strict=True):
        params = memoryview(item.params) if one_line else without_breaks(memoryview(item.params))
        head, params, tail = request_pieces(place.index, place.group, item.custom_id, params)
        yield place.model, write(head) + write(params) + write(tail)


def _main(spool: Path, ordered: Path) -> None:
    # A body made of millions of tiny entries would otherwise take many times its size before it can be refused.
    ceiling = spool.stat().st_size + _HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    gc.disable()  # a short life, and no cycles worth the search through a hundred thousand requests
    try:
        sys.stdout.buffer.write(msgspec.msgpack.encode(ingest_file(spool, ordered)))
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the server is gone, and nobody else wants this
        ordered.unlink(missing_ok=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # the server knows what its number means
        sys.exit(error.errno)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
