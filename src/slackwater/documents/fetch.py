"""URL sources, fetched by us: from addresses that were checked, so many bytes, in so much time (E1 to E5).

A name is resolved once for each connection, every address it stands for must be allowed, and only those are dialled: a
second answer of a name server comes too late. Redirects are followed here, one by one, and each is a URL like the
first. No cookies, no credentials, no proxy and nothing else from the environment.
"""

import asyncio
import importlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from yarl import URL

from slackwater.documents.addresses import PORTS, AllowList, Target, parsed
from slackwater.documents.turns import Turns
from slackwater.domain.document import DocumentError, Fetched

BYTES_MAX: Final = 32 * 2**20
"""As much as a request may hold (contract §12)."""
SECONDS_MAX: Final = 30.0
REDIRECTS_MAX: Final = 3
CONNECTIONS_MAX: Final = 16
CONNECTIONS_RESERVED: Final = 4
"""Of these for what somebody waits for in person: silent servers may hold the others for as long as they are given."""
URL_CHARACTERS_MAX: Final = 2048


AGAIN_SECONDS_MAX: Final = 30.0
"""The longest wait that a server may ask for."""
NOT_PUBLIC: Final = "The URL's host is not at a public address"

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
                    return await self._follow(url, await self._exchange())
            except TimeoutError as error:
                raise passing("The URL's server did not answer in time") from error
            except (OSError, ValueError) as error:
                raise _cause(error) from error

    async def _exchange(self) -> Callable[[URL], Awaitable[Fetched | str]]:
        """Return what asks a server once, and the HTTP client with it: most servers never need one."""
        where = "slackwater.documents.exchange"
        exchange = await asyncio.get_running_loop().run_in_executor(self._names, importlib.import_module, where)

        def ask(url: URL) -> Awaitable[Fetched | str]:
            gate = exchange.Gate(self._target(url), self._allow, self._resolve)
            asked: Awaitable[Fetched | str] = exchange.ask(url, gate, self._bytes_max)
            return asked

        return ask

    async def _follow(self, url: str, ask: Callable[[URL], Awaitable[Fetched | str]]) -> Fetched:
        here = _parsed(url)
        for _ in range(REDIRECTS_MAX + 1):
            found = await ask(here)
            if isinstance(found, Fetched):
                return found
            there = _parsed(found)
            if here.scheme == "https" and there.scheme == "http":
                raise DocumentError("The URL redirects from https to http")
            here = there
        raise DocumentError(f"The URL redirects more than {REDIRECTS_MAX} times")

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


@dataclass(slots=True)
class _Shared:
    """A fetch, and how many wait for it."""

    task: asyncio.Task[Fetched]
    waiting: int = 0


class RefusedError(OSError):
    """An address that must not be dialled; an OSError, so that the client gives up as it does for any other."""


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


def _addresses(host: str) -> list[str]:
    return [str(where[0]) for *_, where in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def passing(reason: str, seconds: float = 0.0) -> DocumentError:
    """Return the error of something that may be otherwise in so many seconds."""
    return DocumentError(reason, retry_after_seconds=min(seconds, AGAIN_SECONDS_MAX))


def _cause(error: BaseException) -> DocumentError:
    """Return what is known about why a connection failed."""
    reason = "The URL's server could not be reached or broke off"
    seen: BaseException | None = error
    while seen is not None:
        match seen:
            case RefusedError():
                return DocumentError(NOT_PUBLIC)
            case socket.gaierror(errno=socket.EAI_AGAIN):
                return passing("The URL's host is not known at the moment")
            case socket.gaierror():
                return DocumentError("The URL's host is not known")
            case ssl.SSLCertVerificationError():
                return DocumentError("The URL's server has no valid certificate")
            case _:
                seen = seen.__cause__ or seen.__context__
    return DocumentError(reason) if isinstance(error, ValueError) else passing(reason)
