"""Results and files on their way to disk or stdout: resumed after a cut, and never half a file under its final name."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from slackwater.cli.connection import API, Retry
from slackwater.cli.exits import Failure
from slackwater.cli.output import Stdout, message

_TRIES_MAX = 5  # without a byte of progress between them
_PARTIAL = 206


class _Line(msgspec.Struct):
    custom_id: str


def save_download(api: API, route: str, path: Path, order: Sequence[str] | None = None) -> None:
    """Write what a route delivers to `path`, which appears once it is whole.

    `order` is for result lines: custom_ids in the order wanted. What an interrupted call left in `path` + `.part` is
    continued. Raises Failure.
    """
    part, mark = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.etag")
    try:
        with part.open("a+b") as file:
            _fetch(api, route, _FileSink(file, mark))
            finished = file if order is None else _ordered(file, order, path.with_name(path.name + ".ordered"))
            finished.flush()
            os.fsync(finished.fileno())
            Path(finished.name).replace(path)
        if order is not None:
            finished.close()
            part.unlink()
        mark.unlink(missing_ok=True)
    except OSError as problem:
        raise Failure(f"{path}: {problem.strerror or problem}") from None


def print_download(api: API, route: str, order: Sequence[str] | None = None) -> None:
    """Write what a route delivers to stdout. Raises Failure."""
    out = Stdout()
    if order is None:
        _fetch(api, route, _StdoutSink(out))
    else:
        with tempfile.TemporaryFile() as file:
            _fetch(api, route, _FileSink(file, None))
            for line in _in_order(file, order):
                out.write(line)
    out.flush()


class _Sink(Protocol):
    etag: str | None
    """Which bytes these are: the strong ETag of the answer they came from."""
    have: int
    """Bytes written so far."""

    def restart(self, etag: str | None) -> None:
        """Forget what was written."""

    def write(self, piece: bytes) -> None:
        """Append."""


class _FileSink:
    def __init__(self, file: BinaryIO, mark: Path | None) -> None:
        self._file = file
        self._mark = mark
        self.have = file.seek(0, os.SEEK_END)
        self.etag = mark.read_text() if mark is not None and mark.exists() else None

    def restart(self, etag: str | None) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        self.have, self.etag = 0, etag
        if self._mark is not None and etag is not None:
            self._mark.write_text(etag)

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self.have += len(piece)


class _StdoutSink:
    def __init__(self, out: Stdout) -> None:
        self._out = out
        self.have = 0
        self.etag: str | None = None

    def restart(self, etag: str | None) -> None:
        if self.have:
            raise Failure("the connection broke and what came so far cannot be continued", next_step="use -o FILE")
        self.etag = etag

    def write(self, piece: bytes) -> None:
        self._out.write(piece)
        self.have += len(piece)


def _fetch(api: API, route: str, sink: _Sink) -> None:
    """Bring the whole body into the sink, over as many connections as it takes."""
    failures = 0
    while True:
        before = sink.have
        try:
            _fetch_once(api, route, sink)
        except Retry as retry:
            failures = 1 if sink.have > before else failures + 1
            if failures >= _TRIES_MAX:
                raise retry.failure from None
            message(f"{retry.failure.what}; continuing at byte {sink.have:,}")
            api.pause(retry.after_seconds if retry.after_seconds is not None else 0.05 * 2**failures)
        else:
            return


def _fetch_once(api: API, path: str, sink: _Sink) -> None:
    headers = {"accept": "application/binary", "accept-encoding": "identity"}
    if sink.have and sink.etag:
        # From one byte back: the range then exists even where all that was missing is the end of the connection.
        headers |= {"range": f"bytes={sink.have - 1}-", "if-range": sink.etag}
    with api.stream("GET", path, headers=headers) as response:
        known = response.status_code == _PARTIAL
        if not known:
            sink.restart(response.headers.get("etag"))
        # Without a size: pieces gathered to one would be lost when the connection breaks in the middle.
        for piece in response.iter_raw():
            sink.write(piece[1:] if known else piece)
            known = False


def _ordered(file: BinaryIO, order: Sequence[str], path: Path) -> BinaryIO:
    ordered = path.open("w+b")
    ordered.writelines(_in_order(file, order))
    return ordered


def _in_order(file: BinaryIO, order: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines in the order of `order`, those it does not name last; only their places are held in memory."""
    decoder = msgspec.json.Decoder(_Line)
    places: dict[str, int] = {}
    file.seek(0)
    position = 0
    for line in file:
        places[decoder.decode(line).custom_id] = position
        position += len(line)
    named = [places.pop(custom_id) for custom_id in order if custom_id in places]
    for place in (*named, *places.values()):
        file.seek(place)
        line = file.readline()
        yield line if line.endswith(b"\n") else line + b"\n"
