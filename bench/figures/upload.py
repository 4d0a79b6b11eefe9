"""Upload: what HTTP, a form, a digest and a row cost beyond writing and syncing the same bytes."""

import os
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from context import Context, Row
from memory import Peak
from processes import HEADERS, Program, answered, slackwater

FILE_BYTES = 256 * 2**20
PIECE_BYTES = 2**20
HEAD = b'--bench\r\ncontent-disposition: form-data; name="file"; filename="bench.bin"\r\n\r\n'
TAIL = b"\r\n--bench--\r\n"
CONFIG = """\
[worker]
enabled = false

[[backends]]
name = "nobody"
protocol = "anthropic"
url = "http://127.0.0.1:9"
"""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    data = memoryview(os.urandom(FILE_BYTES))
    with slackwater(context.directory / "upload", CONFIG) as ours:
        _upload(ours, data[:PIECE_BYTES])
        with Peak(ours.process.pid) as before:
            pass
        with Peak(ours.process.pid) as peak:
            path = context.directory / "upload" / "plain"
            pairs = [(_upload(ours, data), _written(path, data)) for _ in range(context.scale.repeats)]
    our_seconds, plain_seconds = (median(side) for side in zip(*pairs, strict=True))
    size = f"{FILE_BYTES / 1e6:,.0f} MB"
    return [
        Row(
            figure=f"upload of {size}",
            ours=FILE_BYTES / our_seconds / 1e6,
            unit="MB/s",
            yardstick=FILE_BYTES / plain_seconds / 1e6,
            better="higher",
            meaning="first byte sent to 200, against a program that writes and syncs the same bytes",
        ),
        Row(
            figure=f"memory added by an upload of {size}",
            ours=(peak.resident_bytes - before.resident_bytes) / 1e6,
            unit="MB",
            meaning="resident, over what the server has before it",
        ),
    ]


def _upload(server: Program, data: memoryview) -> float:
    """Return the seconds from before connecting to the end of the answer."""
    headers = HEADERS | {
        "content-type": "multipart/form-data; boundary=bench",
        "content-length": str(len(HEAD) + len(data) + len(TAIL)),
    }
    connection = server.connect()
    with closing(connection):
        started = time.perf_counter()
        connection.putrequest("POST", "/v1/files")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(HEAD)
        for start in range(0, len(data), PIECE_BYTES):
            connection.send(data[start : start + PIECE_BYTES])
        connection.send(TAIL)
        made = answered(connection.getresponse())
        seconds = time.perf_counter() - started
    if made["size_bytes"] != len(data):
        raise RuntimeError("the file is not whole")
    return seconds


def _written(path: Path, data: memoryview) -> float:
    """Return the seconds to write and sync the bytes."""
    started = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for start in range(0, len(data), PIECE_BYTES):
            os.write(descriptor, data[start : start + PIECE_BYTES])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    seconds = time.perf_counter() - started
    path.unlink()
    return seconds
