"""A text document's characters: UTF-8, UTF-16 with its mark, else Western European; never a guess that garbles."""

import codecs
import re
from typing import Final

from slackwater.domain.document import DocumentError

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSETS: Final = frozenset({"utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "ascii", "cp1252", "cp949"}) | {
    "euc_kr", "shift_jis", "euc_jp", "gb18030", "gbk", "gb2312", "big5",
    "koi8-r", "cp1250", "cp1251", "iso8859-2", "iso8859-15",
}  # fmt: skip
"""Codecs that a declared charset may name: Python has others, which are not text."""
_CONTROLS: Final = re.compile(b"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_NOT_WESTERN: Final = re.compile(rb"[\x80-\xff]{4}")
"""Words of Latin script have single letters above ASCII; four in a row are another script in an older encoding."""
SAMPLE_BYTES: Final = 2**16
"""As much as is looked at to tell what a file is."""
PIECE_BYTES: Final = 2**20
"""As much as is decoded in one go: other threads get their turn in between."""


def read_text(data: bytes, *, charset: str | None = None) -> str:
    """Decode. Raises DocumentError when no rule fits."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return _decoded(data, codec)
    if charset is not None:
        return _decoded(data, _codec(charset))
    if b"\0" in data or _CONTROLS.search(data, 0, SAMPLE_BYTES):
        raise DocumentError(_NO_TEXT)
    try:
        return _in_pieces(data, "utf-8")
    except UnicodeDecodeError as error:
        return _western(data, error)


_NO_TEXT: Final = "The file is not text: it contains control characters"


def _codec(charset: str) -> str:
    try:
        codec = codecs.lookup(charset).name
    except (LookupError, ValueError):
        codec = ""
    if codec not in _CHARSETS:
        raise DocumentError("The text's charset is not supported; use UTF-8")
    return codec


def _decoded(data: bytes, codec: str) -> str:
    try:
        text = _in_pieces(data, codec)
    except UnicodeError as error:  # a UTF-16 without its mark has no place where it goes wrong
        raise DocumentError(f"The text is not valid {codec.removesuffix('-sig').upper()}") from error
    if "\0" in text:
        raise DocumentError(_NO_TEXT)
    return text


def _western(data: bytes, failure: UnicodeDecodeError) -> str:
    odd = data.find(failure.object[failure.start : failure.start + 1])  # the failure knows its place in its piece only
    if _NOT_WESTERN.search(data, max(0, odd - 3), odd + SAMPLE_BYTES) is None:
        try:
            return _in_pieces(data, "cp1252")  # what is called Latin-1 on the web
        except UnicodeDecodeError:
            pass
    raise DocumentError("The text is neither UTF-8 nor Latin-1; use UTF-8")


def _in_pieces(data: bytes, codec: str) -> str:
    decoder = codecs.getincrementaldecoder(codec)()
    pieces = [decoder.decode(data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES)]
    return "".join([*pieces, decoder.decode(b"", final=True)])
