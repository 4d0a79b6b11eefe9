"""Answers gone wrong: bodies and events that a client must never take for an answer."""

import re
from collections.abc import Callable

from slackwater.backends.simulated.connection import Connection
from slackwater.backends.simulated.dialects import Dialect
from slackwater.backends.simulated.faults import Fault, FaultKind
from slackwater.domain.errors import APIError
from slackwater.ports import Clock

_DEEP_LEVELS = 100_000
_PIECE = b"x" * 65_536
_MEBIBYTE = 1 << 20
_DRIBBLED_PIECES = 20
_ENDLESS_PAUSE_SECONDS = 0.001
_JSON = b"application/json"
_DEEP = b'{"content":' + b"[" * _DEEP_LEVELS + b"]" * _DEEP_LEVELS + b"}"
_WRONG_SHAPE = b'{"type":"message","role":"assistant","content":"not a list","choices":{"message":"not a list"}}'
_HTML = b"<!doctype html><title>502</title><h1>A proxy's page</h1>\n"
_HUGE_START = b'{"type":"message","content":[{"type":"text","text":"'
_HUGE_END = b'"}]}'
_COUNTED_TOKENS = re.compile(rb'("(?:output|completion)_tokens":)\d+')


def _not_a_number(body: bytes) -> bytes:
    return _COUNTED_TOKENS.sub(rb"\1NaN", body)


_BODIES: dict[FaultKind, Callable[[bytes], bytes]] = {
    FaultKind.GARBAGE: lambda _body: b"\x00\xff garbage {{{ \x80",
    FaultKind.TRUNCATED: lambda body: body[: len(body) // 2],
    FaultKind.WRONGSHAPE: lambda _body: _WRONG_SHAPE,
    FaultKind.NAN: _not_a_number,
    FaultKind.DEEP: lambda _body: _DEEP,
    FaultKind.EMPTY: lambda _body: b"",
}


async def respond_spoiled(
    connection: Connection, body: bytes, fault: Fault, *, dialect: Dialect, clock: Clock, headers: bytes
) -> None:
    """Write a spoiled answer in place of a good body."""
    kind = fault.kind
    if kind in _BODIES:
        connection.respond(200, _BODIES[kind](body), headers)
    elif kind is FaultKind.HTML:
        connection.respond(200, _HTML, headers, kind=b"text/html")
    elif kind is FaultKind.ERROR200:
        connection.respond(200, dialect.error(APIError(), 200, "req_simulated"), headers)
    elif kind is FaultKind.WRONGLENGTH:
        connection.respond(200, body, headers, length=len(body) + 100)
        connection.close()
    elif kind is FaultKind.CUT:
        connection.respond(200, body[: len(body) // 2], headers, length=len(body))
        # Half the body must be on its way before the reset overtakes it.
        await clock.sleep(0.01)
        connection.reset()
    else:
        await _respond_at_length(connection, body, fault, clock, headers)


async def _respond_at_length(connection: Connection, body: bytes, fault: Fault, clock: Clock, headers: bytes) -> None:
    if fault.kind is FaultKind.SLOW:
        connection.respond(200, b"", headers, length=len(body))
        size = max(1, -(-len(body) // _DRIBBLED_PIECES))
        for start in range(0, len(body), size):
            await clock.sleep(fault.seconds / _DRIBBLED_PIECES)
            await connection.more(body[start : start + size])
    elif fault.kind is FaultKind.HUGE:
        filling = fault.body_mebibytes * _MEBIBYTE
        connection.respond(200, _HUGE_START, headers, length=len(_HUGE_START) + filling + len(_HUGE_END))
        for _ in range(filling // len(_PIECE)):
            await connection.more(_PIECE)
        await connection.more(_HUGE_END)
    else:
        connection.begin(_JSON, headers)
        while True:
            await connection.chunk(b" " * 1024)
            await clock.sleep(_ENDLESS_PAUSE_SECONDS)


_FRAMES: dict[FaultKind, bytes] = {
    FaultKind.GARBAGE: b"event: content_block_delta\ndata: \x00\xff garbage {{{ \x80\n\n",
    FaultKind.WRONGSHAPE: b'event: message_delta\ndata: {"type":"message_delta","delta":5,"choices":"none"}\n\n',
    FaultKind.NAN: b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":NaN}}\n\n',
    FaultKind.DEEP: b"event: content_block_delta\ndata: %s\n\n" % _DEEP,
}
"""Events that stand in the middle of a spoiled stream; it ends after them."""


async def stream_spoiled(connection: Connection, fault: Fault, *, dialect: Dialect, clock: Clock) -> None:
    """Go on with a stream that was right up to its middle, and end it."""
    kind = fault.kind
    if kind is FaultKind.CUT:
        # Otherwise the reset overtakes what was written.
        await clock.sleep(0.01)
        connection.reset()
        return
    if kind is FaultKind.WRONGLENGTH:
        connection.close()
        return
    if kind in _FRAMES:
        await connection.chunk(_FRAMES[kind])
    elif kind is FaultKind.ERROR200:
        await connection.chunk(dialect.error_frame(dialect.error(APIError(), 500, "req_simulated")))
    elif kind is FaultKind.HUGE:
        await connection.chunk(b"event: content_block_delta\ndata: ")
        for _ in range(fault.body_mebibytes * _MEBIBYTE // len(_PIECE)):
            await connection.chunk(_PIECE)
    while kind is FaultKind.ENDLESS:
        await connection.chunk(dialect.ping)
        await clock.sleep(_ENDLESS_PAUSE_SECONDS)
    connection.end()
