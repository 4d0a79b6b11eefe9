"""The connections to one backend: opened when needed, kept a few seconds, the one used last used first.

It has no limit of its own: the gate in front of the backend decides how much is in flight.
"""

import asyncio
import socket
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from slackwater.backends.connection import Connection

KEEPALIVE_SECONDS = 3.0
"""Below the 5 s after which uvicorn (vLLM, SGLang) and llama.cpp close idle connections: we must be the first to."""
NEXT_ADDRESS_SECONDS = 0.25
"""After this time the next address of a name is tried beside the one that has not answered (RFC 8305)."""
_PORTS = {"http": 80, "https": 443}


class Pool:
    """Connections to the server of a URL. Make it anywhere; use it inside one running loop."""

    def __init__(self, url: str, *, connect_seconds: float, keepalive: bool) -> None:
        """Take any URL of the server, and the time that connecting may take, TLS included."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._tls = _tls() if parts.scheme == "https" else None
        self._connect_seconds = connect_seconds
        self.keepalive = keepalive
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def take(self) -> tuple[Connection, float]:
        """Return a connection to be used at once, without another turn of the loop, and the seconds it took.

        Raises OSError.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet:
                return connection, 0.0
            self._drop(connection)
        started = self._now()
        connection = await self._connect()
        self._open.add(connection)
        return connection, self._now() - started

    def give_back(self, connection: Connection) -> None:
        """End an exchange, keeping its connection for the next one if that is possible."""
        if connection.finish() and self.keepalive and connection in self._open:
            self._idle.append(connection)
            if self._sweeping is None:
                self._sweep_later()
        else:
            self._drop(connection)

    def close(self) -> None:
        """Close every connection, those in use too."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._idle.clear()
        for connection in list(self._open):
            self._drop(connection)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_seconds):
            addresses = self._numeric() or await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            own = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS)
            try:
                name = self._host if self._tls else None
                _, connection = await loop.create_connection(Connection, sock=own, ssl=self._tls, server_hostname=name)
            except BaseException:
                own.close()
                raise
        return connection

    def _numeric(self) -> list[AddrInfoType]:
        """Return the address where the URL has one in place of a name, for which the loop would ask a thread."""
        with suppress(socket.gaierror):
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            return list[AddrInfoType](found)
        return []

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_at(self._idle[0].idle_since + KEEPALIVE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for long enough; the first of the list has been so for longest."""
        kept_since = self._now() - KEEPALIVE_SECONDS
        while self._idle and self._idle[0].idle_since <= kept_since:
            self._drop(self._idle.pop(0))
        self._sweeping = None
        if self._idle:
            self._sweep_later()


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
