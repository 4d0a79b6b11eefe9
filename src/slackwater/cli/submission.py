"""A batch on disk becoming the body of a create call: its formats, its compression, and its mistakes by line number."""

import contextlib
import gzip
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from slackwater.cli.exits import Failure
from slackwater.domain.limits import BATCH_BODY_BYTES_MAX, BATCH_REQUESTS_MAX

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PIECE_BYTES = 2**18
_PROBLEMS_SHOWN_MAX = 20


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: msgspec.Raw


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Entry]


Check = Callable[[bytes], str | None]
"""Looks at one request's params; returns what is wrong with them, or None."""


@dataclass(slots=True)
class Submission:
    """A create call's body in a temporary file, and what is known about it."""

    body: BinaryIO
    body_bytes: int = 0
    custom_ids: list[str] = field(default_factory=list)
    """In the order of the input."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body from its start; may be asked for again."""
        self.body.seek(0)
        while piece := self.body.read(_PIECE_BYTES):
            yield piece


@contextlib.contextmanager
def read_submission(source: str, check: Check | None = None) -> Iterator[Submission]:
    """Read a batch from a file or `-`: JSONL of `{custom_id, params}`, or JSON with `requests`; .gz and .zst too.

    The body lies in a temporary file while the context is open. Raises Failure, which lists the first mistakes with
    their places.
    """
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(_opened(source))
        body = stack.enter_context(tempfile.TemporaryFile())
        collector = _Collector(Submission(body=body), check)
        first = next((line for line in lines if line.strip()), b"")
        if _is_entry(first):
            collector.take_lines(first, lines)
        elif first:
            collector.take_document(first + lines.read())
        yield collector.finished(source)


class _Collector:
    """Writes the body and gathers mistakes."""

    def __init__(self, submission: Submission, check: Check | None) -> None:
        self._submission = submission
        self._check = check
        self._places: dict[str, str] = {}
        self._problems: list[str] = []
        self._count = 0

    def take_lines(self, first: bytes, lines: IO[bytes]) -> None:
        """Take one request per line."""
        decoder = msgspec.json.Decoder(_Entry)
        body = self._submission.body
        body.write(b'{"requests":[')
        for number, line in enumerate(_chain(first, lines), start=1):
            text = line.strip()
            if not text:
                continue
            try:
                self._look_at(decoder.decode(text), f"line {number}")
            except msgspec.MsgspecError as problem:
                self._problem(f"line {number}: {problem}")
                continue
            body.write(b"," if self._count > 1 else b"")
            body.write(text)
        body.write(b"]}")

    def take_document(self, text: bytes) -> None:
        """Take a whole create body."""
        try:
            document = msgspec.json.decode(text, type=_Document)
        except msgspec.MsgspecError as problem:
            self._problem(f"neither JSONL nor a JSON object with `requests`: {problem}")
            return
        for number, entry in enumerate(document.requests):
            self._look_at(entry, f"requests.{number}")
        self._submission.body.write(text)

    def finished(self, source: str) -> Submission:
        """Return the submission. Raises Failure when anything was wrong."""
        submission = self._submission
        submission.body_bytes = submission.body.tell()
        if not self._count and not self._problems:
            self._problem("there is no request in it")
        if self._count > BATCH_REQUESTS_MAX:
            self._problem(f"{self._count:,} requests; a batch may have {BATCH_REQUESTS_MAX:,}")
        if submission.body_bytes > BATCH_BODY_BYTES_MAX:
            self._problem(f"{submission.body_bytes:,} bytes; a batch may have {BATCH_BODY_BYTES_MAX:,}")
        if self._problems:
            shown = self._problems[:_PROBLEMS_SHOWN_MAX]
            more = len(self._problems) - len(shown)
            lines = [f"{source}: {problem}" for problem in shown] + ([f"… and {more:,} more"] if more else [])
            raise Failure("\n".join(lines), next_step="correct these lines; nothing was sent")
        return submission

    def _look_at(self, entry: _Entry, place: str) -> None:
        self._count += 1
        earlier = self._places.setdefault(entry.custom_id, place)
        if earlier != place:
            self._problem(f"{place}: custom_id {entry.custom_id!r} was used at {earlier} already")
        self._submission.custom_ids.append(entry.custom_id)
        found = self._check(bytes(entry.params)) if self._check is not None else None
        if found is not None:
            self._problem(f"{place} ({entry.custom_id}): {found}")

    def _problem(self, text: str) -> None:
        self._problems.append(text)


def _is_entry(line: bytes) -> bool:
    try:
        return "custom_id" in msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return False


def _chain(first: bytes, rest: IO[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


@contextlib.contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    """Open a file or stdin, decompressed by what its first bytes say."""
    try:
        with contextlib.ExitStack() as stack:
            raw = sys.stdin.buffer if source == "-" else stack.enter_context(Path(source).open("rb"))
            buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
            start = buffered.peek(4)[:4]
            if start.startswith(_GZIP):
                yield io.BufferedReader(gzip.GzipFile(fileobj=buffered))
            elif start == _ZSTD:
                yield _zstd(buffered)
            else:
                yield buffered
    except FileNotFoundError:
        raise Failure(f"{source}: there is no such file") from None
    except (EOFError, gzip.BadGzipFile) as problem:
        raise Failure(f"{source}: damaged gzip: {problem}") from None
    except OSError as problem:
        raise Failure(f"{source}: {problem.strerror or problem}") from None


def _zstd(raw: IO[bytes]) -> IO[bytes]:
    import zstandard  # noqa: PLC0415  # only for .zst

    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
