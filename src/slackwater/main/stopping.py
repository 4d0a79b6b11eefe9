"""How a process hears that it has to end, and that somebody is tired of waiting for it."""

import asyncio
import signal
from collections.abc import Callable

HURRY_SECONDS = 1.0
"""So soon after the first signal another one is an echo: shells and wrappers both pass Ctrl-C on."""

OnStop = Callable[[int, float], None]
"""Called with the number of requests under way, and the seconds they have to come back."""


class Stop:
    """SIGTERM or SIGINT: the first asks for an end in order, a later one for the end without waiting for answers."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        """Listen from now on; `on_stop` hears of the first signal."""
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self._on_stop = on_stop
        self._loop = asyncio.get_running_loop()
        self._listen(self._ask)

    async def spares(self, task: "asyncio.Task[None]") -> None:
        """Wait for a task, which is canceled when the end is asked for a second time. Its outcome stays in it."""
        hurried = self._loop.create_task(self.hurried.wait())
        try:
            await asyncio.wait([task, hurried], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])

    def _listen(self, heard: Callable[[], None]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, heard)

    def _ask(self) -> None:
        if not self.asked.is_set():
            self.asked.set()
            self._on_stop()
            self._loop.call_later(HURRY_SECONDS, self._listen, self.hurried.set)
