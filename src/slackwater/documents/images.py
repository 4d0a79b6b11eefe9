"""What an image's header says: pixels are never decoded here, a few bytes can stand for gigabytes of them (C6)."""

import struct
from collections.abc import Callable
from typing import Final

from slackwater.domain.document import IMAGE_PIXELS_MAX, DocumentError, ImageFacts

SEGMENTS_MAX: Final = 2_000
"""How many segments of a JPEG are looked through for the one with its size."""
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that begin a frame; the three in between say other things."""
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a length."""
_NOT_HEADERS: Final = frozenset({0xD9, 0xDA})
"""Where a JPEG's header is over: its end, and the start of pixels."""
_NAMES: Final = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WebP"}


class _CutError(Exception):
    """The header ends too early, or says nothing sensible."""


def look_at_image(data: bytes, *, media_type: str | None = None, side_pixels_max: int = IMAGE_PIXELS_MAX) -> ImageFacts:
    """Return type and size. Raises DocumentError for what is no image, is not of its declared type, or is too large."""
    found = image_type(data)
    if found is None:
        raise DocumentError(f"The data is not a PNG, JPEG, GIF or WebP image{_resemblance(data)}")
    if media_type is not None and media_type != found:
        raise DocumentError(
            f"The image was specified using the {media_type} media type, but its bytes are a {_NAMES[found]} image's"
        )
    try:
        width, height = _SIZES[found](data)
    except (struct.error, IndexError, _CutError):
        width = height = 0
    if not (width and height):
        raise DocumentError(f"The {_NAMES[found]} image is cut off or damaged: its size cannot be read")
    facts = ImageFacts(media_type=found, width=width, height=height)
    facts.check_size(side_pixels_max)
    return facts


def image_type(head: bytes) -> str | None:
    """Return the media type that the first bytes stand for."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def _png(data: bytes) -> tuple[int, int]:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:  # noqa: PLR2004  # an IHDR's only length
        raise _CutError
    return width, height


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(SEGMENTS_MAX):
        if data[at] != 0xFF:  # noqa: PLR2004  # what every marker begins with
            raise _CutError
        marker = data[at + 1]
        if marker == 0xFF:  # noqa: PLR2004  # a marker may be preceded by more of them
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        elif marker in _NOT_HEADERS:
            break
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            at += 2 + max(2, length)
    raise _CutError


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(_exactly(data, 24, 3), "little"), 1 + int.from_bytes(_exactly(data, 27, 3), "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _CutError


_SIZES: Final[dict[str, Callable[[bytes], tuple[int, int]]]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/webp": _webp,
}


def _exactly(data: bytes, at: int, length: int) -> bytes:
    piece = data[at : at + length]
    if len(piece) != length:
        raise _CutError
    return piece


def _resemblance(data: bytes) -> str:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        return ": it is empty"
    if head.startswith(b"%pdf-"):
        return ": it looks like a PDF"
    if b"<svg" in head:
        return ": it looks like SVG"
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return ": it looks like HTML"
    return ""
