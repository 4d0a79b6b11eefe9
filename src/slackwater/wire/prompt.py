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


def glance(params: msgspec.Raw, *, files: bool = True) -> Prompt | None:
    """Read a request's prompt as far as planning needs it; None where it cannot be read (its result will say why).

    Without `files` it is known to name none.
    """
    try:
        seen = _GLANCE.decode(params)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if not 0 < len(seen.model) <= MODEL_LENGTH_MAX:
        return None
    cuts: tuple[tuple[int, int], ...] = ()
    length = 0
    for part in (seen.tools, seen.system):
        if part is not _NOTHING:
            view = memoryview(part)
            if len(view) >= CUT_BYTES_MIN:
                cuts += _part_cuts(view, length)
            length += len(view)
    messages = memoryview(seen.messages)
    if files and _NAMES_FILE in (start := bytes(messages[: _MESSAGE_CUTS_BYTES[-1]])):
        cuts += _cuts_with_files(start, length)
    elif len(messages) >= CUT_BYTES_MIN:
        cuts += _message_cuts(messages, length)
    return Prompt(seen.model, cuts)


def _message_cuts(messages: memoryview, length: int) -> tuple[tuple[int, int], ...]:
    cuts: tuple[tuple[int, int], ...] = ()
    for size in _MESSAGE_CUTS_BYTES:
        if size > len(messages):
            break
        cuts += ((length + size, hash(messages[:size].tobytes())),)
    return cuts


def _part_cuts(view: memoryview, length: int) -> tuple[tuple[int, int], ...]:
    whole = (length + len(view), hash(bytes(view)))
    first = _first_block(view)
    return (whole,) if first is None else ((length + len(first), hash(first)), whole)


def _cuts_with_files(start: bytes, length: int) -> tuple[tuple[int, int], ...]:
    """Cut also behind files, which stand for more than their ids show."""
    sizes = [size for size in _MESSAGE_CUTS_BYTES if size <= len(start)]
    ends = [found.end() for found in islice(_FILE.finditer(start), _FILES_MAX)]
    places = sorted({*ends, *sizes})
    return tuple(
        (length + place + FILE_BYTES * sum(file <= place for file in ends), hash(start[:place])) for place in places
    )


def _first_block(view: memoryview) -> bytes | None:
    """Return the first of several blocks: the part of `tools` or `system` that is often shared when the rest is not."""
    if bytes(view[:1]) != b"[":
        return None
    try:
        blocks = _BLOCKS.decode(view)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return bytes(memoryview(blocks[0])) if len(blocks) > 1 else None
