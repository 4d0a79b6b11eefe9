"""Results: how fast finished lines leave, beside the same bytes as a plain file."""

import time
from contextlib import closing
from pathlib import Path
from statistics import median

from context import BATCHES, Context, Row
from memory import Peak
from processes import HEADERS, Program, yardstick

READ_BYTES = 2**20
REPEATS = 5


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    finished = context.finished
    path = f"{BATCHES}/{finished.batch_id}/results"
    directory = context.directory / "plain"
    with yardstick(directory) as plain:
        size, _ = _download(finished.server, path, directory / "file")
        _download(plain, "/file")
        with Peak(finished.server.process.pid) as peak:
            pairs = [(_download(finished.server, path)[1], _download(plain, "/file")[1]) for _ in range(REPEATS)]
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    return [
        Row(
            figure=f"results download, {size / 1e6:,.0f} MB",
            ours=size / ours / 1e6,
            unit="MB/s",
            yardstick=size / theirs / 1e6,
            better="higher",
            meaning="against Starlette's FileResponse with the same bytes on the same uvicorn",
        ),
        Row(
            figure="peak memory, results download",
            ours=peak.resident_bytes / 1e6,
            unit="MB",
            meaning="resident; what the batch itself has left behind is part of it",
        ),
    ]


def _download(server: Program, path: str, target: Path | None = None) -> tuple[int, float]:
    """Return bytes and seconds; a whole download, or RuntimeError."""
    connection = server.connect()
    buffer = memoryview(bytearray(READ_BYTES))
    size = 0
    pieces = []
    with closing(connection):
        started = time.perf_counter()
        connection.request("GET", path, headers=HEADERS)
        response = connection.getresponse()
        announced = int(response.headers["content-length"])
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
    return size, seconds
