"""Server-sent events: named frames, a ping while nothing happens, an end when the client leaves or the server stops."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from slackwater.api.context import Context
from slackwater.api.failures import report, typed
from slackwater.api.presence import Presence, dismiss
from slackwater.wire.errors import encode_error
from slackwater.wire.objects import encode

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would otherwise hold events back
]


def frame(name: str, data: bytes) -> bytes:
    """Write one event; SDKs drop those without a name (contract §7.1)."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


async def frames(context: Context, events: AsyncIterator[tuple[str, object]]) -> AsyncGenerator[bytes]:
    """Write events as frames. A failure before the first is raised, a later one becomes `event: error`."""
    begun = False
    async with aclosing(cast("AsyncGenerator[tuple[str, object]]", events)):
        try:
            async for name, value in events:
                begun = True
                yield frame(name, encode(value))
        except Exception as error:
            if not begun:
                raise
            report(error, context)
            yield frame("error", encode_error(typed(error), context.request_id))


class EventStream:
    """Sends frames until they end, the client leaves, or (for endless streams) the server stops."""

    def __init__(self, context: Context, source: AsyncGenerator[bytes], *, until: asyncio.Event | None = None) -> None:
        self._clock = context.services.clock
        self._ping_seconds = context.services.limits.ping_seconds
        self._source = source
        self._until = until if until is not None else asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the first frame, whose failure still has a status, then send."""
        async with aclosing(self._source), Presence(receive) as presence:
            stop = asyncio.create_task(self._until.wait())
            try:
                first = await presence.during(_next(self._source))
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                if first is not None and scope["method"] != "HEAD":
                    await _send(send, first)
                    await self._forward(send, presence.left, stop)
                await send({"type": "http.response.body"})
            finally:
                await dismiss(stop)

    async def _forward(self, send: Send, left: "asyncio.Task[None]", stop: "asyncio.Task[Any]") -> None:
        step = asyncio.create_task(_next(self._source))
        ping = asyncio.create_task(self._clock.sleep(self._ping_seconds))
        try:
            while not stop.done():
                await asyncio.wait({step, ping, left, stop}, return_when=asyncio.FIRST_COMPLETED)
                if left.done():
                    raise ClientDisconnect
                if step.done():
                    piece = step.result()
                    if piece is None:
                        return
                    await _send(send, piece)
                    step = asyncio.create_task(_next(self._source))
                if ping.done():
                    await _send(send, PING)
                    ping = asyncio.create_task(self._clock.sleep(self._ping_seconds))
        finally:
            await dismiss(step, ping)


async def _next(source: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(source, None)


async def _send(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
