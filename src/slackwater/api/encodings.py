"""Content codings of a request body, undone in steps of bounded output, so that a bomb costs no memory (B5)."""

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.limits import MIB

STEP_BYTES_MAX = MIB // 4
ZSTD_INPUT_BYTES = 128
"""zstd expands at most 32,768-fold and cannot be told where to stop, so that its input is what bounds a step: 4 MiB."""
ZSTD_WINDOW_BYTES_MAX = 8 * MIB  # B5; also what RFC 8878 asks every decoder to support
MEMBERS_MAX = 10_000
"""A member costs time even when it is empty. 256 MiB in bgzip's members of 64 KiB, the smallest in use, are 4,096."""


class Member(Protocol):
    """What zlib and zstandard offer for one self-contained stretch of a coding."""

    @property
    def eof(self) -> bool:
        """True once the member is complete."""

    @property
    def unused_data(self) -> bytes:
        """What followed it."""


class Decoder(Protocol):
    """Undoes one coding, fed piece by piece."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what this piece decodes to, in bounded steps. Raises InvalidRequestError."""

    def finish(self) -> None:
        """Check that nothing is missing. Raises InvalidRequestError."""


def invalid(detail: str) -> InvalidRequestError:
    """Build the error for a body that is not what its Content-Encoding says."""
    message = f"The request body could not be decoded: {detail}"
    return InvalidRequestError(message, error_code="request_body_encoding_invalid")


class Gzip:
    """gzip, of one member or of many."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what this piece decodes to."""
        while data:
            member = self._open()
            yield from _inflate(member, data, "gzip")
            data = b""
            if member.eof:
                data = member.unused_data
                self._member = None

    def finish(self) -> None:
        """Check that the last member is complete."""
        if self._member is not None or self._members == 0:
            detail = "gzip: the data ends too early"
            raise invalid(detail)

    def _open(self) -> "zlib._Decompress":
        if self._member is None:
            self._members = _count(self._members, "gzip")
            self._member = zlib.decompressobj(wbits=31)
        return self._member


class Deflate:
    """`deflate`: zlib's format as RFC 9110 has it, or the raw stream that some clients send by that name."""

    def __init__(self) -> None:
        self._start = b""
        self._stream: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what this piece decodes to."""
        if self._stream is None:
            data = self._start + data
            if len(data) < 2:  # noqa: PLR2004  # zlib's header is two bytes
                self._start = data
                return
            self._stream = zlib.decompressobj(wbits=15 if _has_zlib_header(data) else -15)
        yield from _inflate(self._stream, data, "deflate")
        if self._stream.unused_data:
            detail = "deflate: there is data after the end"
            raise invalid(detail)

    def finish(self) -> None:
        """Check that the stream is complete."""
        if self._stream is None or not self._stream.eof:
            detail = "deflate: the data ends too early"
            raise invalid(detail)


class Zstd:
    """zstd, of one frame or of many."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._frames = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what this piece decodes to."""
        for start in range(0, len(data), ZSTD_INPUT_BYTES):
            piece = data[start : start + ZSTD_INPUT_BYTES]
            while piece:
                frame = self._open()
                try:
                    yield frame.decompress(piece)
                except zstandard.ZstdError as error:
                    detail = "zstd: not a valid frame, or one that needs a window above 8 MiB"
                    raise invalid(detail) from error
                piece = b""
                if frame.eof:
                    piece = frame.unused_data
                    self._frame = None

    def finish(self) -> None:
        """Check that the last frame is complete."""
        if self._frame is not None or self._frames == 0:
            detail = "zstd: the data ends too early"
            raise invalid(detail)

    def _open(self) -> "zstandard.ZstdDecompressionObj":
        if self._frame is None:
            self._frames = _count(self._frames, "zstd")
            self._frame = self._decompressor.decompressobj()
        return self._frame


_DECODERS: dict[str, Callable[[], Decoder]] = {"gzip": Gzip, "x-gzip": Gzip, "deflate": Deflate, "zstd": Zstd}


def decoder(headers: list[str]) -> Decoder | None:
    """Return what undoes the given Content-Encoding header values, None for nothing to undo (contract §1.7).

    Raises InvalidRequestError for an unknown coding and for more than one.
    """
    codings = [coding.strip().lower() for value in headers for coding in value.split(",")]
    applied = [coding for coding in codings if coding not in {"", "identity"}]
    if not applied:
        return None
    if len(applied) > 1 or applied[0] not in _DECODERS:
        message = (
            f"Content-Encoding `{', '.join(applied)}` is not supported; use one of gzip, deflate, zstd or identity"
        )
        raise InvalidRequestError(message, error_code="request_body_encoding_unsupported")
    return _DECODERS[applied[0]]()


def _inflate(member: "zlib._Decompress", data: bytes, coding: str) -> Iterator[bytes]:
    try:
        while data or not member.eof:
            step = member.decompress(data, STEP_BYTES_MAX)
            yield step
            data = member.unconsumed_tail
            if not data and len(step) < STEP_BYTES_MAX:
                return
    except zlib.error as error:
        detail = f"{coding}: the data is damaged or of another kind"
        raise invalid(detail) from error


def _count(members: int, coding: str) -> int:
    if members >= MEMBERS_MAX:
        detail = f"{coding}: too many members"
        raise invalid(detail)
    return members + 1


def _has_zlib_header(data: bytes) -> bool:
    return data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
