"""The one HTTP client behind every protocol: what it sends, what it accepts, and what each failure counts as (X7, C8).

It follows no redirect, reads no environment, asks for unencoded answers and stops at a size and a total time. It never
sends a request twice: an idle connection that the server has closed is noticed before anything is written to it, and
after that nobody can tell how far the work had come.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from slackwater import failpoints
from slackwater.backends.answers import AnswerReader, UnreadableAnswerError
from slackwater.backends.connection import Connection
from slackwater.backends.pool import Pool
from slackwater.backends.refusals import Answer, broken, cut, decode, refusal, too_slow
from slackwater.backends.sse import BrokenStreamError, EventReader, ServerEvent
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, InvalidRequestError

BODY_BYTES_MAX = 64 * 1024 * 1024
ERROR_BYTES_MAX = 64 * 1024
"""Enough of an error body to find its message."""
CONNECT_SECONDS_MAX = 10.0

HEADS_MAX = 64
"""Beginnings of requests that are kept: they differ by path, version and betas."""

_OK = 200
_END = b"\r\n"
_REDIRECTS = range(300, 400)
_ERRORS_FROM = 300
_EVENTS = "text/event-stream"


class HTTPClient:
    """Talks to one backend. Make it anywhere; the connections open on first use, inside the running loop."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        headers: Mapping[str, str],
        timeout_seconds: float,
        wall: Callable[[], datetime],
        keepalive: bool = True,
        patient: bool = False,
    ) -> None:
        """Take the base `url`, with or without `/v1`, and the `headers` that hold the key, if there is one.

        `timeout_seconds` bounds a whole exchange, the reading of a stream included; with `patient` it bounds only how
        long the other side may be silent. `wall` is asked only to read a `retry-after` that is a date. Without
        `keepalive` every call opens its own connection.
        """
        self.name = name
        root = urlsplit(url.rstrip("/").removesuffix("/v1"))
        self._root = quote(root.path, safe="/%:@!$&'()*+,;=~")
        self._secrets = [value.removeprefix("Bearer ").encode() for value in headers.values()]
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "slackwater", **headers}
        self._fixed = _written({"Host": root.netloc.encode("idna").decode(), **self._headers})
        self._heads: dict[tuple[object, ...], bytes] = {}
        self._timeout_seconds = timeout_seconds
        self._patient = patient
        self._wall = wall
        connect_seconds = min(CONNECT_SECONDS_MAX, timeout_seconds / 2)
        self._pool = Pool(url, connect_seconds=connect_seconds, keepalive=keepalive)

    async def post(self, path: str, body: Mapping[str, Any], *, model: str) -> Any:  # noqa: ANN401  # JSON is any value
        """Post JSON and return the decoded answer. Raises what a Backend may raise; `model` is the client's name."""
        return self.accept(await self.exchange("POST", path, body), model=model)

    async def get(self, path: str) -> Any:  # noqa: ANN401
        """Get and decode JSON."""
        return self.accept(await self.exchange("GET", path), model="")

    def accept(self, answer: Answer, *, model: str) -> Any:  # noqa: ANN401
        """Decode a 2xx answer; raise for any other."""
        if answer.status in _REDIRECTS:
            reason = f"answered {answer.status}: redirects are not followed"
            raise broken(reason)
        if answer.status != _OK:
            raise refusal(answer, model=model, wall=self._wall)
        return decode(answer.body)

    async def exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send, and return whatever was answered, its body bounded. Raises only for failures of the transport."""
        connection, reader = await self._send(method, path, body, headers)
        try:
            if failpoints.armed:
                failpoints.hit("backend.before_receive")
            await connection.heard(reader)
            if failpoints.armed:
                failpoints.hit("backend.after_receive")
            return self._answer(reader)
        except (UnreadableAnswerError, OSError) as error:
            raise _failure(error) from error
        finally:
            self._pool.give_back(connection)

    async def events(
        self, path: str, body: Mapping[str, Any], *, model: str, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
        """Post JSON and yield the server-sent events of the answer; closing the iterator closes the connection."""
        connection, reader = await self._send("POST", path, body, {"Accept": _EVENTS, **(headers or {})})
        try:
            await connection.heard(reader, piecemeal=True)
            media_type = reader.headers.get("content-type", "").partition(";")[0].strip().lower()
            if reader.status != _OK or media_type != _EVENTS:
                await connection.heard(reader)
                self.accept(self._answer(reader), model=model)
                reason = f"answered {media_type or 'something'} in place of a stream"
                raise broken(reason)
            async with aclosing(_events(connection, reader)) as events:
                async for event in events:
                    yield event
        except (UnreadableAnswerError, OSError) as error:
            raise _failure(error) from error
        finally:
            self._pool.give_back(connection)

    async def reopen(self, *, keepalive: bool) -> None:
        """Change whether connections are used again, while no call is under way."""
        if keepalive != self._pool.keepalive:
            self._pool.close()
            self._pool.keepalive = keepalive

    async def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[Connection, AnswerReader]:
        """Send a request; its connection must be given back."""
        head, data = self._request(method, path, body, headers)
        reader = AnswerReader(BODY_BYTES_MAX, ERROR_BYTES_MAX)
        try:
            if failpoints.armed:
                failpoints.hit("backend.before_send")
            connection, spent = await self._pool.take()
        except (OSError, UnicodeError) as error:
            raise BackendAwayError(f"cannot connect: {type(error).__name__}: {error}") from error
        connection.send(head, data, reader)
        connection.limit(self._timeout_seconds - (0.0 if self._patient else spent), silence=self._patient)
        return connection, reader

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[bytes, bytes]:
        """Write a request's head and body. Raises InvalidRequestError when the body cannot be written."""
        key = (method, path, self._pool.keepalive, *(headers.items() if headers is not None else ()))
        head = self._heads.get(key)
        if head is None:
            more = "" if self._pool.keepalive else "Connection: close\r\n"
            head = f"{method} {self._root}{path} HTTP/1.1\r\n{self._fixed}{more}{_written(headers or {})}".encode()
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            self._heads[key] = head
        if body is None:
            return head + _END, b""
        data = body if isinstance(body, bytes) else _encode(body)
        return b"%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (head, len(data)), data

    def _answer(self, reader: AnswerReader) -> Answer:
        """Return a whole answer, or the beginning of an error, in which our key is blotted out if it is quoted."""
        body = reader.body
        if reader.status >= _ERRORS_FROM:
            body = body[:ERROR_BYTES_MAX]
            for secret in self._secrets:
                body = body.replace(secret, b"***")
            return Answer(reader.status, body, reader.headers)
        if reader.over:
            body.clear()  # the traceback keeps it
            raise _too_large()
        return Answer(reader.status, body)


def _written(headers: Mapping[str, str]) -> str:
    """Write headers. Raises ValueError for one that would end its line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\r") + lines.count("\n") != 2 * len(headers) or "\0" in lines:
        message = "a header holds a line break"
        raise ValueError(message)
    return lines


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (UnicodeError, RecursionError, TypeError, ValueError) as error:
        message = "The request holds values that cannot be written as JSON."
        raise InvalidRequestError(message) from error


async def _events(connection: Connection, reader: AnswerReader) -> AsyncGenerator[ServerEvent, None]:
    events = EventReader()
    while True:
        piece = bytes(reader.body)
        reader.body.clear()
        for event in _feed(events, piece):
            yield event
        if reader.over:
            raise _too_large()
        if reader.whole and not reader.body:
            return
        await connection.heard(reader, piecemeal=True)


def _too_large() -> AttemptFailedError:
    return broken(f"the answer is larger than {BODY_BYTES_MAX} bytes")


def _feed(reader: EventReader, piece: bytes) -> list[ServerEvent]:
    try:
        return reader.feed(piece)
    except BrokenStreamError as error:
        raise broken(str(error)) from error


def _failure(error: Exception) -> AttemptFailedError:
    """Sort a failure of the transport: no answer, too slow, or cut (X7)."""
    if isinstance(error, UnreadableAnswerError):
        return broken(f"the answer is not HTTP: {error}")
    if isinstance(error, TimeoutError):
        return too_slow("no answer in time")
    return cut(f"the exchange failed: {type(error).__name__}")
