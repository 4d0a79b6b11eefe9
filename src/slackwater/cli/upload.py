"""A file becoming the body of an upload: a form that is written while it is sent, so that its size does not matter."""

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from slackwater.cli.exits import Failure
from slackwater.cli.output import message, styled

STDIN = "-"
_PIECE_BYTES = 2**18

OnSent = Callable[[int], None]
"""Told how many more bytes of the file were handed over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One file and what is said about it."""

    file: BinaryIO
    size_bytes: int
    filename: str | None
    mime_type: str | None
    """None: the server finds out."""
    expires_in_seconds: int | None
    boundary: str = field(default_factory=lambda: f"slackwater-{secrets.token_hex(16)}")

    @property
    def headers(self) -> dict[str, str]:
        """What the HTTPRequest says about its body."""
        length = self.size_bytes + len(self._head()) + len(self._tail())
        return {"content-type": f"multipart/form-data; boundary={self.boundary}", "content-length": str(length)}

    def pieces(self, on_sent: OnSent) -> Iterator[bytes]:
        """Yield the form from its start; may be asked for again. Raises Failure when the file has become shorter."""
        self.file.seek(0)
        yield self._head()
        left = self.size_bytes
        while left:
            piece = self.file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise Failure(f"{self.filename} became shorter while it was being sent")
            left -= len(piece)
            yield piece
            on_sent(len(piece))
        yield self._tail()

    def _head(self) -> bytes:
        edge = f"--{self.boundary}\r\n".encode()
        form = b"content-disposition: form-data; name="
        lifetime = b""
        if self.expires_in_seconds is not None:
            lifetime = edge + form + b'"expires_in_seconds"\r\n\r\n%d\r\n' % self.expires_in_seconds
        name = b"" if self.filename is None else b'; filename="%s"' % _quoted(self.filename)
        kind = b"" if self.mime_type is None else b"\r\ncontent-type: " + self.mime_type.encode()
        return lifetime + edge + form + b'"file"' + name + kind + b"\r\n\r\n"

    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


def check_sources(sources: tuple[str, ...]) -> None:
    """Look whether all of them can be read, before any is sent. Raises Failure."""
    for source in sources:
        if source != STDIN:
            _open(source).close()


@contextmanager
def opened(source: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file and tell its size; stdin goes through a temporary file, which can be sent again. Raises Failure."""
    if source != STDIN:
        with _open(source) as file:
            yield file, os.fstat(file.fileno()).st_size
        return
    with tempfile.TemporaryFile() as spool:
        while piece := sys.stdin.buffer.read(_PIECE_BYTES):
            spool.write(piece)
        yield spool, spool.tell()


@contextmanager
def progress(upload: Upload, base_url: str) -> Iterator[OnSent]:
    """Show how far an upload is: a bar on a terminal, one line elsewhere."""
    name = upload.filename or "stdin"
    if not styled():
        message(f"sending {name}, {upload.size_bytes:,} bytes, to {base_url}")
        yield lambda _sent: None
        return
    from rich.console import Console  # noqa: PLC0415  # only on a terminal
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(_printable(name), total=upload.size_bytes)
        yield lambda sent: bar.advance(task, sent)


def _open(source: str) -> BinaryIO:
    try:
        return Path(source).open("rb")
    except FileNotFoundError:
        raise Failure(f"{source}: there is no such file") from None
    except IsADirectoryError:
        raise Failure(f"{source} is a directory; name the files in it") from None
    except OSError as problem:
        raise Failure(f"{source}: {problem.strerror or problem}") from None


def _quoted(filename: str) -> bytes:
    """Write a name as browsers do: as it is, but for the three characters that would end it."""
    text = filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return os.fsencode(text)


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)
