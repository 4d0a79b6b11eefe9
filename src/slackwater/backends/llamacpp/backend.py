"""The engine in the box as a backend: started when a call needs it, and spoken to as any llama.cpp server is.

A small model runs in several processes. Each call goes to the one that has read the most of its prompt before, or else
to the least busy one.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from slackwater.backends.llamacpp.engine import Engine, Running
from slackwater.backends.message import NewId
from slackwater.backends.openai import OpenAIBackend, options_for
from slackwater.backends.openai.slots import start_of
from slackwater.domain.errors import AttemptFailedError, WireTimeoutError
from slackwater.ports import Call, Clock

UNSTREAMED_TOKENS_MAX: Final = 128
"""A tiny model takes longer to send a token than to make it. An answer this long is over before a slot has to be free
that belongs to a canceled request (the server sees that the caller has gone within a second)."""
KEPT_SECONDS: Final = 2.0
"""Where people's calls follow each other so closely, the copy that they go to begins nothing of a batch for so long."""
GLANCE_SECONDS: Final = 0.05
"""What waits for another slot looks so often: the next request of the prefix that the slot has read comes before it."""


class LlamaCppBackend:
    """A Backend over one local model. A call whose engine dies under it is a failed attempt like any other."""

    def __init__(
        self,
        *,
        engines: Sequence[Engine],
        new_id: NewId,
        clock: Clock,
        timeout_seconds: float = 600.0,
        pass_urls: bool = False,
    ) -> None:
        """Take the model's `engines`; `timeout_seconds` bounds how long one may be silent, not how long it may write.

        Raises ValueError for `pass_urls`: nothing in between would keep the engine from fetching internal addresses.
        """
        self._name = engines[0].name
        if pass_urls:
            message = f"{self._name}: pass_urls is not for a local model, which would fetch from inside your network"
            raise ValueError(message)

        def new_client(running: Running) -> OpenAIBackend:
            return OpenAIBackend(
                name=self._name,
                url=running.url,
                api_key=running.api_key,
                new_id=new_id,
                wall=clock.now,
                timeout_seconds=timeout_seconds,
                options=replace(
                    options_for("llamacpp"),
                    control_tokens=running.control_tokens,
                    slots=running.own_slots,
                    vision=running.vision,
                    unstreamed_tokens_max=UNSTREAMED_TOKENS_MAX if running.is_tiny else 0,
                ),
                patient=True,
            )

        self._copies = [_Copy(engine, clock, new_client) for engine in engines]
        self._clock = clock
        self._person_came = -math.inf

    @property
    def name(self) -> str:
        """The configured name."""
        return self._name

    @property
    def asks_for_counts(self) -> bool:
        """True: the engine counts."""
        return True

    async def reads(self) -> frozenset[str]:
        """Take text, and images where there is a projector."""
        return frozenset()

    async def infer(self, call: Call) -> dict[str, Any]:
        """Return the whole Message (S7). Raises what a Backend may raise."""
        if call.custom_id is not None:
            await self._give_way()
        async with self._begun(call).speaking() as client:
            return await client.infer(call)

    async def stream(self, call: Call) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events from `message_start` to `message_stop`; closing the iterator frees the slot."""
        async with self._begun(call).speaking() as client, aclosing(client.stream(call)) as events:
            async for event in events:
                yield event

    async def count_tokens(self, call: Call) -> int | None:
        """Count as the engine will: template, tools and images included."""
        async with self._copy_for(call).speaking() as client:
            return await client.count_tokens(call)

    async def models(self) -> list[str]:
        """Return the one model; it is not loaded for a list, but not listed where it cannot be."""
        return [] if self._copies[0].engine.refusal is not None else [self.name]

    async def close(self) -> None:
        """Let go of connections; the engines are ended by whoever made them."""
        for copy in self._copies:
            await copy.close()

    def _copy_for(self, call: Call) -> "_Copy":
        if len(self._copies) == 1:
            return self._copies[0]
        start, person = start_of(call.params), call.custom_id is None
        return max(self._copies, key=lambda copy: (copy.engine.is_willing, *copy.offer(start, person=person)))

    def _begun(self, call: Call) -> "_Copy":
        """Return the copy for a call; where people's calls follow each other, more will, and find it unoccupied."""
        copy = self._copy_for(call)
        if call.custom_id is None:
            now = self._clock.monotonic()
            if now - self._person_came < KEPT_SECONDS:
                copy.kept_until = now + KEPT_SECONDS
            self._person_came = now
        return copy

    async def _give_way(self) -> None:
        """Have a batch wait where only a copy that is kept for people has a slot, and not push others from theirs."""
        for _ in range(round(KEPT_SECONDS / GLANCE_SECONDS)):
            others = [copy for copy in self._copies if copy.kept_seconds <= 0]
            if len(others) in {0, len(self._copies)} or any(copy.is_free for copy in others):
                return
            await self._clock.sleep(GLANCE_SECONDS)


class _Copy:
    """One process of the model and what is spoken with it."""

    def __init__(self, engine: Engine, clock: Clock, new_client: Callable[[Running], OpenAIBackend]) -> None:
        self.engine = engine
        self._clock = clock
        self._new_client = new_client
        self._calls = 0
        self._client: OpenAIBackend | None = None
        self._generation = -1
        self.kept_until = 0.0
        """When batches may use it again, by the clock's monotonic time."""

    def offer(self, start: bytes, *, person: bool) -> tuple[bool, bool, int, int]:
        """Return what speaks for it: not kept from whoever asks, a slot is free, so much was read, so few calls."""
        if self._client is None:
            free, alike = self._calls < self.engine.slots, 0
        else:
            free, alike = self._client.slots.offer(start, person=person)
        return person or self.kept_seconds <= 0, free, alike, -self._calls

    @property
    def kept_seconds(self) -> float:
        """How long it is still kept from batches; nothing or less when it is not."""
        return self.kept_until - self._clock.monotonic()

    @property
    def is_free(self) -> bool:
        """Whether a slot for batches is free."""
        return self.offer(b"", person=False)[1]

    @asynccontextmanager
    async def speaking(self) -> AsyncIterator[OpenAIBackend]:
        """Have the engine answer; one that stays silent for too long is looked at, and ended when it is stuck."""
        self._calls += 1
        try:
            async with self.engine.serving() as running:
                try:
                    yield await self._client_of(running)
                except AttemptFailedError as failed:
                    if isinstance(failed.error, WireTimeoutError):
                        self.engine.doubt(running)
                    raise
        finally:
            self._calls -= 1

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.close()

    async def _client_of(self, running: Running) -> OpenAIBackend:
        """Return the client of the engine's present life, which has an address, a key and a memory of its own."""
        if self._client is not None and running.generation <= self._generation:
            return self._client
        client = self._new_client(running)
        before, self._client, self._generation = self._client, client, running.generation
        if before is not None:
            await before.close()  # whoever still reads from the ended life's sockets fails now and not a moment later
        return client
