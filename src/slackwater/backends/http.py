"""The one HTTP client behind every protocol: what it sends, what it accepts, and what each failure counts as (X7, C8).

It follows no redirect, reads no environment, asks for unencoded answers and stops at a size and a total time. It never
sends a request twice: an idle connection that the server has closed is noticed before anything is written to it, and
after that nobody can tell how far the work had come.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from slackwater.backends.refusals import Answer, broken, cut, decode, refusal, too_slow
from slackwater.backends.sse import BrokenStreamError, EventReader, ServerEvent
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, InvalidRequestError

BODY_BYTES_MAX = 64 * 1024 * 1024
ERROR_BYTES_MAX = 64 * 1024
"""Enough of an error body to find its message."""
CONNECT_SECONDS_MAX = 10.0
KEEPALIVE_SECONDS = 3.0
"""Below the 5 s after which uvicorn (vLLM, SGLang) and llama.cpp close idle connections: we must be the first to."""

_OK = 200
_REDIRECTS = range(300, 400)
_ERRORS_FROM = 300


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
        self._root = url.rstrip("/").removesuffix("/v1")
        self._secrets = [value.removeprefix("Bearer ").encode() for value in headers.values()]
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "slackwater", **headers}
        self._timeout = aiohttp.ClientTimeout(
            total=None if patient else timeout_seconds,
            sock_connect=min(CONNECT_SECONDS_MAX, timeout_seconds / 2),
            sock_read=timeout_seconds if patient else None,
        )
        self._wall = wall
        self._keepalive = keepalive
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, path: str, body: Mapping[str, Any], *, model: str, headers: Mapping[str, str] | None = None
    ) -> Any:  # noqa: ANN401  # JSON is any value
        """Post JSON and return the decoded answer. Raises what a Backend may raise; `model` is the client's name."""
        return self.accept(await self.exchange("POST", path, body, headers=headers), model=model)

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
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send, and return whatever was answered, its body bounded. Raises only for failures of the transport."""
        data, sent = self._prepared(body, headers)
        try:
            async with await self._send(method, path, data, sent) as response:
                return await self._read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure(error) from error

    async def events(
        self, path: str, body: Mapping[str, Any], *, model: str, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
        """Post JSON and yield the server-sent events of the answer; closing the iterator closes the connection."""
        reader = EventReader()
        received = 0
        async with self._streaming(path, body, {"Accept": "text/event-stream", **(headers or {})}) as response:
            if response.status != _OK or response.content_type != "text/event-stream":
                self.accept(await self._read(response), model=model)
                reason = f"answered {response.content_type} in place of a stream"
                raise broken(reason)
            async for piece in response.content.iter_any():
                received += len(piece)
                if received > BODY_BYTES_MAX:
                    raise _too_large()
                for event in _feed(reader, piece):
                    yield event

    async def reopen(self, *, keepalive: bool) -> None:
        """Change whether connections are used again, while no call is under way."""
        if keepalive != self._keepalive:
            self._keepalive = keepalive
            await self.close()
            self._session = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _streaming(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        data, sent = self._prepared(body, headers)
        try:
            async with await self._send("POST", path, data, sent) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure(error) from error

    def _prepared(
        self, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> tuple[aiohttp.BytesPayload | None, dict[str, str]]:
        sent = self._headers if headers is None else {**self._headers, **headers}
        return None if body is None else aiohttp.BytesPayload(_encode(body), content_type="application/json"), sent

    async def _send(
        self, method: str, path: str, data: aiohttp.BytesPayload | None, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        session = self._open()
        await _NoticeClosed()
        return await session.request(method, self._root + path, data=data, headers=headers, allow_redirects=False)

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        """Read a whole answer, or the beginning of an error, in which our key is blotted out if it is quoted."""
        if response.status >= _ERRORS_FROM:
            body = await _beginning(response)
            for secret in self._secrets:
                body = body.replace(secret, b"***")
            return Answer(status=response.status, headers=response.headers, body=body)
        body = bytearray()
        if (response.content_length or 0) > BODY_BYTES_MAX:
            raise _too_large()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > BODY_BYTES_MAX:
                body.clear()  # the traceback keeps this frame, and with it the bytes
                raise _too_large()
        return Answer(status=response.status, headers=response.headers, body=body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_connector(keepalive=self._keepalive),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


class _NoticeClosed:
    """Waits until the loop has looked at every socket, so that the pool knows which idle connections are dead.

    The first turn runs before what the loop has just found on the sockets is handled, the second after it.
    """

    def __await__(self) -> Generator[None, None, None]:
        yield
        yield


def _connector(*, keepalive: bool) -> aiohttp.TCPConnector:
    """Make the pool. It has no limit of its own: the gate in front of the backend decides how much is in flight."""
    if keepalive:
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS)
    return aiohttp.TCPConnector(limit=0, force_close=True)


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (UnicodeError, RecursionError, TypeError, ValueError) as error:
        message = "The request holds values that cannot be written as JSON."
        raise InvalidRequestError(message) from error


async def _beginning(response: aiohttp.ClientResponse) -> bytearray:
    """Read as much of a body as a message may be in."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= ERROR_BYTES_MAX:
            response.close()
            break
    return body[:ERROR_BYTES_MAX]


def _too_large() -> AttemptFailedError:
    return broken(f"the answer is larger than {BODY_BYTES_MAX} bytes")


def _feed(reader: EventReader, piece: bytes) -> list[ServerEvent]:
    try:
        return reader.feed(piece)
    except BrokenStreamError as error:
        raise broken(str(error)) from error


def _failure(error: Exception) -> Exception:
    """Sort a transport failure: could not connect, too slow, or cut (X7)."""
    kind = type(error).__name__
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return BackendAwayError(f"cannot connect: {error}")
    if isinstance(error, TimeoutError):
        return too_slow(f"no answer in time: {kind}")
    return cut(f"the exchange failed: {kind}")
