"""Turns at something that is there a few times: who waits in person goes first, the others in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """So many at a time; of these the last `reserved` are only for what is urgent."""

    def __init__(self, count: int, *, reserved: int = 0) -> None:
        self._free = count
        self._reserved = reserved
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}

    @asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncIterator[None]:
        """Wait for a turn and hold it."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[urgent].append(waiter)
        self._admit()
        try:
            await waiter
            yield
        finally:
            if waiter.done() and not waiter.cancelled():
                self._free += 1
            else:
                waiter.cancel()
            self._admit()

    def _admit(self) -> None:
        for urgent, waiting in self._waiting.items():
            while waiting and (waiting[0].done() or self._free > (0 if urgent else self._reserved)):
                waiter = waiting.popleft()
                if not waiter.done():  # one that is has left
                    self._free -= 1
                    waiter.set_result(None)
