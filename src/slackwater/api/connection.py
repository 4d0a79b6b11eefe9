"""A client's connection: uvicorn's, plus the limits and refusals it lacks (B1, B2, B3), with our error envelope.

Whoever is slow on purpose is cut off by three timers: one for the head, a rate for the body, and uvicorn's own for idle
connections. The body's rate only counts while we are willing to read. What two parsers might read differently is
refused. Who ends its own side of a connection has left: that looks like any other goodbye.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from slackwater.api.joining import JoiningTransport
from slackwater.domain.errors import InvalidRequestError, OverloadedError, WireError
from slackwater.domain.ids import REQUEST
from slackwater.domain.limits import MIB
from slackwater.wire.errors import encode_error

BUFFER_BYTES = 64 * 1024
"""Of a body, ahead of the application."""
DISCARD_BYTES_MAX = 512 * MIB
"""Of a body after its answer, so that the client gets to read the answer instead of a reset."""
LINGER_SECONDS = 2.0
"""After a refusal, for the same reason: a connection closed with bytes unread is reset."""
VERSIONS = frozenset({"1.0", "1.1"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """What a client may ask of us before its request is worked on; B2 and B3 give the numbers."""

    head_seconds: float = 10.0
    """From the first byte, or the connection, to the end of the head."""
    body_window_seconds: float = 20.0
    body_window_bytes: int = 20_000
    """Least number of bytes in each window: 1 kB/s."""
    head_bytes_max: int = 32 * 1024
    headers_max: int = 100
    target_bytes_max: int = 8 * 1024
    connections_max: int = 10_000
    """Open at once; more are told that it is too much (529) and closed, so that files can still be opened."""


class Connection(HttpToolsProtocol):
    """One HTTP/1.1 connection."""

    new_id: ClassVar[Callable[[str], str]]
    patience: ClassVar[Patience] = Patience()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's arguments, passed on
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._in_body = False
        self._heads = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._bare_bytes = 0
        """Received inside a body without being of it, one piece after the other: chunk extensions, trailers."""
        self._discarded_bytes = 0
        self._held = False
        """Whether reading was paused in this window of the body: then its rate says nothing about the client."""
        self._deaf = False
        """Nothing more is read: the client was refused, or will be gone after the answers it has to get."""
        self._timer: asyncio.TimerHandle | None = None
        self._timed = (0, True, False)
        """What the timer is for."""
        self._is_closing: Callable[[], bool]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        self._is_closing = transport.is_closing  # asked several times a request
        super().connection_made(JoiningTransport(transport))  # type: ignore[arg-type]  # uvicorn narrows it too
        if len(self.connections) > self.patience.connections_max:
            self._deaf = True
            self.transport.write(self._written(OverloadedError(), OverloadedError.status))
            self.transport.close()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a head that goes on for ever ends here."""
        if self._is_over():
            return
        heads, body_bytes = self._heads, self._body_bytes
        self._unset_keepalive_if_required()
        self._parse(memoryview(data))
        if self._is_over():
            return
        if self._in_head and self._heads in {heads, 1}:  # so that the whole piece belongs to this head
            self._head_bytes += len(data)
            self._check_head()
        elif self._in_body:
            self._bare_bytes = self._bare_bytes + len(data) if self._body_bytes == body_bytes else 0
            if self._bare_bytes > self.patience.head_bytes_max:
                self._refuse_head(431, "The chunk extensions or trailers are too large")
        self._set_timer()

    def on_message_begin(self) -> None:
        """Begin a new head."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._heads += 1

    def on_url(self, url: bytes) -> None:
        """Measure the target."""
        super().on_url(url)
        if len(self.url) > self.patience.target_bytes_max:
            self._refuse_head(414, "The request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the headers; what comes after the body is not one of them, whatever it says (RFC 9110 §6.5.1)."""
        if not self._in_head:
            return
        super().on_header(name, value)
        if len(self.headers) > self.patience.headers_max:
            self._refuse_head(431, "There are too many headers")

    def on_headers_complete(self) -> None:
        """Check what the parser lets through, then let the application begin."""
        self._in_head, self._in_body = False, True
        self._body_bytes, self._bare_bytes, self._discarded_bytes = 0, 0, 0
        self._head_bytes = sum([len(name) + len(value) + 4 for name, value in self.headers])
        self._check_head()
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            self._refuse_head(400, "The HTTP version must be 1.1 or 1.0")
        if _is_ambiguous(self.headers, version):
            self._refuse_head(400, "Content-Length and Transfer-Encoding must be unambiguous")
        if not self._is_over() and not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Buffer for the application, or discard after its answer."""
        self._body_bytes += len(body)
        if self._is_over():
            return
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > DISCARD_BYTES_MAX:
                self.transport.abort()
            return
        self.cycle.body += body
        if len(self.cycle.body) > BUFFER_BYTES:
            self.flow.pause_reading()
            self._held = True
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End the body."""
        self._in_body = False
        if not self._is_over() and not self.parser.should_upgrade():
            super().on_message_complete()

    def shutdown(self) -> None:
        """Let answers in progress finish; a client that was refused is not waited for."""
        super().shutdown()
        if self._deaf and self.cycle is not None and self.cycle.disconnected:
            self.transport.close()

    def refuse(self, error: WireError, status: int | None = None) -> None:
        """Answer with an envelope and close; an application at work learns that its client is gone.

        What was asked before on this connection is answered first, and then this is not: whoever waits for those
        answers must not take the refusal for one of them.
        """
        self._stop_timer()
        if self._is_over():
            return
        cycle = self.cycle
        working = cycle is not None and not cycle.response_complete
        if working and self._in_head:
            self._deaf = True
            cycle.keep_alive = False
            return
        if working:
            cycle.disconnected = True
            cycle.message_event.set()
        if not (working and (cycle.response_started or self.pipeline)):
            self.transport.write(self._written(error, status or error.status))
        self._leave()

    def _leave(self) -> None:
        """Say goodbye and read on for a moment, or the client would see a reset instead of its answer."""
        self._deaf = True
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _is_over(self) -> bool:
        return self._deaf or self._is_closing()

    def _parse(self, data: memoryview) -> None:
        while data and not self._is_over():
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offered:
                data = data[offered.args[0] :]
                self._decline_upgrade()
            except httptools.HttpParserError:
                self.refuse(InvalidRequestError("Invalid HTTP request received."))
            else:
                return

    def _decline_upgrade(self) -> None:
        """Read the HTTP request as if no other protocol had been offered: the parser skips the body after an offer.

        Java's client offers HTTP/2 with its first request.
        """
        kept = [(name, value) for name, value in self.headers if name != b"upgrade"]
        if len(kept) == len(self.headers):  # a CONNECT
            self.refuse(InvalidRequestError("Invalid HTTP request received."))
            return
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(line + b"".join(b"%s: %s\r\n" % header for header in kept) + b"\r\n")

    def _written(self, error: WireError, status: int) -> bytes:
        request_id = type(self).new_id(REQUEST)
        body = encode_error(error, request_id)
        head = (
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"request-id: %s\r\n" % request_id.encode(),
            b"x-should-retry: false\r\n",
            b"connection: close\r\n\r\n",
        )
        return b"".join((*head, body))

    def _check_head(self) -> None:
        if self._head_bytes > self.patience.head_bytes_max:
            self._refuse_head(431, "The request head is too large")

    def _refuse_head(self, status: int, message: str) -> None:
        self.refuse(InvalidRequestError(message), status)

    def _set_timer(self) -> None:
        """Time what is awaited now; most requests come in one piece and are never timed."""
        awaited = (self._heads, self._in_head, self._in_body)
        if awaited != self._timed:
            self._timed = awaited
            self._stop_timer()
            if self._in_head:
                self._wait_for_head()
            elif self._in_body:
                self._wait_for_body()
        if self._is_idle():
            self._wait_for_head()  # blank lines between requests are legal, but not for ever

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(self.patience.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._refuse_head(408, "The request head took too long")

    def _is_idle(self) -> bool:
        waiting = self._timer is None and self.timeout_keep_alive_task is None
        return waiting and self.cycle is not None and self.cycle.response_complete

    def _wait_for_body(self) -> None:
        self._body_bytes, self._held = 0, self.flow.read_paused
        self._timer = self.loop.call_later(self.patience.body_window_seconds, self._body_window_ends)

    def _body_window_ends(self) -> None:
        if self._held or self._body_bytes >= self.patience.body_window_bytes:
            self._wait_for_body()
            return
        message = "The request body took too long"
        self.refuse(InvalidRequestError(message, error_code="request_body_timeout"), 408)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def connection_class(new_id: Callable[[str], str], patience: Patience) -> type[Connection]:
    """Return the class uvicorn builds connections from, with ids of ours."""
    return type("Connection", (Connection,), {"new_id": staticmethod(new_id), "patience": patience})


def _is_ambiguous(headers: list[tuple[bytes, bytes]], version: str) -> bool:
    """Tell whether another parser might see another end of the body (request smuggling)."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings:
        return bool(lengths) or codings != [b"chunked"] or version == "1.0"
    return len(lengths) > 1 or any(not value.isdigit() for value in lengths)
