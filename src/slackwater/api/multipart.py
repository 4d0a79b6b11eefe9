"""A form with one file, taken apart while it streams in: the file's bytes flow on, everything else is small and kept.

The parts are told apart by their names alone: SDKs send raw bytes without a file name, and fields in either order
(contract §6.1). Nothing depends on where the network cuts the body.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from slackwater.domain.errors import InvalidRequestError, RequestTooLargeError

FILE: Final = "file"
ENVELOPE_BYTES_MAX: Final = 256 * 1024
"""What a form may have beside the file's bytes: boundaries, headers and other fields."""
FIELD_BYTES_MAX: Final = 1024
PARTS_MAX: Final = 64
HEADERS_MAX: Final = 16
HEADER_BYTES_MAX: Final = 8 * 1024
"""A file name of 255 characters, each written as twelve, fits; a longer one is told that it is too long."""

_MEDIA_TYPE = re.compile(r"\s*multipart/form-data\s*(?:;|$)", re.IGNORECASE)
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]*)"|([^\s;"]*))', re.IGNORECASE)
_BOUNDARY_TEXT = re.compile(r"[ !-~]{0,69}[!-~]")  # RFC 2046 §5.1.1 allows fewer characters, clients do not
_PARAMETER = re.compile(r"""\s*;\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))""")
_ESCAPED = re.compile(r'\\(["\\])|%(22|0[AaDd])')
"""What old clients write with a backslash, and the three characters that newer ones write with a percent sign."""
_PLAIN_CODINGS = frozenset({"", "binary", "8bit", "7bit"})
_CHARSETS = frozenset({"utf-8", "iso-8859-1", "us-ascii"})
_SILENT = logging.getLogger(f"{__name__}.parser")
_SILENT.disabled = True  # what a client got wrong is told to the client, and to nobody else


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """What came with the file's bytes, as the client wrote it."""

    filename: str | None
    """None where the part has none."""
    media_type: str | None
    fields: Mapping[str, str]
    """The fields asked for that were there."""


@dataclass(kw_only=True, slots=True)
class _Part:
    """The part that is coming in."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    field_name: str | None = None
    """None for a part nobody asked for."""
    text: bytes = b""


class Form:
    """Takes a body piece by piece. After an error it is of no further use."""

    def __init__(self, content_type: str, *, file_bytes_max: int, fields: frozenset[str] = frozenset()) -> None:
        """Read the boundary from the content type. Raises InvalidRequestError for a body of another kind."""
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._part_begins,
                "on_header_begin": self._header_begins,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._ends,
            },
            max_header_count=HEADERS_MAX,
            max_header_size=HEADER_BYTES_MAX,
        )
        self._parser.logger = _SILENT
        self._wanted = fields | {FILE}
        self._file_bytes_left = file_bytes_max
        self._other_bytes_left = ENVELOPE_BYTES_MAX
        self._parts = 0
        self._part = _Part()
        self._seen: set[str] = set()
        self._fields: dict[str, str] = {}
        self._filename: str | None = None
        self._media_type: str | None = None
        self._file_data: list[bytes] = []
        self._ended = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next piece of the body; return what of it belongs to the file.

        Raises InvalidRequestError, and RequestTooLargeError once a limit is crossed.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _invalid(str(error)) from error
        data, self._file_data = self._file_data, []
        return data

    def finish(self) -> Received:
        """Say that the body has ended. Raises InvalidRequestError for a cut body, or one without a file."""
        if not self._ended:
            raise _invalid("it ends before its last boundary")
        if FILE not in self._seen:
            raise InvalidRequestError(f"{FILE}: Field required")
        return Received(filename=self._filename, media_type=self._media_type, fields=self._fields)

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise _invalid(f"it has more than {PARTS_MAX} parts")
        self._part = _Part()

    def _header_begins(self) -> None:
        self._part.headers.append((b"", b""))

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        name, value = self._part.headers[-1]
        self._part.headers[-1] = (name + data[start:end], value)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        name, value = self._part.headers[-1]
        self._part.headers[-1] = (name, value + data[start:end])

    def _headers_end(self) -> None:
        headers = _headers(self._part.headers)
        parameters = _disposition(headers.get("content-disposition", ""))
        name = parameters.get("name", "")
        if name not in self._wanted:
            return
        if name in self._seen:
            raise InvalidRequestError(f"{name}: Only one part of this name may be sent")
        if headers.get("content-transfer-encoding", "").lower() not in _PLAIN_CODINGS:
            raise InvalidRequestError(
                f"{name}: a content-transfer-encoding is not supported; send the bytes as they are"
            )
        self._seen.add(name)
        self._part.field_name = name
        if name == FILE:
            self._filename = _filename(parameters)
            self._media_type = headers.get("content-type")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part, length = self._part, end - start
        if part.field_name == FILE:
            self._file_bytes_left -= length
            if self._file_bytes_left < 0:
                raise RequestTooLargeError
            self._file_data.append(data[start:end])
            return
        self._other_bytes_left -= length
        if self._other_bytes_left < 0:
            raise RequestTooLargeError
        if part.field_name is not None:
            part.text += data[start:end]
            if len(part.text) > FIELD_BYTES_MAX:
                raise InvalidRequestError(f"{part.field_name}: Value should have at most {FIELD_BYTES_MAX} bytes")

    def _part_ends(self) -> None:
        name = self._part.field_name
        if name is not None and name != FILE:
            self._fields[name] = _text(self._part.text, name)

    def _ends(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> bytes:
    if not _MEDIA_TYPE.match(content_type):
        raise InvalidRequestError("content-type: a file is uploaded as multipart/form-data")
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2] or "") if found else ""
    if not _BOUNDARY_TEXT.fullmatch(boundary):
        raise InvalidRequestError("content-type: multipart/form-data needs a boundary of 1 to 70 characters")
    return boundary.encode()


def _headers(lines: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of a part by their names in lower case; of equal names the first counts."""
    headers: dict[str, str] = {}
    for name, value in lines:
        headers.setdefault(name.decode("ascii", "replace").lower(), _text(value, "part headers").strip())
    return headers


def _disposition(value: str) -> dict[str, str]:
    """Return the parameters of `form-data; name="…"; …`. Raises InvalidRequestError."""
    kind, semicolon, _ = value.partition(";")
    if kind.strip().lower() != "form-data":
        raise _invalid("a part has no content-disposition: form-data")
    parameters: dict[str, str] = {}
    position, end = len(kind), len(value.rstrip("; \t"))
    while semicolon and position < end:
        found = _PARAMETER.match(value, position)
        if found is None or found[1].lower() in parameters:
            raise _invalid("the content-disposition of a part cannot be read")
        parameters[found[1].lower()] = found[3] if found[2] is None else found[2]
        position = found.end()
    return parameters


def _filename(parameters: Mapping[str, str]) -> str | None:
    """Return the name; what `filename*` says wins (RFC 6266 §4.3). Raises InvalidRequestError."""
    extended = parameters.get("filename*")
    if extended is None:
        plain = parameters.get("filename")
        return None if plain is None else _ESCAPED.sub(_unescaped, plain)
    charset, _, rest = extended.partition("'")
    encoded = rest.partition("'")[2]
    if charset.lower() not in _CHARSETS or not encoded:
        raise InvalidRequestError("filename: filename* should look like UTF-8''name")
    try:
        return unquote_to_bytes(encoded).decode(charset)
    except UnicodeDecodeError:
        raise InvalidRequestError(f"filename: not valid {charset.upper()}") from None


def _unescaped(found: re.Match[str]) -> str:
    escaped: str = found[1] or chr(int(found[2], 16))
    return escaped


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name}: not valid UTF-8") from None


def _invalid(detail: str) -> InvalidRequestError:
    return InvalidRequestError(f"The request body is not valid multipart/form-data: {detail}")
