"""Which media type a file has, as far as its first bytes and its name say."""

import codecs
import mimetypes
from typing import Final

from slackwater.documents.images import image_type

HEAD_BYTES: Final = 4096
"""As much as is looked at."""
PDF_BYTES: Final = 1024
"""Where `%PDF-` may stand."""
_BY_CONTENT: Final = frozenset({"application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp"})
"""Types that show in the first bytes: a name alone does not make a file one of them."""
_NAMES: Final = mimetypes.MimeTypes(filenames=())
"""Python's own table: what lies on this machine changes nothing."""
for _kind, _ending in {
    "application/jsonl": ".jsonl",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "text/markdown": ".md",
}.items():
    _NAMES.add_type(_kind, _ending)  # which not every version of Python knows

_TEXT_CONTROLS: Final = frozenset(b"\t\n\v\f\r\x1b")
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def sniff(head: bytes, filename: str | None) -> str:
    """Return what the first bytes say, else what the name says, else text/plain or application/octet-stream."""
    head = head[:HEAD_BYTES]
    shown = image_type(head) or ("application/pdf" if b"%PDF-" in head[:PDF_BYTES] else None)
    if shown is not None:
        return shown
    named, encoding = _NAMES.guess_type((filename or "").lower())
    if named is not None and encoding is None and named not in _BY_CONTENT:
        return named
    return "text/plain" if _is_text(head) else "application/octet-stream"


def _is_text(head: bytes) -> bool:
    if not head or head.startswith(_UTF16):
        return bool(head)
    if any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in head):  # noqa: PLR2004  # the first printed one
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # whose end may be in the middle of a character
    except UnicodeDecodeError:
        return False
    return True
