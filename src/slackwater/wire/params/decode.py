"""From bytes to a JSON object, whatever the bytes are (reliability B6, B7).

msgspec refuses most oddities by itself: NaN, 1e400, a byte order mark, trailing data, control characters, lone
surrogates. What it lets through and we do not (depth, integers nobody else can read, U+0000, which PostgreSQL cannot
store in text) is looked for only in bodies that can contain it, so that an ordinary body pays next to nothing.
"""

import re
from typing import Any

import msgspec

from slackwater.domain.limits import JSON_DEPTH_MAX
from slackwater.wire.params.failure import ParamsError

INTEGER_MAGNITUDE_MAX = 10**20 - 1
"""Twenty digits: what clients send as 64-bit numbers fits, what only bignum languages can read does not."""

INERT_BYTES_MAX = 2**20
"""Bodies up to this size cannot hold enough values to hurt, and are not counted."""
STRUCTURE_MAX = 1_000_000
"""Objects, lists or fields in a body: a million is more than any context window holds as text, and far from seconds."""

_DECODER = msgspec.json.Decoder()
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BYTE_OFFSET = re.compile(r"^JSON is malformed: (?P<detail>.*) \(byte (?P<offset>\d+)\)$")


def decode_object(body: bytes | memoryview) -> dict[str, Any]:
    """Decode a JSON object; raise `ParamsError` for anything else."""
    raw = body if isinstance(body, bytes) else bytes(body)
    if len(raw) > INERT_BYTES_MAX:
        _check_structure(raw)
    try:
        value = _DECODER.decode(raw)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParamsError(f"The request body is not valid JSON: {_where(error, raw)}") from None
    if type(value) is not dict:
        message = "Input should be a valid dictionary"
        raise ParamsError(message)
    # the search for one character is far faster than the other, and spares it bodies that are mostly base64
    if b"\\" in raw and b"\\u0000" in raw:
        _check_nul(value)
    return value


def check_unchecked(values: list[Any]) -> None:
    """Refuse nesting over the limit and integers over twenty digits inside values that no shape has bounded."""
    _check_depth(values)
    try:
        # C speed, and it overflows beyond 64 bits, which is the only case worth a look of our own
        msgspec.msgpack.encode(values)
    except OverflowError:
        for scalar in _scalars(values):
            if type(scalar) is int and abs(scalar) > INTEGER_MAGNITUDE_MAX:
                message = "The request body is not valid JSON: an integer has more than 20 digits"
                raise ParamsError(message) from None


def too_deep() -> ParamsError:
    """Word the refusal of a body that is nested too deeply."""
    return ParamsError(f"The request body is nested too deeply: more than {JSON_DEPTH_MAX} levels")


def _check_structure(raw: bytes) -> None:
    """Refuse bombs of tiny values before they become a hundred times their size; strings count too, harmlessly."""
    if raw.count(b"{") + raw.count(b"[") > STRUCTURE_MAX or raw.count(b'":') > STRUCTURE_MAX:
        message = f"The request body has more than {STRUCTURE_MAX} objects, lists or fields"
        raise ParamsError(message)


def _check_depth(values: list[Any]) -> None:
    """Walk level by level, containers only; `values` stand in for the levels above them."""
    level: list[Any] = [values]
    for _ in range(JSON_DEPTH_MAX):
        below: list[Any] = []
        for container in level:
            for item in container.values() if type(container) is dict else container:
                if type(item) is dict or type(item) is list:
                    below.append(item)  # noqa: PERF401  # measured: a comprehension over both kinds is slower
        if not below:
            return
        level = below
    raise too_deep()


def _scalars(value: object) -> list[object]:
    """Every scalar and every key inside a value that is known not to be too deep."""
    found: list[object] = []
    level = [value]
    while level:
        below: list[object] = []
        for item in level:
            if type(item) is dict:
                found.extend(item)
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
            else:
                found.append(item)
        level = below
    return found


def _check_nul(value: object) -> None:
    if any(type(scalar) is str and "\0" in scalar for scalar in _scalars(value)):
        message = "The request body is not valid JSON: U+0000 is not allowed in strings"
        raise ParamsError(message)


def _where(error: msgspec.DecodeError | UnicodeDecodeError, raw: bytes) -> str:
    """Word a syntax error as `<detail>: line L column C (char N)`; offsets count bytes."""
    if isinstance(error, UnicodeDecodeError):
        return "invalid UTF-8 in a string"
    text = str(error)
    if match := _BYTE_OFFSET.match(text):
        detail, offset = match["detail"], int(match["offset"])
    elif text == "Input data was truncated" and not _ESCAPED_SURROGATE.search(raw):
        detail, offset = "unexpected end of data", len(raw)
    elif text == "Input data was truncated":
        return "unexpected end of data or a lone surrogate in a \\u escape"
    else:
        return text.partition(" - at ")[0]
    line = raw.count(b"\n", 0, offset) + 1
    column = offset - (raw.rfind(b"\n", 0, offset) + 1) + 1
    return f"{detail}: line {line} column {column} (char {offset})"
