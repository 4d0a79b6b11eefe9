"""The HTTP server: uvicorn with our settings and our way to stop."""

import asyncio
import resource
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import uvicorn

from slackwater.api.app import App
from slackwater.api.connection import Patience, connection_class
from slackwater.api.presence import dismiss

GRACEFUL_SECONDS = 30  # L4: answers in progress get this long after a stop
KEEP_ALIVE_SECONDS = 5  # B2
BACKLOG = 2048
TICK_SECONDS = 1.0
DESCRIPTORS_WANTED = 65_536
DESCRIPTORS_KEPT = 1_024
"""For files, databases, backends: what connections must never take."""
PATIENCE = Patience()


async def serve(
    app: App,
    *,
    host: str,
    port: int,
    uds: Path | None = None,
    reuse_port: bool = False,
    on_started: Callable[[str, int], None],
    graceful_seconds: int = GRACEFUL_SECONDS,
    patience: Patience = PATIENCE,
) -> None:
    """Serve until `app.stop()`, then let answers in progress finish. Signals are the caller's business.

    `on_started` gets the address and the real port (`port=0` picks a free one; with `uds` the path and 0). With
    `reuse_port` others that ask for the same may listen there too. Raises OSError when the address cannot be had.
    Canceling the call stops at once.
    """
    patience = replace(patience, connections_max=min(patience.connections_max, _room_for_connections()))
    listener = await _listen(host, port, uds, reuse_port=reuse_port)
    address = (str(uds), 0) if uds is not None else listener.getsockname()[:2]
    server = _Server(_config(app, graceful_seconds, patience), app.stopping, lambda: on_started(*address))
    try:
        await server.serve(sockets=[listener])
    finally:
        app.stop()
        listener.close()
        await dismiss(*server.server_state.tasks)
        _remove(uds)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()

    async def main_loop(self) -> None:
        """Refresh the `date` header once a second, and stop without delay."""
        while not self._stopping.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone: workers and the store have to stop in order too."""
        yield


def _config(app: App, graceful_seconds: int, patience: Patience) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connection_class(app.new_id, patience),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # only what trusted proxies say is read, in address.py
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=graceful_seconds,
    )


def _room_for_connections() -> int:
    """Ask for as many descriptors as this process may have; return how many of them are for connections."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if most == resource.RLIM_INFINITY else min(most, DESCRIPTORS_WANTED)
    if allowed == resource.RLIM_INFINITY:
        return DESCRIPTORS_WANTED
    if allowed < wanted:
        with suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            allowed = wanted
    return max(allowed - DESCRIPTORS_KEPT, allowed // 2)


async def _listen(host: str, port: int, uds: Path | None, *, reuse_port: bool) -> socket.socket:
    """Bind ourselves: uvicorn would end the process where we want an OSError."""
    if uds is not None:
        return _bind_path(uds)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listener = socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=reuse_port)
    # uvloop sets this on every connection by itself, asyncio only on sockets that it made: small answers must not wait.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _bind_path(path: Path) -> socket.socket:
    _remove(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


def _remove(path: Path | None) -> None:
    if path is not None:
        path.unlink(missing_ok=True)
