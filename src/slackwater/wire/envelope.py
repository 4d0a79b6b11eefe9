"""The body of a create call, decoded once and without copying what is inside `params` (contract §4.1).

Only the envelope is looked at: `params` stays raw bytes, because everything in it is judged later, request by request.
What msgspec finds wrong is said again in the words of the real API, whose messages are pydantic's.
"""

import codecs
import mmap
import re
from collections.abc import Iterable
from typing import NoReturn

import msgspec

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.limits import BATCH_REQUESTS_MAX, CUSTOM_ID_LENGTH_MAX, CUSTOM_ID_PATTERN


class Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One entry of `requests`."""

    custom_id: str
    params: msgspec.Raw


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The whole body."""

    requests: list[Item]


Body = bytes | memoryview | mmap.mmap

_DECODER = msgspec.json.Decoder(Envelope)
_CUSTOM_ID = re.compile(CUSTOM_ID_PATTERN)
_CUSTOM_IDS = re.compile(rf"(?:{CUSTOM_ID_PATTERN})*+")  # one after the other
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"`([^`]*)`")
_BYTE = re.compile(r" \(byte (\d+)\)")
_UTF8_STEP_BYTES = 2**16
"""Small enough that the memory for one step's text is used again for the next, not asked of the system anew."""
_TYPE_SENTENCES = {
    "object": "Input should be a valid dictionary",
    "array": "Input should be a valid list",
    "str": "Input should be a valid string",
}
HEAD = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[')
_ITEM_START = re.compile(rb"\s*\{\s*")
_ID_FIRST = re.compile(rb'"custom_id"\s*:\s*"[^"]*"\s*,\s*"params"\s*:\s*')
_PARAMS_FIRST = re.compile(rb'"params"\s*:\s*')
_ITEM_END = re.compile(rb"\s*\}")
_ID_LAST = re.compile(rb'\s*,\s*"custom_id"\s*:\s*"[^"]*"\s*\}')
_COMMA = re.compile(rb"\s*,")
_FIRST_ITEM = re.compile(HEAD.pattern + _ITEM_START.pattern + _ID_FIRST.pattern)
_NEXT_ITEM = re.compile(_ITEM_END.pattern + _COMMA.pattern + _ITEM_START.pattern + _ID_FIRST.pattern)
_TAIL = re.compile(rb"\s*\]\s*\}\s*\Z")
_END = re.compile(_ITEM_END.pattern + _TAIL.pattern)
_OPENING_BRACE = ord("{")
_BARE_BYTES = len(b'{"requests":[]}') - len(b",")
_BARE_ITEM_BYTES = len(b'{"custom_id":"","params":},')
_TOO_MANY = f"requests: List should have at most {BATCH_REQUESTS_MAX} items after validation"


def decode_envelope(body: bytes | memoryview) -> list[Item]:
    """Return the entries of a create body, each checked as far as the envelope goes.

    The `params` of an entry is a view into `body`, which has to stay alive. Raises InvalidRequestError, which names the
    first entry that is wrong.
    """
    check_utf8(body)
    try:
        items = _DECODER.decode(body).requests
    except msgspec.ValidationError as error:
        raise InvalidRequestError(_sentence(str(error))) from None
    except msgspec.DecodeError as error:
        raise InvalidRequestError(not_json(str(error), body)) from None
    except RecursionError:
        message = "The request body is not valid JSON: it is nested too deeply"
        raise InvalidRequestError(message) from None
    except MemoryError:
        raise InvalidRequestError(_TOO_MANY) from None
    if not items:
        message = "requests: List should have at least 1 item after validation, not 0"
        raise InvalidRequestError(message)
    if len(items) > BATCH_REQUESTS_MAX:
        raise InvalidRequestError(f"{_TOO_MANY}, not {len(items)}")
    _check_items(items)
    _check_duplicate_keys(body, items)
    return items


def are_plainly_fine(body: Body, items: list[Item]) -> bool:
    """Tell whether entries of objects, which are all of a body, need no closer look: most need none."""
    return _have_good_ids(items) and _has_no_more(body, items)


def are_objects(items: Iterable[Item]) -> bool:
    """Tell whether all `params` begin as objects do."""
    return {memoryview(item.params)[0] for item in items} <= {_OPENING_BRACE}


def check_utf8(body: bytes | memoryview) -> None:
    """Refuse a body that is not UTF-8 throughout: msgspec does not look inside raw values (reliability B7)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    try:
        for start in range(0, len(view), _UTF8_STEP_BYTES):
            decoder.decode(view[start : start + _UTF8_STEP_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        message = f"The request body is not valid JSON: it is not UTF-8 ({error.reason})"
        raise InvalidRequestError(message) from None


def not_json(what: str, body: bytes | memoryview) -> str:
    """Put a decoder's complaint into the API's words, with line, column and character."""
    found = _BYTE.search(what)
    detail = _BYTE.sub("", what).removeprefix("JSON is malformed: ")
    at = min(int(found.group(1)), len(body)) if found else len(body)
    before = bytes(memoryview(body)[:at])
    line = before.count(b"\n") + 1
    column = at - (before.rfind(b"\n") + 1) + 1
    return f"The request body is not valid JSON: {detail}: line {line} column {column} (char {at})"


def _sentence(complaint: str) -> str:
    """Turn `Expected `str`, got `int` - at `$.requests[3].custom_id`` into the API's form."""
    found = _WHERE.match(complaint)
    what, path = (found.group("what"), found.group("path") or "$") if found else (complaint, "$")
    words = _FIELD.findall(what)
    parts = [part for part in re.split(r"[.\[\]]+", path.removeprefix("$")) if part]
    if what.startswith("Object missing required field"):
        return f"{'.'.join([*parts, words[0]])}: Field required"
    if what.startswith("Object contains unknown field"):
        return f"{'.'.join([*parts, words[0]])}: Extra inputs are not permitted"
    if what.startswith("Expected") and words:
        sentence = _TYPE_SENTENCES.get(words[0], f"Input should be {words[0]}")
        return f"{'.'.join(parts)}: {sentence}" if parts else sentence
    return f"{'.'.join(parts)}: {what}" if parts else what


def _check_items(items: list[Item]) -> None:
    if _have_good_ids(items) and are_objects(items):
        return
    full_match = _CUSTOM_ID.fullmatch
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        custom_id = item.custom_id
        if full_match(custom_id) is None:
            _refuse_custom_id(index, custom_id)
        first = seen.setdefault(custom_id, index)
        if first != index:
            message = f"requests: custom_id must be unique; '{custom_id}' appears at {first} and {index}"
            raise InvalidRequestError(message)
        if memoryview(item.params)[0] != _OPENING_BRACE:
            message = f"requests.{index}.params: {_TYPE_SENTENCES['object']}"
            raise InvalidRequestError(message)


def _have_good_ids(items: list[Item]) -> bool:
    """Look at all ids together, which is soon done; what is wrong with one is found by a walk."""
    ids = [item.custom_id for item in items]
    lengths = [len(custom_id) for custom_id in ids]
    return (
        min(lengths) > 0
        and max(lengths) <= CUSTOM_ID_LENGTH_MAX
        and len(set(ids)) == len(ids)
        and _CUSTOM_IDS.fullmatch("".join(ids)) is not None
    )


def _refuse_custom_id(index: int, custom_id: str) -> NoReturn:
    if not custom_id:
        sentence = "String should have at least 1 character"
    elif len(custom_id) > CUSTOM_ID_LENGTH_MAX:
        sentence = f"String should have at most {CUSTOM_ID_LENGTH_MAX} characters"
    else:
        sentence = f"String should match pattern '^{CUSTOM_ID_PATTERN}$'"
    raise InvalidRequestError(f"requests.{index}.custom_id: {sentence}")


def _check_duplicate_keys(body: Body, items: list[Item]) -> None:
    """Refuse a key that comes twice in the envelope: decoders disagree about which one counts (reliability B7)."""
    if _has_no_more(body, items):
        return
    at = _expect(HEAD, body, 0, "requests")
    for index, item in enumerate(items):
        at = _expect(_ITEM_START, body, at, f"requests.{index}")
        found = _ID_FIRST.match(body, at)
        at = found.end() if found else _expect(_PARAMS_FIRST, body, at, f"requests.{index}")
        at += len(memoryview(item.params))
        at = _expect(_ITEM_END if found else _ID_LAST, body, at, f"requests.{index}")
        last = index == len(items) - 1
        at = _expect(_TAIL if last else _COMMA, body, at, "requests" if last else f"requests.{index}")


def _has_no_more(body: Body, items: list[Item]) -> bool:
    """Tell whether a body is its entries and nothing else.

    Where every byte is needed for what was found, nothing else can be there. Other bodies are walked, as if they were
    laid out like nearly all are.
    """
    return len(body) == _bytes_min(items) or _are_ids_first(body, items)


def _bytes_min(items: list[Item]) -> int:
    """Return the length of the shortest body that holds these entries."""
    ids = sum([len(item.custom_id) for item in items])
    params = sum([len(memoryview(item.params)) for item in items])
    return _BARE_BYTES + len(items) * _BARE_ITEM_BYTES + ids + params


def _are_ids_first(body: Body, items: list[Item]) -> bool:
    """Tell whether the envelope is nothing but entries of `custom_id` and `params`, in this order."""
    pattern, at = _FIRST_ITEM, 0
    for item in items:
        found = pattern.match(body, at)
        if found is None:
            return False
        pattern, at = _NEXT_ITEM, found.end() + len(memoryview(item.params))
    return _END.match(body, at) is not None


def _expect(pattern: re.Pattern[bytes], body: Body, at: int, path: str) -> int:
    found = pattern.match(body, at)
    if found is None:
        raise InvalidRequestError(f"{path}: each key must be given once and written without escapes")
    return found.end()
