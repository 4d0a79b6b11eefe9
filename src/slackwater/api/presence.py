"""Noticing that a client has left, so that nobody works for an empty chair."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


class Presence:
    """Listens for the disconnect while something is done for a client whose body has been read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self.left = asyncio.create_task(self._listen())
        """Done once the client has left."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        await dismiss(self.left)

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the work's result; when the client leaves first, cancel the work and raise ClientDisconnect."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self.left}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ClientDisconnect
        finally:
            await dismiss(task)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def dismiss(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they are over; what they raised is nobody's concern any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
