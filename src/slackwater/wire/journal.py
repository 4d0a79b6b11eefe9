"""Journal records: a result line with what a flush must know about it, one record a line, with a checksum."""

import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from slackwater.domain.result import ResultLine, ResultType, Usage

_CRC_LENGTH: Final = 8


class _Header(msgspec.Struct, array_like=True):
    position: int
    type: ResultType
    model: str
    cost_nanousd: int
    usage: tuple[int, int, int, int, int]
    """The fields of `Usage`, none left out."""


_ENCODER = msgspec.json.Encoder()
_HEADER = msgspec.json.Decoder(_Header)


def encode_record(result: ResultLine) -> bytes:
    """Write a record: the checksum in hex, the header, a tab, the line with its LF."""
    header = _Header(result.position, result.type, result.model, result.cost_nanousd, result.usage)
    payload = _ENCODER.encode(header) + b"\t" + result.line
    return b"%08x" % zlib.crc32(payload) + payload


def decode_records(data: bytes) -> Iterator[ResultLine]:
    """Yield the records of a journal that are whole."""
    for record in data.splitlines(keepends=True):
        result = decode_record(record)
        if result is not None:
            yield result


def decode_record(record: bytes) -> ResultLine | None:
    """Read a record; None for one that is torn, damaged, or of another version (U1)."""
    checksum, payload = record[:_CRC_LENGTH], record[_CRC_LENGTH:]
    if not payload.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(payload):
        return None
    head, _, line = payload.partition(b"\t")
    try:
        header = _HEADER.decode(head)
    except msgspec.MsgspecError:
        return None
    return ResultLine(
        position=header.position,
        type=header.type,
        line=line,
        model=header.model,
        cost_nanousd=header.cost_nanousd,
        usage=Usage(*header.usage),
    )
