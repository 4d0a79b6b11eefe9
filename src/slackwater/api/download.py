"""A fixed sequence of bytes on its way to the client: whole or one range of it, never cleanly ended short (R1, R2)."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, cast

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from slackwater.api.context import Answer, Context
from slackwater.api.failures import RangeNotSatisfiableError, failure
from slackwater.api.presence import Presence

_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.IGNORECASE)


class CutShortError(Exception):
    """The source ended before the length it had promised."""


class Source(Protocol):
    """What can be downloaded."""

    @property
    def length(self) -> int:
        """Bytes in all."""

    @property
    def etag(self) -> str:
        """A strong validator, quotes included."""

    def body(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield a range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The bytes to send."""

    offset: int
    length: int
    partial: bool
    """True for 206."""


def download(context: Context, source: Source, headers: Mapping[str, str]) -> Answer:
    """Answer with the source, or with the one range asked for; several ranges get everything (B10)."""
    span = choose(context.http.headers, source)
    if span is None:
        return failure(RangeNotSatisfiableError(), context.request_id, {"content-range": f"bytes */{source.length}"})
    return _Download(source, span, headers)


def choose(headers: Headers, source: Source) -> Span | None:
    """Pick the bytes to send (RFC 9110 §14); None when the range lies outside."""
    everything = Span(offset=0, length=source.length, partial=False)
    ranges = headers.getlist("range")
    asked = _RANGE.fullmatch(ranges[0]) if len(ranges) == 1 else None
    if asked is None or not _unchanged(headers, source) or not (asked[1] or asked[2]):
        return everything
    if not asked[1]:
        length = min(int(asked[2]), source.length)
        return Span(offset=source.length - length, length=length, partial=True) if length else None
    first = int(asked[1])
    last = min(int(asked[2]), source.length - 1) if asked[2] else source.length - 1
    if asked[2] and int(asked[2]) < first:
        return everything
    return Span(offset=first, length=last - first + 1, partial=True) if first < source.length else None


def _unchanged(headers: Headers, source: Source) -> bool:
    """Tell whether `If-Range` allows a part: only our strong tag does, a date or another tag means everything."""
    condition = headers.get("if-range")
    return condition is None or condition.strip() == source.etag


class _Download:
    def __init__(self, source: Source, span: Span, headers: Mapping[str, str]) -> None:
        self._source = source
        self._span = span
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await send(self._start())
            await send({"type": "http.response.body"})
            return
        body = cast("AsyncGenerator[bytes]", self._source.body(self._span.offset, self._span.length))
        async with Presence(receive) as presence, aclosing(body):
            piece = await anext(body, None)  # a source that fails at once still gets its own status
            await send(self._start())
            sent = 0
            while piece is not None and sent + len(piece) <= self._span.length:
                sent += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if presence.left.done():
                    raise ClientDisconnect
                piece = await anext(body, None)
            if piece is not None or sent != self._span.length:
                raise CutShortError
            await send({"type": "http.response.body"})

    def _start(self) -> dict[str, object]:
        span = self._span
        headers = {
            **self._headers,
            "content-length": str(span.length),
            "accept-ranges": "bytes",
            "etag": self._source.etag,
        }
        if span.partial:
            last = span.offset + span.length - 1
            headers["content-range"] = f"bytes {span.offset}-{last}/{self._source.length}"
        return {
            "type": "http.response.start",
            "status": 206 if span.partial else 200,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
