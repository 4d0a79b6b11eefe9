"""A reading process of ours, seen from the server: started, given one document at a time, and ended.

Everything here may block and belongs into a thread; only `kill` may be called from anywhere. The file goes over as an
open descriptor, so that the process needs no way of its own to anything.
"""

import contextlib
import importlib.util
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from slackwater.domain.document import PDF, DocumentError, PDFPage

READER: Final = Path(__file__).with_name("reader.py")
LIBRARIES: Final = ("pypdfium2", "PIL")
ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")
"""What it gets of ours: keys and addresses are in the rest."""
FRAME: Final = struct.Struct(">cI")
FRAME_BYTES_MAX: Final = 32 * 2**20
ANSWER_BYTES_MAX: Final = 128 * 2**20
"""Text and images of one document."""
LOG_BYTES: Final = 4096
"""How much of what the process wrote last is kept, for our log."""
PAGES_PER_ALLOWANCE: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What the process is told about a document."""

    images: bool
    pages_max: int
    seconds_max: float
    """Of processor time, for every 100 pages and at least once."""
    memory_bytes_max: int


class ReaderFailedError(Exception):
    """The process does not start: nothing that a document could be blamed for."""


class ReaderProcess:
    """One process. `pages` becomes known while it reads; `dead` says whether another one is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._log = bytearray()
        self.pages: int | None = None
        self.read = 0
        """How many documents it has been given."""

    @property
    def dead(self) -> bool:
        """Whether it has ended or is about to."""
        return self._killed or self._process is None or self._process.poll() is not None

    @property
    def log(self) -> str:
        """What it wrote last."""
        return self._log.decode(errors="replace")

    def kill(self) -> None:
        """End it now, wherever it is."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def start(self) -> None:
        """Start it and wait until it is ready. Raises ReaderFailedError."""
        ours, theirs = socket.socketpair()
        errors, writable = os.pipe()
        os.set_blocking(errors, False)
        os.set_blocking(writable, False)  # it never waits for somebody to read what it says
        command = [sys.executable, "-I", "-S", str(READER), str(os.getpid()), str(theirs.fileno()), *_directories()]
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        try:
            with self._lock, theirs:
                if self._killed:
                    raise ReaderFailedError("ended before it started")  # noqa: TRY301  # under the lock
                self._process = subprocess.Popen(  # noqa: S603  # our own program
                    command, stdin=subprocess.DEVNULL, stdout=writable, stderr=writable, env=environment,
                    pass_fds=[theirs.fileno()], start_new_session=True,
                )  # fmt: skip
        except (OSError, ReaderFailedError) as error:
            ours.close()
            os.close(errors)
            raise ReaderFailedError(str(error)) from error
        finally:
            os.close(writable)
        self._channel, self._errors = ours, errors
        self._answers = ours.makefile("rb")
        if self._answers.read(FRAME.size) != FRAME.pack(b"r", 0):
            self.end()
            raise ReaderFailedError(self.log)

    def answer(self, data: bytes | Path, task: Task) -> PDF:
        """Read a document. Raises DocumentError; the process may be dead after that."""
        self.pages, self.read = None, self.read + 1
        pages: list[PDFPage] = []
        try:
            with _opened(data) as file:
                socket.send_fds(self._channel, [json.dumps(asdict(task)).encode()], [file])
            for kind, content in self._frames():
                if kind == b"n":
                    self.pages = int(content)
                elif kind == b"t":
                    pages.append(PDFPage(number=len(pages) + 1, text=content.decode()))
                elif kind == b"i":
                    pages[-1] = PDFPage(number=len(pages), text=pages[-1].text, image=content)
                else:
                    raise DocumentError(content.decode() or _too_much(task))
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise self._ended(task) from error
        finally:
            self._read_log()
        return PDF(pages=tuple(pages))

    def allowed_seconds(self, task: Task) -> float:
        """Return how much processor time the document in hand may take, as far as is known."""
        return task.seconds_max * math.ceil((self.pages or 1) / PAGES_PER_ALLOWANCE)

    def end(self) -> None:
        """Let go of everything."""
        self.kill()
        if self._process is not None:
            self._process.wait()
        self._read_log()
        self._answers.close()
        self._channel.close()
        os.close(self._errors)

    def _frames(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield what it sends about a document. Raises EOFError when it ends before that is done."""
        total = 0
        while True:
            kind, length = FRAME.unpack(self._exactly(FRAME.size))
            if kind == b".":
                return
            total += length
            if length > FRAME_BYTES_MAX or total > ANSWER_BYTES_MAX:
                self.kill()
                raise DocumentError(f"The PDF's text and page images take more than {ANSWER_BYTES_MAX // 2**20} MiB")
            yield kind, self._exactly(length)

    def _ended(self, task: Task) -> DocumentError:
        """Say what it died of."""
        late = self._killed
        self.kill()
        assert self._process is not None  # noqa: S101  # it was started
        if late or self._process.wait() == -signal.SIGXCPU:
            return DocumentError(f"Reading the PDF takes longer than {self.allowed_seconds(task):,.0f} seconds")
        return DocumentError(_too_much(task))

    def _exactly(self, length: int) -> bytes:
        data = self._answers.read(length)
        if len(data) != length:
            raise EOFError
        return data

    def _read_log(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._errors, 2**16):
                self._log += piece
                del self._log[:-LOG_BYTES]


def _too_much(task: Task) -> str:
    mebibytes = task.memory_bytes_max // 2**20
    return f"The PDF cannot be read: it is damaged, or reading it takes more than {mebibytes} MiB of memory"


def _directories() -> list[str]:
    """Return where the libraries are."""
    found = [importlib.util.find_spec(name) for name in LIBRARIES]
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in found if spec and spec.origin))


@contextlib.contextmanager
def _opened(data: bytes | Path) -> Iterator[int]:
    """Open a file, or make one that has no name."""
    if isinstance(data, Path):
        file = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
    elif hasattr(os, "memfd_create"):
        file = os.memfd_create("document")
    else:  # pragma: no cover  # not on Linux
        with tempfile.TemporaryFile(buffering=0) as unnamed:
            file = os.dup(unnamed.fileno())
    try:
        if isinstance(data, bytes):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        yield file
    finally:
        os.close(file)
