"""A glance at `params` that costs no validation: the model, and where its prompt begins like another's."""

import re
from itertools import islice

import msgspec

MODEL_LENGTH_MAX = 256
_MESSAGE_CUTS_BYTES = (1_024, 4_096, 16_384, 65_536)
CUT_BYTES_MIN = 1_024
"""Starts shorter than this are worth no cut: no cache keeps them, and looking at them costs every small request."""
FILE_BYTES = 4_096
"""What a file counts for in the length of a prompt that names it: it is not here, and rarely shorter than that."""
_FILES_MAX = 8
"""Looked at in one prompt: each of them is one more cut."""
_NAMES_FILE = b'"file_id"'
_FILE = re.compile(rb'"file_id"\s*:\s*"[^"]*"')

_NOTHING = msgspec.Raw(b"")


class _Glance(msgspec.Struct, gc=False):
    model: str
    tools: msgspec.Raw = _NOTHING
    system: msgspec.Raw = _NOTHING
    messages: msgspec.Raw = _NOTHING


_GLANCE = msgspec.json.Decoder(_Glance)
_BLOCKS = msgspec.json.Decoder(list[msgspec.Raw])


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """What planning needs to know about a request."""

    model: str
    cuts: tuple[tuple[int, int], ...]
    """(bytes from the prompt's start, hash of those bytes), growing; equal starts have equal hashes in one process.

    A file that is named by its id counts `FILE_BYTES`.
    """


def glance(params: msgspec.Raw) -> Prompt | None:
    """Read a request's prompt as far as planning needs it; None where it cannot be read (its result will say why)."""
    try:
        seen = _GLANCE.decode(params)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if not 0 < len(seen.model) <= MODEL_LENGTH_MAX:
        return None
    return Prompt(seen.model, tuple(_cuts(seen)))


def _cuts(seen: _Glance) -> list[tuple[int, int]]:
    cuts: list[tuple[int, int]] = []
    length = 0
    if seen.tools is not _NOTHING or seen.system is not _NOTHING:
        for part in (seen.tools, seen.system):
            view = memoryview(part)
            if len(view) >= CUT_BYTES_MIN:
                first = _first_block(view)
                if first is not None:
                    cuts.append((length + len(first), hash(first)))
                cuts.append((length + len(view), hash(bytes(view))))
            length += len(view)
    cuts += _message_cuts(bytes(memoryview(seen.messages)[: _MESSAGE_CUTS_BYTES[-1]]), length)
    return cuts


def _message_cuts(start: bytes, length: int) -> list[tuple[int, int]]:
    """Cut the start of the messages at some sizes, and behind files, which stand for more than their ids show."""
    sizes = [size for size in _MESSAGE_CUTS_BYTES if size <= len(start)]
    if _NAMES_FILE not in start:
        return [(length + size, hash(start[:size])) for size in sizes]
    files = [found.end() for found in islice(_FILE.finditer(start), _FILES_MAX)]
    places = sorted({*files, *sizes})
    return [
        (length + place + FILE_BYTES * sum(file <= place for file in files), hash(start[:place])) for place in places
    ]


def _first_block(view: memoryview) -> bytes | None:
    """Return the first of several blocks: the part of `tools` or `system` that is often shared when the rest is not."""
    if bytes(view[:1]) != b"[":
        return None
    try:
        blocks = _BLOCKS.decode(view)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return bytes(memoryview(blocks[0])) if len(blocks) > 1 else None
