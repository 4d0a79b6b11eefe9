"""Ingest: from the spool file of a create call to a file of requests in plan order, and the shards it is cut into.

A large body is ingested in a process of its own, `python -m slackwater.flow.ingest`, so that the event loop is never
held and the memory it takes is given back. The spool is memory-mapped: a body is never whole on the heap.
"""

import asyncio
import gc
import mmap
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from slackwater.domain.batch import Shard
from slackwater.domain.errors import APIError, InvalidRequestError, WireError
from slackwater.flow.plan import Planned, cut, plan
from slackwater.flow.split import split
from slackwater.wire.envelope import Item
from slackwater.wire.lines import encode_request, request_pieces
from slackwater.wire.prompt import glance

INLINE_BYTES_MAX = 256 * 1024
"""Bodies up to this size take about a millisecond and are not worth a process."""
_HEADROOM_BYTES = 2**30
_WRITE_BUFFER_BYTES = 2**20


class Ingested(msgspec.Struct, frozen=True):
    """What became of a body: its shards, or the error that refuses it."""

    shards: tuple[Shard, ...] = ()
    size: int = 0
    """Requests."""
    refusal: str | None = None


_ANSWER = msgspec.msgpack.Decoder(Ingested)


async def ingest(spool: Path, ordered: Path) -> Ingested:
    """Split and plan the body in `spool` and write its requests in plan order to `ordered`, synced.

    Raises InvalidRequestError when the envelope is wrong (contract §4.1).
    """
    size = (await asyncio.to_thread(spool.stat)).st_size
    if size <= INLINE_BYTES_MAX:
        ingested = await asyncio.to_thread(ingest_file, spool, ordered)
    else:
        ingested = await _in_process(spool, ordered)
    if ingested.refusal is not None:
        raise InvalidRequestError(ingested.refusal, should_retry=False)
    return ingested


async def _in_process(spool: Path, ordered: Path) -> Ingested:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        str(spool),
        str(ordered),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        answer, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        message = "The batch could not be read. Try again."
        raise APIError(message) from ChildProcessError(f"ingest ended with {process.returncode}")
    return _ANSWER.decode(answer)


def ingest_file(spool: Path, ordered: Path) -> Ingested:
    """Do the work of `ingest` in this thread."""
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
    places = plan(glance(item.params) for item in items)
    with open(ordered, "wb", buffering=_WRITE_BUFFER_BYTES, opener=_private) as file:  # Path.open has no opener
        sizes = _write_one_line(file, items, places) if _is_one_line(body) else _write(file, items, places)
        file.flush()
        os.fsync(file.fileno())
    return Ingested(shards=tuple(cut(sizes)), size=len(items))


def _is_one_line(body: mmap.mmap) -> bool:
    """Tell whether a body has no line break but a last one."""
    return body.find(b"\n") in {-1, len(body) - 1} and body.find(b"\r") == -1


def _write_one_line(file: BinaryIO, items: Sequence[Item], places: Sequence[Planned]) -> list[tuple[str, int]]:
    sizes = []
    write = file.write
    for place in places:
        item = items[place.index]
        head, params, tail = request_pieces(place.index, place.group, item.custom_id, memoryview(item.params))
        sizes.append((place.model, write(head) + write(params) + write(tail)))
    return sizes


def _write(file: BinaryIO, items: Sequence[Item], places: Sequence[Planned]) -> list[tuple[str, int]]:
    sizes = []
    for place in places:
        item = items[place.index]
        line = encode_request(place.index, place.group, item.custom_id, memoryview(item.params))
        sizes.append((place.model, file.write(line)))
    return sizes


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _main(spool: Path, ordered: Path) -> None:
    # A body made of millions of tiny entries would otherwise take many times its size before it can be refused.
    ceiling = spool.stat().st_size + _HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    gc.disable()  # a short life, and no cycles worth the search through a hundred thousand requests
    sys.stdout.buffer.write(msgspec.msgpack.encode(ingest_file(spool, ordered)))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
