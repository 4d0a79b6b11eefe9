"""A body on its way to disk: private, measured, hashed, and gone again unless a step takes it over."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from slackwater import failpoints
from slackwater.api.body import exact_length, pieces
from slackwater.api.context import Context
from slackwater.api.failures import storage_full
from slackwater.api.presence import dismiss
from slackwater.domain.limits import MIB
from slackwater.ports import Ingesting

WRITE_BYTES = MIB
"""Gathered before a write: large enough that the hop to a thread is small beside it."""
SMALL_BYTES = MIB
"""A file of this size is removed within a fraction of a millisecond."""

Ahead = Callable[[Path, int], AbstractAsyncContextManager[Ingesting | None]]
"""Begins to read a body of so many bytes that has not arrived yet; None when it is better read later."""
Through = Callable[[bytes], Iterable[bytes]]
"""Picks from a piece of a body what is to be kept of it; called in a thread, for one piece after the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spool:
    """A received body, or what was kept of it."""

    path: Path
    digest: bytes
    """SHA-256 of what is in the file."""
    length: int
    """Bytes in the file."""
    ingesting: Ingesting | None = None
    """What has read the body while it arrived."""


class _Writer:
    """Hashes and writes in threads; the lock keeps a close from pulling the file away under a write."""

    def __init__(self, path: Path, through: Through | None) -> None:
        self._path = path
        self._through = through
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._lock = Lock()
        self._hash = hashlib.sha256()
        self.length = 0

    def reserve(self, length: int) -> None:
        """Give the file its length, so that it can be mapped; room on the disk it takes as it is written."""
        os.truncate(self._path, length)

    def write(self, pieces: list[bytes]) -> None:
        with self._lock:
            for piece in pieces:
                for kept in (piece,) if self._through is None else self._through(piece):
                    self._append(kept)

    def _append(self, data: bytes) -> None:
        self._hash.update(data)
        view = memoryview(data)
        while view and self._descriptor is not None:
            failpoints.hit("spool.before_write")
            view = view[os.write(self._descriptor, view) :]
            failpoints.hit("spool.after_write")
        self.length += len(data)

    def close(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def digest(self) -> bytes:
        return self._hash.digest()


@asynccontextmanager
async def spooled(
    context: Context, bytes_max: int, *, through: Through | None = None, ahead: Ahead | None = None
) -> AsyncIterator[Spool]:
    """Receive the body into a file of mode 0600 that is gone soon afterwards, whatever happens.

    With `through` the body is bytes of any kind, otherwise text; `ahead` may read it while it arrives. Raises what
    `pieces` and `through` raise, OverloadedError when the disk is nearly full, and OSError when nothing fits (P4).
    """
    if context.services.storage() != "ok":
        raise storage_full()
    name = f"{context.services.worker_id}.{context.request_id}.{'json' if through is None else 'file'}"
    path = context.services.spool_dir / name
    length = None if ahead is None else exact_length(context)
    try:
        with closing(_Writer(path, through)) as writer:
            reading: AbstractAsyncContextManager[Ingesting | None] = nullcontext()
            if ahead is not None and length is not None and length <= bytes_max:
                writer.reserve(length)
                reading = ahead(path, length)
            async with reading as ingesting:
                await _fill(writer, _while_room(context, pieces(context, bytes_max, text=through is None)), ingesting)
                writer.close()  # or the loop would wait for what the last close of a removed file gives back
                yield Spool(path=path, digest=writer.digest(), length=writer.length, ingesting=ingesting)
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a spool file; what that takes with a large one nobody waits for. What stays the sweep finds."""
    with suppress(OSError):
        if path.stat().st_size <= SMALL_BYTES:
            path.unlink()
        else:
            asyncio.get_running_loop().run_in_executor(None, _unlink, path)


def forget(directory: Path, worker_id: str) -> None:
    """Remove what a process with this identity left in the spool when it died: nobody will ever take that over.

    Its name says whose a body is. Nothing waits for this, which takes time with large ones.
    """
    left = list(directory.glob(f"{worker_id}.*"))
    asyncio.get_running_loop().run_in_executor(None, _unlink, *left)


def _unlink(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


async def _while_room(context: Context, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Leave what room there is to the work in flight: it is worth more than a body that has only begun."""
    async for piece in body:
        if context.services.storage() != "ok":
            raise storage_full()
        yield piece


async def _fill(writer: _Writer, body: AsyncIterator[bytes], ingesting: Ingesting | None) -> None:
    """Receive the next pieces while those before them are hashed and written; never more than two gatherings."""
    gathered: list[bytes] = []
    waiting = 0
    writing: asyncio.Task[None] | None = None
    try:
        async for piece in body:
            gathered.append(piece)
            waiting += len(piece)
            if waiting >= WRITE_BYTES:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(_write(writer, gathered, ingesting))
                gathered, waiting = [], 0
        if writing is not None:
            await writing
    except BaseException:
        if writing is not None:
            await dismiss(writing)
        raise
    await _write(writer, gathered, ingesting)


async def _write(writer: _Writer, pieces: list[bytes], ingesting: Ingesting | None) -> None:
    await asyncio.to_thread(writer.write, pieces)
    if ingesting is not None:
        ingesting.grown(writer.length)
