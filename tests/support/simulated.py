"""What the simulator's tests share: a clock without waiting, and short ways to ask."""

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from slackwater.backends.simulated import SimulatedBackend, SimulatedOptions
from slackwater.ports import Call

T = TypeVar("T")
_ROUNDS_UNTIL_IDLE = 30


class VirtualClock:
    """Time that passes only when everybody waits for it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, next(self._order), woken))
        await woken

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work, moving time forward whenever nothing else can happen."""
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(_ROUNDS_UNTIL_IDLE):
                await asyncio.sleep(0)
            while self._sleepers and not task.done():
                at, _, woken = heapq.heappop(self._sleepers)
                if not woken.done():
                    self.seconds = max(self.seconds, at)
                    woken.set_result(None)
                    break
        return task.result()


class Rig:
    """A simulated backend on a virtual clock."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        numbers = itertools.count(1)
        self.backend = SimulatedBackend(
            name="sim",
            options=SimulatedOptions(**{"latency_ms": 0, **options}),
            clock=self.clock,
            new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        )

    async def ask(self, text: str = "hello", **params: Any) -> dict[str, Any]:
        return await self.clock.run(self.backend.infer(call(text, **params)))

    async def ask_all(self, *texts: str) -> list[dict[str, Any]]:
        async def together() -> list[dict[str, Any]]:
            return list(await asyncio.gather(*(self.backend.infer(call(text)) for text in texts)))

        return await self.clock.run(together())

    async def events(self, text: str = "hello", **params: Any) -> list[dict[str, Any]]:
        async def gather() -> list[dict[str, Any]]:
            return [event async for event in self.backend.stream(call(text, **params))]

        return await self.clock.run(gather())


def call(text: str = "hello", *, custom_id: str | None = None, **params: Any) -> Call:
    body = {"model": "m", "max_tokens": 1_000, "messages": [{"role": "user", "content": text}], **params}
    return Call(params=body, upstream="upstream-m", version="2023-06-01", custom_id=custom_id)


def text_of(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")
