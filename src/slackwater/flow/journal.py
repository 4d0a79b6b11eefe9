"""The journal: a worker's local, append-only record of result lines, one file for each shard and epoch.

A line is written with one plain `write` the moment it exists, so it survives `kill -9` of the process; the segment
that follows makes it durable against power loss too. Each record carries a checksum: a torn or flipped one is not
adopted, and its request is simply worked on again.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from slackwater.domain.batch import Lease
from slackwater.domain.result import ResultLine, ResultType, Usage

_SUFFIX = ".journal"
_CRC_LENGTH = 8


class _Header(msgspec.Struct, array_like=True):
    position: int
    type: ResultType
    model: str
    cost_nanousd: int
    usage: tuple[int, int, int, int, int]


_ENCODER = msgspec.json.Encoder()
_HEADER = msgspec.json.Decoder(_Header)


class Journal:
    """An open journal."""

    def __init__(self, directory: Path, lease: Lease) -> None:
        self.path = directory / f"{_stem(lease)}.{lease.epoch}{_SUFFIX}"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, result: ResultLine) -> None:
        """Write one record. Raises OSError when the disk refuses it."""
        record = _encode(result)
        written = os.write(self._file, record)
        if written != len(record):
            message = f"short write to {self.path.name}"
            raise OSError(message)

    def close(self) -> None:
        """Close the file; it stays on disk."""
        os.close(self._file)


def adoptable(directory: Path, lease: Lease) -> tuple[list[ResultLine], list[Path]]:
    """Return complete lines that earlier epochs of this shard left here and nobody committed, and the files read."""
    found: dict[int, ResultLine] = {}
    paths = sorted(directory.glob(f"{_stem(lease)}.*{_SUFFIX}"), key=_epoch)
    older = [path for path in paths if _epoch(path) < lease.epoch]
    for path in older:
        for result in _records(path.read_bytes()):
            if result.position < lease.shard.count and result.position not in lease.done:
                found.setdefault(result.position, result)
    return list(found.values()), older


def _stem(lease: Lease) -> str:
    return f"{lease.batch_id}.{lease.shard.number}"


def _epoch(path: Path) -> int:
    return int(path.name.removesuffix(_SUFFIX).rsplit(".", 1)[1])


def _encode(result: ResultLine) -> bytes:
    usage = result.usage
    header = _Header(
        result.position,
        result.type,
        result.model,
        result.cost_nanousd,
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_creation_5m_input_tokens,
            usage.cache_creation_1h_input_tokens,
            usage.cache_read_input_tokens,
        ),
    )
    payload = _ENCODER.encode(header) + b"\t" + result.line
    return b"%08x" % zlib.crc32(payload) + payload


def _records(data: bytes) -> Iterator[ResultLine]:
    for record in data.splitlines(keepends=True):
        result = _decode(record)
        if result is not None:
            yield result


def _decode(record: bytes) -> ResultLine | None:
    checksum, payload = record[:_CRC_LENGTH], record[_CRC_LENGTH:]
    if not payload.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(payload):
        return None
    head, _, line = payload.partition(b"\t")
    header = _HEADER.decode(head)
    return ResultLine(
        position=header.position,
        type=header.type,
        line=line,
        model=header.model,
        cost_nanousd=header.cost_nanousd,
        usage=Usage(
            input_tokens=header.usage[0],
            output_tokens=header.usage[1],
            cache_creation_5m_input_tokens=header.usage[2],
            cache_creation_1h_input_tokens=header.usage[3],
            cache_read_input_tokens=header.usage[4],
        ),
    )
