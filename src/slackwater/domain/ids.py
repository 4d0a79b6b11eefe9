"""Identifiers: a prefix, `01`, and 22 base58 characters of a UUIDv7, so that ids sort by time under byte collation.

The shape is the one observed in practice (contract §3); clients must treat ids as opaque, and so do we.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]
_BODY_LENGTH = 22
_RANDOM_BITS = 62
_SEQUENCE_BITS = 12

BATCH = "msgbatch"
FILE = "file"
MESSAGE = "msg"
REQUEST = "req"
WORKSPACE = "wrkspc"
API_KEY = "apikey"
WORKER = "worker"


def base58(number: int) -> str:
    """Write a 128-bit number as 22 base58 characters, zero-padded so that text order is number order."""
    pairs = []
    for _ in range(_BODY_LENGTH // 2):
        number, digits = divmod(number, 58 * 58)
        pairs.append(_PAIRS[digits])
    return "".join(reversed(pairs))


def uuid7_number(milliseconds: int, sequence: int, randomness: int) -> int:
    """Lay out a UUIDv7 (RFC 9562 §5.7): 48 bits of time, version, 12 bits of sequence, variant, 62 random bits."""
    return (
        (milliseconds & ((1 << 48) - 1)) << 80
        | 0x7 << 76
        | (sequence & ((1 << _SEQUENCE_BITS) - 1)) << 64
        | 0b10 << 62
        | (randomness & ((1 << _RANDOM_BITS) - 1))
    )


@dataclass(slots=True)
class IdSource:
    """Makes ids that never go backwards, even when many are made within one millisecond or the clock does."""

    milliseconds: Callable[[], int]
    """Unix time in milliseconds, from the Clock."""
    _last: tuple[int, int] = field(default=(0, 0))
    _lock: Lock = field(default_factory=Lock)
    _random: list[int] = field(default_factory=list)
    """Numbers in stock: fetching lets go of the interpreter's lock, and it can take long to get that back."""

    def new(self, prefix: str) -> str:
        """Return a fresh id such as `msgbatch_01…`."""
        return f"{prefix}_01{base58(self._number())}"

    def _number(self) -> int:
        with self._lock:
            last_ms, sequence = self._last
            now_ms = self.milliseconds()
            if now_ms > last_ms:
                self._last = (now_ms, 0)
            elif sequence + 1 < 1 << _SEQUENCE_BITS:
                self._last = (last_ms, sequence + 1)
            else:
                self._last = (last_ms + 1, 0)
            milliseconds, sequence = self._last
            self._random = self._random or list(memoryview(os.urandom(4096)).cast("Q"))
            randomness = self._random.pop()
        return uuid7_number(milliseconds, sequence, randomness)
