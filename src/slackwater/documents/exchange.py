"""One exchange with the server of a URL source. It brings the HTTP client and is imported when it is first needed."""

import asyncio
import socket
import zlib
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from slackwater.documents.addresses import PORTS, Address, AllowList, Target, is_public, parsed
from slackwater.documents.fetch import NOT_PUBLIC, RefusedError, Resolve, passing
from slackwater.documents.media_types import HEAD_BYTES, sniff
from slackwater.domain.document import DocumentError, Fetched

CONNECT_SECONDS_MAX: Final = 10.0
PIECE_BYTES: Final = 2**16
_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS
"""What zlib calls gzip's container."""
_GZIP: Final = frozenset({"gzip", "x-gzip"})
"""What some servers send without having been asked for it."""
_VAGUE: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""What servers say that do not know."""
_PASSING: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses that say nothing about what is at the URL."""


async def ask(url: URL, gate: "Gate", bytes_max: int) -> Fetched | str:
    """Ask once; return what was there, or where else it is. Raises DocumentError, OSError and ValueError."""
    connector = aiohttp.TCPConnector(
        resolver=gate, socket_factory=gate.socket, use_dns_cache=False, force_close=True, limit=1
    )
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "slackwater", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status in _REDIRECTS:
                return str(url.join(URL(answer.headers.get("Location", ""))))
            if answer.status != _OK:
                raise _refused(answer)
            return await _read(answer, url, bytes_max)
    except TimeoutError:
        raise
    except aiohttp.ClientError as error:
        kind = ValueError if isinstance(error, ValueError) else OSError
        raise kind(str(error)) from error


async def _read(answer: aiohttp.ClientResponse, url: URL, bytes_max: int) -> Fetched:
    body = _Body(bytes_max, answer.headers.get("Content-Encoding", ""))
    if (answer.content_length or 0) > bytes_max:
        raise body.too_large()
    async for piece in answer.content.iter_chunked(PIECE_BYTES):
        await body.take(piece)
    data = body.finish()
    said = answer.content_type.lower() if "Content-Type" in answer.headers else ""
    seen = sniff(data[:HEAD_BYTES], url.name)
    media_type = seen if said in _VAGUE or seen.startswith(("image/", "application/pdf")) else said
    return Fetched(data=data, media_type=media_type, charset=answer.charset)


def _refused(answer: aiohttp.ClientResponse) -> DocumentError:
    reason = f"The URL's server answered with status {answer.status}"
    if answer.status not in _PASSING:
        return DocumentError(reason)
    asked = answer.headers.get("Retry-After", "")
    return passing(reason, float(asked) if asked.isascii() and asked.isdigit() else 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    address: Address
    family: socket.AddressFamily


class Gate(AbstractResolver):
    """Resolves for one connection, and makes sockets only for addresses that are allowed."""

    def __init__(self, target: Target, allow: AllowList, resolve: Resolve) -> None:
        self._target = target
        self._allow = allow
        self._named = allow.names(target)
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses, if every one of them is allowed."""
        del family
        found = [_family(parsed(text)) for text in await self._resolve(host)]
        for one in found:
            self._check(one.address, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(one.address),
                port=port,
                family=one.family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for one in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make a socket for an address: the last place where a wrong one, however it got here, can be stopped."""
        family, kind, protocol, _, where = info
        self._check(parsed(where[0]), where[1])
        made = socket.socket(family, kind, protocol)
        made.settimeout(0.0)
        return made

    def _check(self, address: Address, port: int) -> None:
        if self._named or self._allow.holds(address):
            return
        if not is_public(address) or port != PORTS[self._target.scheme]:
            raise RefusedError(NOT_PUBLIC)


class _Body:
    """What comes, decompressed as it comes, up to a size."""

    def __init__(self, bytes_max: int, encoding: str) -> None:
        self._bytes_max = bytes_max
        self._data = bytearray()
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", *_GZIP}:
            raise DocumentError("The URL's server answered in an encoding that was not asked for")
        self._unpack = zlib.decompressobj(_WINDOW_BITS) if encoding in _GZIP else None

    async def take(self, piece: bytes) -> None:
        """Take the next bytes of the answer. Raises DocumentError above the size."""
        if self._unpack is not None:
            try:  # a thousand times the piece may come out: not in the loop
                piece = await asyncio.to_thread(self._unpack.decompress, piece, self._bytes_max - len(self._data) + 1)
            except zlib.error as error:
                raise _broken_gzip() from error
            if self._unpack.unused_data:  # zlib would keep all that follows the end, however much it is
                raise _broken_gzip()
        if len(self._data) + len(piece) > self._bytes_max:
            raise self.too_large()
        self._data += piece

    def finish(self) -> bytes:
        """Return all of it."""
        if self._unpack is not None and not self._unpack.eof:
            raise _broken_gzip()
        return bytes(self._data)

    def too_large(self) -> DocumentError:
        """Return the error."""
        return DocumentError(f"What is at the URL is larger than {self._bytes_max // 2**20} MiB")


def _broken_gzip() -> DocumentError:
    return DocumentError("The URL's server sent broken gzip data")


def _family(address: Address) -> _Found:
    return _Found(address=address, family=socket.AF_INET if address.version == 4 else socket.AF_INET6)  # noqa: PLR2004
