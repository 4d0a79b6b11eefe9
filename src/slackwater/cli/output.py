"""What reaches stdout and stderr. What a model or another person wrote never steers the terminal (C4)."""

import codecs
import os
import re
import sys
from collections.abc import Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""C0 (all but tab and LF), DEL, C1, and the marks that reorder text."""


def sanitized(text: str) -> str:
    """Drop control characters; what an escape sequence leaves behind is plain text."""
    return _CONTROL.sub("", text)


def on_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def styled() -> bool:
    """Return whether stderr may be animated and coloured."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def message(text: str) -> None:
    """Write a line for people to stderr."""
    sys.stderr.write(sanitized(text) + "\n")
    sys.stderr.flush()


class ReaderGoneError(Exception):
    """Who read stdout has seen enough (`slackwater … | head`). Not an OSError: click would make that a failure."""


class Stdout:
    """Bytes on their way to stdout: unchanged into a file or pipe, without control characters onto a terminal."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace") if on_terminal() else None

    def write(self, data: bytes) -> None:
        """Write a piece; pieces may be cut anywhere."""
        try:
            if self._decoder is None:
                sys.stdout.buffer.write(data)
            else:
                sys.stdout.write(sanitized(self._decoder.decode(data)))
        except BrokenPipeError:
            raise ReaderGoneError from None

    def flush(self) -> None:
        """Hand over everything."""
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderGoneError from None


def write_body(body: bytes) -> None:
    """Write an answer of the API, unchanged, as one line's end ends it."""
    out = Stdout()
    out.write(body if body.endswith(b"\n") else body + b"\n")
    out.flush()


def write_text(text: str) -> None:
    """Write a line of data to stdout."""
    write_body(text.encode())


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a plain table to stdout: columns as wide as they need to be, two spaces apart."""
    lines = [[column.upper() for column in columns]]
    lines += [[sanitized("" if cell is None else str(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    write_text("\n".join(line.rstrip() for line in padded))
