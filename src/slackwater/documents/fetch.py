"""URL sources, fetched by us: from addresses that were checked, so many bytes, in so much time (E1 to E5).

A name is resolved once for each connection, every address it stands for must be allowed, and only those are dialled: a
second answer of a name server comes too late. Redirects are followed here, one by one, and each is a URL like the
first. No cookies, no credentials, no proxy and nothing else from the environment.
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from slackwater.documents.addresses import PORTS, Address, AllowList, Target, is_public, parsed
from slackwater.documents.media_types import HEAD_BYTES, sniff
from slackwater.documents.turns import Turns
from slackwater.domain.document import DocumentError, Fetched

BYTES_MAX: Final = 32 * 2**20
"""As much as a request may hold (contract §12)."""
SECONDS_MAX: Final = 30.0
CONNECT_SECONDS_MAX: Final = 10.0
REDIRECTS_MAX: Final = 3
CONNECTIONS_MAX: Final = 16
CONNECTIONS_RESERVED: Final = 4
"""Of these for what somebody waits for in person: silent servers may hold the others for as long as they are given."""
URL_CHARACTERS_MAX: Final = 2048
PIECE_BYTES: Final = 2**16

_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS
"""What zlib calls gzip's container."""
_GZIP: Final = frozenset({"gzip", "x-gzip"})
"""What some servers send without having been asked for it."""
_VAGUE: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""What servers say that do not know."""

AGAIN_SECONDS_MAX: Final = 30.0
"""The longest wait that a server may ask for."""
_PASSING: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses that say nothing about what is at the URL."""
_NOT_PUBLIC: Final = "The URL's host is not at a public address"

Resolve = Callable[[str], Awaitable[list[str]]]
"""Gives the addresses of a name; raises OSError."""


class Fetcher:
    """Fetches. Make it anywhere; connections open in the running loop, and none is kept. Equal URLs are fetched once.

    `allow` holds entries of an `AllowList` and raises its ValueError.
    """

    def __init__(
        self,
        *,
        allow: Iterable[str] = (),
        bytes_max: int = BYTES_MAX,
        seconds_max: float = SECONDS_MAX,
        resolve: Resolve | None = None,
    ) -> None:
        self._allow = AllowList(allow)
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._names = ThreadPoolExecutor(CONNECTIONS_MAX, thread_name_prefix="names")
        self._resolve = resolve or self._looked_up
        self._running: dict[str, _Shared] = {}
        self._turns = Turns(CONNECTIONS_MAX, reserved=CONNECTIONS_RESERVED)

    async def fetch(self, url: str, *, urgent: bool = False) -> Fetched:
        """Return what is at a URL. Raises DocumentError, which says where it may be there again."""
        key = url.split("#", 1)[0]
        shared = self._running.get(key)
        if shared is None:
            shared = self._running[key] = _Shared(asyncio.create_task(self._fetch(key, urgent=urgent)))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.task.cancel()  # one that is done does not mind
            if (shared.task.done() or not shared.waiting) and self._running.get(key) is shared:
                del self._running[key]

    async def close(self) -> None:
        """Give up what is under way."""
        running = [shared.task for shared in self._running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._names.shutdown(wait=False, cancel_futures=True)

    async def _looked_up(self, host: str) -> list[str]:
        """Ask the system, in threads of our own: a name server that is silent must not hold up what reads files."""
        found = await asyncio.get_running_loop().run_in_executor(self._names, _addresses, host)
        return list(dict.fromkeys(found))

    async def _fetch(self, url: str, *, urgent: bool) -> Fetched:
        async with self._turns.turn(urgent=urgent):
            try:
                async with asyncio.timeout(self._seconds_max):
                    return await self._follow(url)
            except TimeoutError as error:
                raise _passing("The URL's server did not answer in time") from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _cause(error) from error

    async def _follow(self, url: str) -> Fetched:
        here = _parsed(url)
        for _ in range(REDIRECTS_MAX + 1):
            found = await self._get(here)
            if isinstance(found, Fetched):
                return found
            if here.scheme == "https" and found.scheme == "http":
                raise DocumentError("The URL redirects from https to http")
            here = found
        raise DocumentError(f"The URL redirects more than {REDIRECTS_MAX} times")

    async def _get(self, url: URL) -> "Fetched | URL":
        """Ask once; return what was there, or where else it is."""
        gate = _Gate(self._target(url), self._allow, self._resolve)
        connector = aiohttp.TCPConnector(
            resolver=gate, socket_factory=gate.socket, use_dns_cache=False, force_close=True, limit=1
        )
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
                return _parsed(str(url.join(URL(answer.headers.get("Location", "")))))
            if answer.status != _OK:
                raise _refused(answer)
            return await self._read(answer, url)

    def _target(self, url: URL) -> Target:
        """Check what can be checked before there is an address."""
        target = Target(scheme=url.scheme, host=url.raw_host or "", port=url.port or 0)
        if target.port != PORTS[target.scheme] and not self._allow.names(target) and not self._allowed_address(target):
            raise DocumentError(f"The URL's port is {target.port}; only {PORTS[target.scheme]} is allowed")
        return target

    def _allowed_address(self, target: Target) -> bool:
        try:
            return self._allow.holds(parsed(target.host))
        except ValueError:
            return False

    async def _read(self, answer: aiohttp.ClientResponse, url: URL) -> Fetched:
        body = _Body(self._bytes_max, answer.headers.get("Content-Encoding", ""))
        if (answer.content_length or 0) > self._bytes_max:
            raise body.too_large()
        async for piece in answer.content.iter_chunked(PIECE_BYTES):
            await body.take(piece)
        data = body.finish()
        said = answer.content_type.lower() if "Content-Type" in answer.headers else ""
        seen = sniff(data[:HEAD_BYTES], url.name)
        media_type = seen if said in _VAGUE or seen.startswith(("image/", "application/pdf")) else said
        return Fetched(data=data, media_type=media_type, charset=answer.charset)


@dataclass(slots=True)
class _Shared:
    """A fetch, and how many wait for it."""

    task: asyncio.Task[Fetched]
    waiting: int = 0


class _RefusedError(OSError):
    """An address that must not be dialled; an OSError, so that the client gives up as it does for any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    address: Address
    family: socket.AddressFamily


class _Gate(AbstractResolver):
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
            raise _RefusedError(_NOT_PUBLIC)


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


def check_length(url: str) -> None:
    """Raise DocumentError for a URL that is longer than any that is fetched."""
    if len(url) > URL_CHARACTERS_MAX:
        raise DocumentError(f"The URL is longer than {URL_CHARACTERS_MAX:,} characters")


def _parsed(url: str) -> URL:
    """Take a URL apart. Raises DocumentError for one that is not fetched at all."""
    check_length(url)
    try:
        found = URL(url)
        host = (found.raw_host or "").rstrip(".")
        if host.rsplit(".", 1)[-1].isdigit():
            parsed(host)  # the client takes `127.1` for an address, which it is to old programs only
    except ValueError as error:
        raise DocumentError("The URL is not valid") from error
    if found.scheme not in PORTS:
        raise DocumentError("The URL is neither http nor https")
    if not host:
        raise DocumentError("The URL is not valid")
    if found.user is not None or found.password is not None:
        raise DocumentError("The URL contains a user name or a password")
    return found.with_host(host)


def _family(address: Address) -> _Found:
    return _Found(address=address, family=socket.AF_INET if address.version == 4 else socket.AF_INET6)  # noqa: PLR2004


def _addresses(host: str) -> list[str]:
    return [str(where[0]) for *_, where in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def _passing(reason: str, seconds: float = 0.0) -> DocumentError:
    return DocumentError(reason, retry_after_seconds=min(seconds, AGAIN_SECONDS_MAX))


def _refused(answer: aiohttp.ClientResponse) -> DocumentError:
    reason = f"The URL's server answered with status {answer.status}"
    if answer.status not in _PASSING:
        return DocumentError(reason)
    asked = answer.headers.get("Retry-After", "")
    return _passing(reason, float(asked) if asked.isascii() and asked.isdigit() else 0.0)


def _cause(error: BaseException) -> DocumentError:
    """Return what is known about why a connection failed."""
    reason = "The URL's server could not be reached or broke off"
    seen: BaseException | None = error
    while seen is not None:
        match seen:
            case _RefusedError():
                return DocumentError(_NOT_PUBLIC)
            case socket.gaierror(errno=socket.EAI_AGAIN):
                return _passing("The URL's host is not known at the moment")
            case socket.gaierror():
                return DocumentError("The URL's host is not known")
            case ssl.SSLCertVerificationError():
                return DocumentError("The URL's server has no valid certificate")
            case _:
                seen = seen.__cause__ or seen.__context__
    return DocumentError(reason) if isinstance(error, ValueError) else _passing(reason)
