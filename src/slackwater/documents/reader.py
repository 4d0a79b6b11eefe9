"""The process that reads PDFs: untrusted bytes meet a parser here, with limits, and with nothing else in the process.

It is started by its path, not as a module, so that none of the server's packages are loaded, and it is the only module
that imports pypdfium2 and Pillow. It takes one document at a time. Over its channel comes a line of JSON (`Task` in
`process.py`) with the open file beside it, and frames go back, each a kind, a length and that many bytes: `n` how many
pages, `t` and `i` a page's text and image, `e` why there is no answer (empty: for want of memory), `.` the end. A
document that breaks a limit of the kernel's ends the process, and the parent starts another one.
"""

import array
import contextlib
import ctypes
import importlib
import io
import itertools
import json
import math
import mmap
import os
import re
import resource
import signal
import socket
import struct
import sys
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38
OOM_SCORE: Final = "500"
"""When memory runs out, the kernel ends this process and not the server."""
OPEN_FILES_MAX: Final = 64
TASK_BYTES_MAX: Final = 4096
FRAME: Final = struct.Struct(">cI")

SIDE_PIXELS: Final = 1568
"""The longest side of a page's image: larger ones are scaled down by those who look at them (contract §12)."""
SCALE_MAX: Final = 200 / 72
"""Small pages are not blown up: pixels for a point, 200 for an inch."""
JPEG_QUALITY: Final = 80
PAGE_CHARACTERS_MAX: Final = 4_000_000
"""Of one page: more is no page, and there is one call for all of its characters."""
TEXTS_MAX: Final = 50_000
FORM_DEPTH_MAX: Final = 5
"""So many pieces of a page's text, and so deep in it, are looked after."""
WIDTH_MIN: Final = 0.02
"""The library leaves out half of that."""
STROKE: Final = 0.6
"""About a letter's height, of the font's: lines and spaces are told apart by heights and distances."""
HEAD_BYTES: Final = 1024
"""Where `%PDF-` may stand (readers allow for something before it)."""
TAIL_BYTES: Final = 4096
"""Where the end of a whole file says where its table is; what has no such end was cut off."""
PAGES_PER_ALLOWANCE: Final = 100
"""The time limit is for so many pages."""
NO_PDF: Final = b"no PDF"
PASSWORD_ERROR: Final = 4
SECURITY_ERROR: Final = 5
_LINE_ENDS: Final = re.compile("\r\n?")
_UNPRINTED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Controls, lone surrogates and no characters at all: nothing that a page shows."""


class RefusedError(Exception):
    """The document is not readable, and the sentence says why."""


def main() -> None:
    """Answer until the channel closes."""
    parent, channel = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    _die_with(parent)
    sys.path += sys.argv[3:]
    reader = _Reader(channel)
    channel.sendall(FRAME.pack(b"r", 0))
    while True:
        task, file = _receive(channel)
        try:
            reader.answer(task, file)
        finally:
            os.close(file)


def _die_with(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    with contextlib.suppress(OSError):
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, OOM_SCORE.encode())
        os.close(score)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], int]:
    """Return the next task and its file; end with the channel."""
    line, ancillary, _, _ = channel.recvmsg(TASK_BYTES_MAX, socket.CMSG_SPACE(struct.calcsize("i")))
    if not line:
        os._exit(0)
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    task: dict[str, Any] = json.loads(line)
    return task, files[0]


class _Reader:
    """The libraries, and what is sent back."""

    def __init__(self, channel: socket.socket) -> None:
        self._pdfium: Any = importlib.import_module("pypdfium2")
        self._jpeg: Any = importlib.import_module("PIL.JpegImagePlugin")
        self._channel = channel

    def answer(self, task: dict[str, Any], file: int) -> None:
        size = os.fstat(file).st_size
        self._limit(task["memory_bytes_max"] + size, task["seconds_max"])
        try:
            self._read(task, file, size)
        except RefusedError as refusal:
            self._send(b"e", str(refusal).encode())
        except MemoryError:
            self._send(b"e", b"")
            os._exit(0)
        else:
            self._send(b".", b"")

    def _read(self, task: dict[str, Any], file: int, size: int) -> None:
        if not size:
            raise RefusedError("The PDF is empty")
        mapped = mmap.mmap(file, 0, access=mmap.ACCESS_COPY)  # ends when the last view of it does
        if mapped.find(b"%PDF-", 0, HEAD_BYTES) < 0:
            raise RefusedError("The file is not a PDF")
        cut = mapped.rfind(b"startxref", max(0, size - TAIL_BYTES)) < 0
        self._read_pages(task, (ctypes.c_char * size).from_buffer(mapped), cut=cut)

    def _read_pages(self, task: dict[str, Any], data: Any, *, cut: bool) -> None:  # noqa: ANN401  # a ctypes array
        # The library sets no error for some files that it cannot open: what it said of the one before would be theirs.
        with contextlib.suppress(self._pdfium.PdfiumError):
            self._pdfium.PdfDocument(NO_PDF)
        try:
            pdf = self._pdfium.PdfDocument(data)
        except self._pdfium.PdfiumError as error:
            raise RefusedError(_why_closed(error.err_code, cut=cut)) from error
        with contextlib.closing(pdf):
            if cut:
                raise RefusedError(_why_closed(None, cut=True))
            count, limit = len(pdf), task["pages_max"]
            if count > limit:
                raise RefusedError(f"The PDF has {count:,} pages; at most {limit:,} are allowed")
            if not count:
                raise RefusedError("The PDF has no pages")
            self._limit(None, task["seconds_max"] * math.ceil(count / PAGES_PER_ALLOWANCE))
            self._send(b"n", str(count).encode())
            for number in range(1, count + 1):
                self._read_page(pdf, number, images=task["images"])

    def _read_page(self, pdf: Any, number: int, *, images: bool) -> None:  # noqa: ANN401  # the library has no types
        try:
            with contextlib.closing(pdf[number - 1]) as page:
                image = self._image(page, number) if images else None
                self._widen(page)  # after the picture: it would show
                self._send(b"t", self._text(page, number).encode())
                if image is not None:
                    self._send(b"i", image)
        except self._pdfium.PdfiumError as error:
            raise RefusedError(f"Page {number:,} of the PDF is damaged") from error

    def _text(self, page: Any, number: int) -> str:  # noqa: ANN401
        with contextlib.closing(page.get_textpage()) as text:
            if text.count_chars() > PAGE_CHARACTERS_MAX:
                raise RefusedError(f"Page {number:,} of the PDF has more than {PAGE_CHARACTERS_MAX:,} characters")
            found: str = text.get_text_range()
        # A hyphen at the end of a line comes as U+FFFE, without the line's end.
        return _UNPRINTED.sub("", _LINE_ENDS.sub("\n", found).replace("\ufffe", "-\n"))

    def _widen(self, page: Any) -> None:  # noqa: ANN401
        """Give a width to text that has none, which the library would leave out.

        So it is with characters that are set one by one in a font that is neither embedded nor on this machine. A
        stroke has a width without a shape.
        """
        raw = self._pdfium.raw
        found = page.get_objects(filter=(raw.FPDF_PAGEOBJ_TEXT,), max_depth=FORM_DEPTH_MAX)
        for text in itertools.islice(found, TEXTS_MAX):
            left, _, right, _ = text.get_bounds()
            if right - left < WIDTH_MIN:
                raw.FPDFTextObj_SetTextRenderMode(text, raw.FPDF_TEXTRENDERMODE_STROKE)
                raw.FPDFPageObj_SetStrokeWidth(text, STROKE * text.get_font_size())
                text.set_matrix(text.get_matrix())  # which has its place computed anew

    def _image(self, page: Any, number: int) -> bytes:  # noqa: ANN401
        longest = max(page.get_size())
        if not 0 < longest < math.inf:
            raise RefusedError(f"Page {number:,} of the PDF has no size")
        scale = min((SIDE_PIXELS - 0.5) / longest, SCALE_MAX)  # the library rounds up
        out = io.BytesIO()
        # Four bytes a pixel in this order: the picture is looked at where it is, and not copied twice.
        with contextlib.closing(page.render(scale=scale, rev_byteorder=True, prefer_bgrx=True)) as bitmap:
            bitmap.to_pil().save(out, "JPEG", quality=JPEG_QUALITY)
        return out.getvalue()

    def _limit(self, memory_bytes: int | None, seconds: float) -> None:
        """Have the kernel end this process when it needs more than this from now on."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        total = math.ceil(used.ru_utime + used.ru_stime + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (total, resource.RLIM_INFINITY))
        if memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, resource.RLIM_INFINITY))

    def _send(self, kind: bytes, data: bytes) -> None:
        self._channel.sendall(FRAME.pack(kind, len(data)))
        self._channel.sendall(data)


def _why_closed(code: int | None, *, cut: bool) -> str:
    if code == PASSWORD_ERROR:
        return "The PDF is password-protected"
    if code == SECURITY_ERROR:
        return "The PDF is encrypted in a way that is not supported"
    return "The PDF is cut off: its end is missing" if cut else "The PDF is damaged and cannot be opened"


if __name__ == "__main__":
    main()
