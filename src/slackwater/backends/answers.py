"""The bytes of one HTTP/1.1 answer, read as they come, whatever they are: no sockets, no time.

The parser is llhttp, as strict as it comes. What it does not bound is bounded here: a head, a trailer or a chunk's
extension without end, a body, and what a compressed body becomes.
"""

import zlib
from typing import Any

import httptools

HEAD_BYTES_MAX = 64 * 1024
"""Bytes in a row that are no body: a head, trailers. Servers send well under one kilobyte."""

_GZIP_OR_ZLIB = 47
"""The window size that has zlib find out which of the two it is."""
_COMPRESSED = frozenset({b"gzip", b"x-gzip", b"deflate"})
_SWITCHING = 101
_FINAL_FROM = 200
_ERRORS_FROM = 300


class UnreadableAnswerError(Exception):
    """The answer is not HTTP/1.1 as we speak it."""


class AnswerReader:
    """Reads one answer. `feed` it until it is `whole` or `over`, or `end` it where the connection ends."""

    __slots__ = ("_beside", "_head", "_inflate", "_limit", "_limits", "_parser", "_sized", "begun", "body", "over",
                 "received", "reusable", "status", "whole")  # fmt: skip

    def __init__(self, body_bytes_max: int, error_bytes_max: int) -> None:
        """Begin; the second limit counts where the status is not 2xx."""
        self.status = 0
        self.body = bytearray()
        """What came so far, decoded; whoever reads piece by piece takes it out."""
        self.received = 0
        """Bytes of the body so far, decoded."""
        self.begun = False
        """The head is complete."""
        self.whole = False
        """All of it is here."""
        self.over = False
        """The body is larger than its limit: nothing more of it is read."""
        self.reusable = False
        """Another exchange may follow on the same connection."""
        self._head: list[tuple[bytes, bytes]] = []
        self._limits = body_bytes_max, error_bytes_max
        self._limit = 0
        self._beside = 0
        self._sized = True
        self._inflate: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
        """None once the answer is whole: it holds this reader, and two that hold each other stay in memory for long."""

    @property
    def headers(self) -> dict[str, str]:
        """By names in lower case; of a repeated one the first."""
        return {str(name, "latin-1"): str(value, "latin-1") for name, value in self._named().items()}

    def _named(self) -> dict[bytes, bytes]:
        return {name.lower(): value for name, value in reversed(self._head)}

    def feed(self, data: bytes) -> None:
        """Take what arrived. Raises UnreadableAnswerError."""
        if self.whole:
            self.reusable = False  # an answer to nothing, or to somebody else
            return
        self._beside += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self.whole:
                ours = isinstance(error, httptools.HttpParserCallbackError)
                raise UnreadableAnswerError(type(error.__context__ if ours else error).__name__) from error
        if self.whole:
            self.close()
        elif self._beside > HEAD_BYTES_MAX:
            message = "a head or a trailer without end"
            raise UnreadableAnswerError(message)

    def end(self) -> bool:
        """Hear that the other side has ended the connection; tell whether the answer is whole."""
        self.reusable = False
        if self.begun and not self._sized and (self._inflate is None or self._inflate.eof):
            self.whole = True
        return self.whole

    def close(self) -> None:
        """Read no more."""
        self._parser = None

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin an answer; a second one was not asked for."""
        if self.whole:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, and not what follows a body."""
        if not self.begun:
            self._head.append((name, value))

    def on_headers_complete(self) -> None:
        """Look at the head, unless it is an interim one, which the real one follows."""
        if self.whole:
            return
        status = self._parser.get_status_code()
        if status < _FINAL_FROM and status != _SWITCHING:
            self._head.clear()
            return
        self.status = status
        self.begun = True
        self._limit = self._limits[status >= _ERRORS_FROM]
        self._read_framing()

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self.whole or self.over:
            return
        self._beside = 0
        if self._inflate is not None:
            piece = b"" if self._inflate.eof else self._inflate.decompress(piece, self._limit + 1 - self.received)
        self.body += piece
        self.received += len(piece)
        self.over = self.received > self._limit

    def on_message_complete(self) -> None:
        """Note that the answer is whole, if it is one."""
        if not self.begun or self.whole:
            return
        if self._inflate is not None and not self._inflate.eof and not self.over:
            message = "the encoded body is cut short"
            raise UnreadableAnswerError(message)
        self.whole = True
        self.reusable = self._parser.should_keep_alive()

    def _read_framing(self) -> None:
        """Read how the body is written. Raises UnreadableAnswerError for what was not asked for."""
        named = self._named()
        transfer, length = named.get(b"transfer-encoding"), named.get(b"content-length")
        if transfer is not None and transfer.strip().lower() != b"chunked":
            message = "an unknown transfer-encoding"
            raise UnreadableAnswerError(message)
        self._sized = transfer is not None or length is not None
        if length is not None and self.status < _ERRORS_FROM:
            self.over = int(length) > self._limit
        encoding = named.get(b"content-encoding", b"").strip().lower()
        if encoding in _COMPRESSED:
            self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        elif encoding not in {b"", b"identity"}:
            message = "an unknown content-encoding"
            raise UnreadableAnswerError(message)
