"""The requests of a batch at rest, one on a line."""

import re
import zlib
from typing import Final

import msgspec


class StoredRequest(msgspec.Struct, frozen=True, gc=False):
    """One request in the blob of its batch."""

    index: int
    """Position in the create call."""
    group: int
    """Prefix group within the batch; 0 when it shares no prefix, negative when a short one, not worth waiting for."""
    custom_id: str
    params: msgspec.Raw
    damaged: bool = False
    """The line did not pass its checksum: nothing in it but its place can be trusted (D5)."""


_REQUEST = msgspec.json.Decoder(StoredRequest)
_CHECKSUM_LENGTH = 8
_REQUEST_END = b"}\n"
_READABLE_ID = re.compile(rb'"custom_id":"([a-zA-Z0-9_-]{1,64})"')


def encode_request(index: int, group: int, custom_id: str, params: memoryview) -> bytes:
    """Write one stored request: a checksum in hex, the JSON, LF.

    Line breaks between tokens of `params` become blanks, so that a line stays a line.
    """
    return b"".join(request_pieces(index, group, custom_id, without_breaks(params)))


def without_breaks(params: memoryview) -> memoryview:
    """Return a copy in which line breaks are blanks."""
    return memoryview(bytes(params).replace(b"\n", b" ").replace(b"\r", b" "))


def request_pieces(index: int, group: int, custom_id: str, params: memoryview) -> tuple[bytes, memoryview, bytes]:
    """Return what `encode_request` writes, in pieces and without copying `params`, which hold no line break."""
    head = b'{"index":%d,"group":%d,"custom_id":"%s","params":' % (index, group, custom_id.encode())
    checksum = zlib.crc32(b"}", zlib.crc32(params, zlib.crc32(head)))
    return b"%08x%s" % (checksum, head), params, _REQUEST_END


def request_length(index: int, group: int, custom_id: str, params_bytes: int) -> int:
    """Return how many bytes `request_pieces` has."""
    return _REQUEST_BYTES_MIN + len(f"{index}{group}{custom_id}") + params_bytes


_REQUEST_BYTES_MIN: Final = len(b"".join(request_pieces(0, 0, "", memoryview(b"")))) - len("00")


def decode_requests(data: bytes) -> list[StoredRequest]:
    """Read the stored requests of one shard; a line that was damaged on disk comes back marked as such."""
    return [_decode_request(line, number) for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"))]


def _decode_request(line: bytes, number: int) -> StoredRequest:
    checksum, text = line[:_CHECKSUM_LENGTH], memoryview(line)[_CHECKSUM_LENGTH:]
    if checksum == b"%08x" % zlib.crc32(text):
        return _REQUEST.decode(text)
    found = _READABLE_ID.search(line)
    custom_id = found.group(1).decode() if found else f"unreadable-{number}"
    return StoredRequest(index=number, group=0, custom_id=custom_id, params=msgspec.Raw(b"{}"), damaged=True)
