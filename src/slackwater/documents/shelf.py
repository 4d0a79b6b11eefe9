"""What was read or converted, kept for the next request that refers to it: bounded by bytes, made once at a time."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from slackwater.domain.document import DocumentError
from slackwater.ports import Clock


class Weighed(Protocol):
    """Something that says how much memory it takes."""

    @property
    def size_bytes(self) -> int:
        """Return about how many bytes."""


T = TypeVar("T", bound=Weighed)

KEPT_BYTES_MAX: Final = 64 * 2**20
ROOM_BYTES_MAX: Final = 96 * 2**20
"""Of what one backend's requests in flight are made of."""
ENTRIES_MAX: Final = 10_000
FAILURE_BYTES: Final = 1_024
"""What an error that is remembered counts as."""
FAILURE_SECONDS: Final = 600.0
"""How long at most an error is: a busy machine may have been the reason."""
AGAIN_SECONDS = 1.0
"""How long the first wait is before what may be there again is tried again; each is twice as long as the one before."""
TRIES_MAX: Final = 5
"""How often before its absence is the answer to all who ask: as often as a request is (X7)."""
LASTING_SECONDS: Final = 60.0
"""How long it is the answer then."""


@dataclass(slots=True)
class _Making:
    task: "asyncio.Task[Any]"
    waiting: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    outcome: Any
    """What was made, or the DocumentError that says why it cannot be."""
    size_bytes: int
    until: float
    tries: int = 0
    """How often it could not be made for a reason that may pass."""


@dataclass(slots=True)
class _Room:
    """Bytes in use; who comes waits in order, and what is larger than everything goes alone."""

    used: int = 0
    waiting: "OrderedDict[asyncio.Future[None], int]" = field(default_factory=OrderedDict)


class Shelf:
    """Remembers, and counts what is in use: one for each process."""

    def __init__(
        self, *, clock: Clock, kept_bytes_max: int = KEPT_BYTES_MAX, room_bytes_max: int = ROOM_BYTES_MAX
    ) -> None:
        self._clock = clock
        self._kept_bytes_max = kept_bytes_max
        self._room_bytes_max = room_bytes_max
        self._kept: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._making: dict[Hashable, _Making] = {}
        self._rooms: defaultdict[Hashable, _Room] = defaultdict(_Room)
        self.kept_bytes = 0

    async def get(self, key: Hashable, make: Callable[[], Awaitable[T]], *, keep_seconds: float = float("inf")) -> T:
        """Return what is kept under a key, or have it made, once for all who ask meanwhile.

        A DocumentError is kept as well, one that may pass until it is worth another try; any other error is not.
        """
        entry = self._kept.get(key)
        if entry is not None:
            left = entry.until - self._clock.monotonic()
            if left > 0:
                self._kept.move_to_end(key)
                if isinstance(entry.outcome, DocumentError):
                    raise _again(entry.outcome, left if entry.tries else None)
                kept: T = entry.outcome
                return kept
            self._forget(key)
        return await self._made(key, make, keep_seconds, tries=entry.tries if entry else 0)

    @asynccontextmanager
    async def room(self, place: Hashable, size_bytes: int) -> AsyncIterator[Callable[[int], None]]:
        """Wait until a request of this size may be put together, and hold the room; each place has its own.

        With the room comes what is to be called with the true size, once it is known. Who needs more than was asked
        for has it at once and keeps others out for longer: a short PDF may be a lot of page images.
        """
        room = self._rooms[place]
        held = size_bytes
        await self._enter(room, size_bytes)

        def settle(true_bytes: int) -> None:
            nonlocal held
            room.used += true_bytes - held
            held = true_bytes
            self._admit(room)

        try:
            yield settle
        finally:
            room.used -= held
            self._admit(room)

    async def _made(self, key: Hashable, make: Callable[[], Awaitable[T]], keep_seconds: float, *, tries: int) -> T:
        making = self._making.get(key)
        if making is None:
            task = asyncio.ensure_future(self._make(key, make, keep_seconds, tries))
            making = self._making[key] = _Making(task)
        making.waiting += 1
        try:
            made: T = await asyncio.shield(making.task)
        except DocumentError as error:
            raise _again(error, error.retry_after_seconds) from error
        else:
            return made
        finally:
            making.waiting -= 1
            if not making.waiting:
                making.task.cancel()  # one that is done does not mind
            if (making.task.done() or not making.waiting) and self._making.get(key) is making:
                del self._making[key]

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[T]], keep_seconds: float, tries: int) -> T:
        try:
            made = await make()
        except DocumentError as error:
            raise _again(error, self._failed(key, error, keep_seconds, tries + 1)) from error
        self._keep(key, made, made.size_bytes, keep_seconds)
        return made

    def _failed(self, key: Hashable, error: DocumentError, keep_seconds: float, tries: int) -> float | None:
        """Remember why something cannot be made; return when that is worth another try, if it ever is."""
        wait = error.retry_after_seconds
        if wait is None or tries >= TRIES_MAX:
            longest = FAILURE_SECONDS if wait is None else LASTING_SECONDS
            self._keep(key, _again(error), FAILURE_BYTES, min(keep_seconds, longest))
            return None
        wait = max(wait, AGAIN_SECONDS * 2.0 ** (tries - 1))
        self._keep(key, _again(error), FAILURE_BYTES, wait, tries)
        return wait

    def _keep(
        self, key: Hashable, outcome: Weighed | DocumentError, size_bytes: int, keep_seconds: float, tries: int = 0
    ) -> None:
        self._forget(key)
        until = self._clock.monotonic() + keep_seconds
        self._kept[key] = _Entry(outcome=outcome, size_bytes=size_bytes, until=until, tries=tries)
        self.kept_bytes += size_bytes
        # What was made last stays even if it is larger than all the rest may be: the next request wants it.
        while len(self._kept) > 1 and (self.kept_bytes > self._kept_bytes_max or len(self._kept) > ENTRIES_MAX):
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self.kept_bytes -= entry.size_bytes

    async def _enter(self, room: _Room, size_bytes: int) -> None:
        if not room.waiting and self._fits(room, size_bytes):
            room.used += size_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        room.waiting[turn] = size_bytes
        try:
            await turn
        except asyncio.CancelledError:
            room.waiting.pop(turn, None)
            if not turn.cancelled():  # it had been let in
                room.used -= size_bytes
            self._admit(room)
            raise

    def _fits(self, room: _Room, size_bytes: int) -> bool:
        return not room.used or room.used + size_bytes <= self._room_bytes_max

    def _admit(self, room: _Room) -> None:
        while room.waiting:
            turn, size_bytes = next(iter(room.waiting.items()))
            if turn.done():  # canceled: it leaves by itself, and would only be in the way here
                del room.waiting[turn]
                continue
            if not self._fits(room, size_bytes):
                return
            del room.waiting[turn]
            room.used += size_bytes
            turn.set_result(None)


def _again(error: DocumentError, retry_after_seconds: float | None = None) -> DocumentError:
    """Return an error of its own for each request, and to keep: a traceback ties it to what the failure had in hand."""
    return DocumentError(
        error.reason, error_code=error.error_code, details=error.details, retry_after_seconds=retry_after_seconds
    )
