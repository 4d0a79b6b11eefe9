"""Results: how fast finished lines leave, beside the same bytes as a plain file."""

import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import NamedTuple

from context import BATCHES, Context, Row
from memory import Peak
from processes import HEADERS, Program, yardstick

READ_BYTES = 2**20
REPEATS = 5


class Download(NamedTuple):
    """How one went."""

    bytes: int
    seconds: float
    first_seconds: float


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    finished = context.finished
    path = f"{BATCHES}/{finished.batch_id}/results"
    directory = context.directory / "plain"
    with yardstick(directory) as plain:
        size = _download(finished.server, path, directory / "file").bytes
        _download(plain, "/file")
        with Peak(finished.server.process.pid) as peak:
            pairs = [(_download(finished.server, path), _download(plain, "/file")) for _ in range(REPEATS)]
    ours, theirs = zip(*pairs, strict=True)
    return [
        Row(
            figure=f"results download, {size / 1e6:,.0f} MB",
            ours=size / median(one.seconds for one in ours) / 1e6,
            unit="MB/s",
            yardstick=size / median(one.seconds for one in theirs) / 1e6,
            better="higher",
            meaning="against Starlette's FileResponse with the same bytes on the same uvicorn",
        ),
        Row(
            figure="results download, first byte",
            ours=1e3 * median(one.first_seconds for one in ours),
            unit="ms",
            yardstick=1e3 * median(one.first_seconds for one in theirs),
            meaning="from the call to the first byte of the first line, connecting included; above 20 ms is too much",
        ),
        Row(
            figure="peak memory, results download",
            ours=peak.resident_bytes / 1e6,
            unit="MB",
            meaning="resident; what the batch itself has left behind is part of it",
        ),
    ]


def _download(server: Program, path: str, target: Path | None = None) -> Download:
    """Fetch all of it. Raises RuntimeError when it ends early."""
    connection = server.connect()
    buffer = memoryview(bytearray(READ_BYTES))
    pieces = []
    with closing(connection):
        started = time.perf_counter()
        connection.request("GET", path, headers=HEADERS)
        response = connection.getresponse()
        announced = int(response.headers["content-length"])
        size = response.readinto(buffer[:1])
        first_seconds = time.perf_counter() - started
        if target is not None:
            pieces.append(bytes(buffer[:size]))
        while count := response.readinto(buffer):
            size += count
            if target is not None:
                pieces.append(bytes(buffer[:count]))
        seconds = time.perf_counter() - started
    if size != announced:
        message = f"{path} ended after {size} of {announced} bytes"
        raise RuntimeError(message)
    if target is not None:
        target.write_bytes(b"".join(pieces))
    return Download(size, seconds, first_seconds)
