"""HTTP/1.1 by hand: as little work per request as possible, and full control over how an answer goes wrong.

A framework would spend more on a request than the simulator does, and would not reset a connection in the middle of a
body when asked to. One request of a connection is handled at a time; pipelined ones wait.
"""

import asyncio
import socket
import struct
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import httptools

_BODY_BYTES_MAX = 512 * 1024 * 1024
_PIPELINED_MAX = 8
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, kw_only=True, slots=True)
class HTTPRequest:
    """One HTTP request, whole."""

    method: str
    path: str
    """Without the query, as it was sent."""
    headers: dict[bytes, bytes]
    """Names in lower case."""
    body: bytes
    keep_alive: bool


Handler = Callable[[HTTPRequest, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, handler: Handler, connections: set["Connection"]) -> None:
        self._handler = handler
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[HTTPRequest] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._writable: asyncio.Future[None] | None = None
        self.on_message_begin()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # a stream transport, on either loop
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Stop working for a client that has gone."""
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.respond(400, b'{"type":"error","error":{"type":"invalid_request_error","message":"not HTTP/1.1"}}')
            self._transport.close()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Note that there is room again."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Forget the last request."""
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Ask for the body where the client waits to be asked."""
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > _BODY_BYTES_MAX:
            self._transport.abort()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Handle the request, or let it wait for the one before it."""
        request = HTTPRequest(
            method=self._parser.get_method().decode(),
            path=self._url.partition(b"?")[0].decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
            keep_alive=self._parser.should_keep_alive(),
        )
        self._requests.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
        elif len(self._requests) == _PIPELINED_MAX:
            self._transport.pause_reading()

    # What the handler calls.

    def respond(
        self, status: int, body: bytes, headers: bytes = b"", *, kind: bytes = b"application/json", length: int = -1
    ) -> None:
        """Write a whole answer, or its start when `length` is larger than the body. `headers` end in CRLF each."""
        head = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n" % (
            status,
            _REASONS.get(status, "Simulated").encode(),
            kind,
            length if length >= 0 else len(body),
            headers,
        )
        self._transport.write(head + body)

    def begin(self, kind: bytes, headers: bytes = b"") -> None:
        """Start an answer of unknown length."""
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n%s\r\n" % (kind, headers)
        )

    async def chunk(self, data: bytes) -> None:
        """Write a piece of an answer of unknown length; wait while the client does not read."""
        await self.more(b"%x\r\n%s\r\n" % (len(data), data))

    async def more(self, data: bytes) -> None:
        """Write bytes as they are; wait while the client does not read."""
        self._transport.write(data)
        if self._writable is not None:
            await self._writable

    def end(self) -> None:
        """End an answer of unknown length."""
        self._transport.write(b"0\r\n\r\n")

    def close(self) -> None:
        """Close in good order."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a reset."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _work(self) -> None:
        while self._requests and not self._transport.is_closing():
            request = self._requests.popleft()
            if len(self._requests) == _PIPELINED_MAX - 1:
                self._transport.resume_reading()
            try:
                await self._handler(request, self)
            except Exception:  # noqa: BLE001  # a mistake of ours must not look like an answer
                traceback.print_exc(file=sys.stderr)
                self._transport.abort()
            if not request.keep_alive:
                self._transport.close()
        self._task = None
