"""The entries of a create body while it still arrives, as long as it is laid out like nearly all are.

What lies between two places where one entry ends and `{"custom_id"` begins the next is decoded as a list. `params` may
hold the same words; then the list is not whole, and nothing is taken from it. Whatever is wrong or laid out differently
is left to `decode_envelope`, which sees the whole body and knows what to say.
"""

import mmap
import re
from collections.abc import Iterable, Iterator

import msgspec

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.limits import BATCH_REQUESTS_MAX
from slackwater.wire.envelope import HEAD, Item, are_objects, check_utf8

_LIST = msgspec.json.Decoder(list[Item])
_NEXT = b'"custom_id"'
_COMMA_BEFORE = re.compile(rb",\s*\{\s*\Z")
_CLOSING = re.compile(rb"\]\s*\}\s*\Z")
_BLANKS_MAX = 256
"""Looked at around a comma and behind the last entry: nobody indents deeper."""
_WRONG_PLACES_MAX = 4


class OtherwiseError(Exception):
    """The body has to be read as a whole."""


def arriving(body: mmap.mmap, lengths: Iterable[int]) -> Iterator[tuple[list[Item], int, int]]:
    """Yield entries with the place in the body that they were read from, as soon as they are there.

    `body` is a private map (`ACCESS_COPY`) of the whole length; `lengths` tells how much of it has arrived, growing to
    all of it. The `params` of an entry is a view into the map. Raises OtherwiseError.
    """
    start, seen, count, wrong = -1, 0, 0, 0
    for length in lengths:
        body.madvise(mmap.MADV_DONTNEED)  # a page that was written to no longer shows what the file gets
        if start < 0:
            start = _start(body, length)
        end = _last_comma(body, start, seen, length) if length < len(body) else _closing(body, start)
        seen = length - len(_NEXT)
        if end < 0:
            continue
        items = _decoded(body, start, end)
        if not items:
            wrong += 1
            if wrong > _WRONG_PLACES_MAX or length == len(body):
                raise OtherwiseError
            continue
        count += len(items)
        if count > BATCH_REQUESTS_MAX or not are_objects(items):
            raise OtherwiseError
        yield items, start, end
        start = end
    if count == 0 or body[start] != ord("]"):
        raise OtherwiseError


def _start(body: mmap.mmap, length: int) -> int:
    """Return the place of the bracket that opens the list."""
    found = HEAD.match(body, 0, length)
    if found is None:
        raise OtherwiseError
    return found.end() - 1


def _last_comma(body: mmap.mmap, start: int, seen: int, length: int) -> int:
    """Return the place of the last comma between two entries, looking at what was not seen before, or -1."""
    found = body.rfind(_NEXT, max(start + 1, seen), length)
    before = max(start + 1, found - _BLANKS_MAX)
    comma = _COMMA_BEFORE.search(body[before:found]) if found >= 0 else None
    return -1 if comma is None else before + comma.start()


def _closing(body: mmap.mmap, start: int) -> int:
    """Return the place of the bracket that closes the list."""
    after = max(start + 1, len(body) - _BLANKS_MAX)
    found = _CLOSING.search(body[after:])
    if found is None:
        raise OtherwiseError
    return after + found.start()


def _decoded(body: mmap.mmap, start: int, end: int) -> list[Item] | None:
    """Decode what lies between two separators, which are brackets for that time; None when it is no list."""
    separators = body[start], body[end]
    body[start], body[end] = b"[]"
    try:
        view = memoryview(body)[start : end + 1]
        check_utf8(view)
        return _LIST.decode(view)
    except (msgspec.MsgspecError, InvalidRequestError, RecursionError, MemoryError):
        return None
    finally:
        body[start], body[end] = separators
