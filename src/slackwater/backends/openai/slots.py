"""Slots: which one of a llama.cpp server that nobody else uses answers a request.

Such a server fills every step with prompts in the order of its slots, so that one in a high slot waits until those
below it are read. The first slot is people's, and what a batch sends goes into the others. Among those that are free a
request gets the one whose last request began most like it, as the server itself would choose.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

START_BYTES_MAX = 65_536
"""What is compared of two requests; as many tokens as a slot of a local model holds are less."""
ALIKE_BYTES_MIN = 256
"""Shorter beginnings are read again sooner than they are worth a slot."""
ALIKE_SHARE_MIN = 0.1
"""Of the request: what the server itself asks for."""


@dataclass(slots=True, eq=False)
class _Slot:
    number: int
    start: bytes = b""
    """How the last request in it began."""
    used: int = 0
    """Grows with every request: the least is that of the slot which has been idle for the longest time."""
    busy: bool = False


def start_of(params: Mapping[str, Any]) -> bytes:
    """Return how a request's prompt begins."""
    prompt = (params.get("tools"), params.get("system"), params["messages"])
    return msgspec.json.encode(prompt)[:START_BYTES_MAX]


class Slots:
    """The slots of one server, each with at most one request at a time as long as no more come than there are slots."""

    def __init__(self, count: int) -> None:
        """Take their number, that of people's slot included."""
        self._slots = [_Slot(number) for number in range(count)]
        self._uses = self._batch = 0

    def offer(self, start: bytes, *, person: bool) -> tuple[bool, int]:
        """Tell whether a slot is free for a request that begins like this, and how much of it one has read before."""
        free = [slot for slot in self._slots if not slot.busy and (person or slot.number)]
        return bool(free), max((_alike(start, slot.start) for slot in free), default=0)

    @contextmanager
    def taken(self, params: Mapping[str, Any], *, person: bool) -> Iterator[int | None]:
        """Hold a slot for a request; None when all are busy, and the server has to choose."""
        if all(slot.busy for slot in self._slots):
            yield None
            return
        start = start_of(params)
        slot = self._choose(start, person=person)
        self._uses += 1
        slot.start, slot.used, slot.busy = start, self._uses, True
        self._batch += not person
        try:
            yield slot.number
        finally:
            slot.busy = False
            self._batch -= not person

    def _choose(self, start: bytes, *, person: bool) -> _Slot:
        free = [slot for slot in self._slots if not slot.busy]
        if not person and len(free) > 1:
            free = [slot for slot in free if slot.number]
        lowest = person and self._batch > 0
        return max(free, key=lambda slot: (_alike(start, slot.start), 0 if lowest else -slot.used, -slot.number))


def _alike(start: bytes, other: bytes) -> int:
    """Return how many bytes two requests begin with alike; 0 when that is not worth anything."""
    least = max(ALIKE_BYTES_MIN, int(ALIKE_SHARE_MIN * len(start)))
    most = min(len(start), len(other))
    if least > most or start[:least] != other[:least]:
        return 0
    while least < most:
        middle = (least + most + 1) // 2
        if start[:middle] == other[:middle]:
            least = middle
        else:
            most = middle - 1
    return least
