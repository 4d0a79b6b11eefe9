"""The body of an HTTP request, decoded and measured while it streams in (contract §1.7, §1.8; B4, B5).

The limit holds for decoded bytes, and at once for what `Content-Length` announces: nobody uploads for nothing.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

from slackwater.api.context import Context, HTTPRequest
from slackwater.api.encodings import Decoder, decoder
from slackwater.domain.errors import InvalidRequestError, RequestTooLargeError

_CHARSET = re.compile(r""";\s*charset\s*=\s*("[^"]*"|[^\s;,]*)""", re.IGNORECASE)
_UTF8 = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
_LATIN1 = frozenset({"iso-8859-1", "iso8859-1", "iso_8859-1", "latin-1", "latin1"})


async def whole(context: Context, bytes_max: int) -> bytes:
    """Return the whole body as UTF-8 (unchecked). Raises what `pieces` raises."""
    return b"".join([piece async for piece in pieces(context, bytes_max)])


def exact_length(context: Context) -> int | None:
    """Return how long the body that `pieces` yields will be, where that is known before it has arrived."""
    headers = context.http.headers
    announced = headers.get("content-length", "")
    plain = decoder(headers.getlist("content-encoding")) is None and not _is_latin1(context.http)
    return int(announced) if plain and announced.isdecimal() else None


async def pieces(context: Context, bytes_max: int, *, text: bool = True) -> AsyncIterator[bytes]:
    """Yield the body in pieces of a few MiB at most, a text as UTF-8 (unchecked).

    Raises InvalidRequestError for a coding or charset we cannot undo, RequestTooLargeError, and ClientDisconnect.
    """
    http = context.http
    announced = http.headers.get("content-length", "")
    coding = decoder(http.headers.getlist("content-encoding"))
    latin1 = text and _is_latin1(http)
    if announced.isdecimal() and int(announced) > bytes_max:
        raise RequestTooLargeError
    received = 0
    stream = _raw(http, bytes_max) if coding is None else _decoded(_raw(http, bytes_max), coding)
    async for piece in stream:
        decoded = piece.decode("latin-1").encode() if latin1 else piece
        received += len(decoded)
        if received > bytes_max:
            code = "request_body_too_large_after_decoding" if coding is not None else None
            raise RequestTooLargeError(error_code=code)
        yield decoded


async def _raw(http: HTTPRequest, bytes_max: int) -> AsyncIterator[bytes]:
    received = 0
    async for piece in http.stream():
        received += len(piece)
        if received > bytes_max:
            raise RequestTooLargeError
        if piece:
            yield piece


async def _decoded(stream: AsyncIterator[bytes], coding: Decoder) -> AsyncIterator[bytes]:
    """Decode in a thread, one bounded step at a time: a small piece can decode to a great deal."""
    async for piece in stream:
        steps = coding.feed(piece)
        while (step := await asyncio.to_thread(_next, steps)) is not None:
            if step:
                yield step
    coding.finish()


def _next(steps: Iterator[bytes]) -> bytes | None:
    return next(steps, None)


def _is_latin1(http: HTTPRequest) -> bool:
    """Tell whether the body must be transcoded. Raises InvalidRequestError for any other charset (contract §1.4)."""
    found = _CHARSET.search(http.headers.get("content-type", ""))
    charset = found[1].strip('"').lower() if found else ""
    if charset in _UTF8:
        return False
    if charset in _LATIN1:
        return True
    message = f"content-type: charset `{charset[:64]}` is not supported; use UTF-8, ISO-8859-1 or US-ASCII"
    raise InvalidRequestError(message, error_code="unsupported_charset")
