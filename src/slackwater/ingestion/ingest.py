"""Ingest: from the spool file of a create call to a file of requests in plan order, and the shards it is cut into.

The spool is mapped: no body is whole on the heap.
"""

import mmap
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slackwater.domain.batch import ORDERED, Ingested
from slackwater.domain.errors import WireError
from slackwater.flow.plan import cut
from slackwater.flow.split import split
from slackwater.ingestion.reading import read
from slackwater.ingestion.writing import created, sync, write


def ingest_file(spool: Path, lengths: Iterable[int] | None = None, *, hands: int = 1) -> Ingested:
    """Split and plan the body in `spool` and write its requests in plan order to a file beside it, synced.

    The file has its length already; where the body is still arriving, `lengths` tells how much of it is there. A
    process of one thread may write with several `hands`, which it forks.
    """
    try:
        with spool.open("rb") as file:
            # Not closed by hand: every entry is a view into the map, which goes when the last of them does.
            length = os.fstat(file.fileno()).st_size
            if length == 0:
                split(b"")  # which says what is wrong with it: an empty file cannot be mapped
            body = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        found, places = read(body, (length,) if lengths is None else lengths)
    except WireError as error:
        return Ingested(refusal=error.message)
    ordered = spool.with_suffix(ORDERED)
    with created(ordered) as descriptor:
        sizes = write(ordered, found, places, hands)
        with ThreadPoolExecutor(1) as thread:
            synced = thread.submit(sync, descriptor)
            shards = tuple(cut((place.model, size) for place, size in zip(places, sizes, strict=True)))
            synced.result()
    file_ids = frozenset(one.decode() for one in found.file_ids)
    return Ingested(shards=shards, size=len(places), file_ids=file_ids)
