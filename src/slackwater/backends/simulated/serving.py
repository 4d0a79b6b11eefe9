"""Runs the HTTP face of the simulator until the process is asked to stop."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Final

from slackwater.backends.simulated.engine import Engine
from slackwater.backends.simulated.options import SimulatedOptions
from slackwater.backends.simulated.server import SimulatorServer
from slackwater.ports import Clock

if sys.platform == "win32":
    from asyncio import run
else:
    from uvloop import run

_TIMERS_LATE_SECONDS: Final = 0.001
"""Timers of the event loop count whole milliseconds and are late by one more often than not."""


def serve(
    options: SimulatedOptions,
    clock: Clock,
    *,
    host: str,
    port: int,
    api_key: str | None,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` gets the base URL.

    Raises ValueError for a plan of faults that makes no sense, OSError when the address or the witness cannot be had.
    """
    engine = Engine(options, clock, timers_late_seconds=_TIMERS_LATE_SECONDS)
    run(_serve(SimulatorServer(engine, api_key=api_key), host, port, on_ready))


async def _serve(server: SimulatorServer, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bound = await server.start(host, port)
    shown = f"[{host}]" if ":" in host else host
    on_ready(f"http://{shown}:{bound}")
    try:
        await stop.wait()
    finally:
        await server.close()
