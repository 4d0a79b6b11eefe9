"""Realign: give the stored requests of a shard their places again after damage made or removed a line break (D5)."""

import re
from itertools import takewhile

import msgspec

from slackwater.wire.stored import StoredRequest

_ID = re.compile(rb'\{"index":\d+,"group":\d+,"custom_id":"([a-zA-Z0-9_-]{1,64})","params":')


def realigned(data: bytes, found: list[StoredRequest], count: int) -> list[StoredRequest]:
    """Return `count` requests for a shard's `data`, which `found` was read from line by line.

    What lies before the first damaged line and after the last one is as it was; all between them counts as damaged.
    """
    front = list(takewhile(_intact, found))
    back = list(takewhile(_intact, reversed(found[len(front) :])))[::-1]
    lines = data.removesuffix(b"\n").split(b"\n")
    names = [name.decode() for name in _ID.findall(b"\n".join(lines[len(front) : len(lines) - len(back)]))]
    between = range(len(front), count - len(back))
    if len(names) != len(between):
        names = [f"unreadable-{position}" for position in between]
    damaged = [
        StoredRequest(index=position, group=0, custom_id=name, params=msgspec.Raw(b"{}"), damaged=True)
        for position, name in zip(between, names, strict=True)
    ]
    return [*front, *damaged, *back][:count]


def _intact(request: StoredRequest) -> bool:
    return not request.damaged
