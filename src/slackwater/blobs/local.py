"""Blobs as files below one directory, durable when a put returns (D1): write, fsync, rename, fsync the directory.

A name appears only together with its whole content. Every operation is one hop to a thread; puts that run at the same
time sync at the same time.
"""

import asyncio
import errno
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import structlog

from slackwater import failpoints

T = TypeVar("T")

PIECE_BYTES: Final = 512 * 2**10
"""Of a stream: many are open at once (R5), and a hop to a thread should carry a good deal."""

_PARTIAL: Final = "partial"
"""The directory of files that are being written, under keys that only the sweep asks for."""

_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_KEY_LENGTH_MAX: Final = 512
_DIRECTORIES_MAX: Final = 10_000  # of which we remember that they are durable
_FATAL: Final = frozenset({errno.EIO, errno.EROFS})
"""After these nobody knows what is on the disk: the next sync, of a directory above all, may say yes to what this one
lost (D6). (`EROFS`: the kernel has seen the error before us and made the file system read-only.)"""

_log = structlog.get_logger(__name__)

_RACES_MAX: Final = 20  # a directory may be removed as empty just before a file moves in


class LocalBlobs:
    """Satisfies `ports.Blobs`. Files are readable by their owner only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()
        self._failure: OSError | None = None

    @property
    def failure(self) -> OSError | None:
        """Why nothing is put any more until the process is started again (D6); None while all is well."""
        return self._failure

    async def put(self, key: str, buffers: Iterable[bytes]) -> int:
        """Write the buffers in order; return the number of bytes. Raises ValueError for a bad key, OSError."""
        return await self._durably(self._put, self._path(key), buffers)

    async def put_file(self, key: str, path: Path) -> int:
        """Take over a finished local file: moved, or copied where it lies on another file system."""
        return await self._durably(self._put_file, self._path(key), path)

    async def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range. Raises FileNotFoundError, or OSError when bytes are missing."""
        return await asyncio.to_thread(_read, self._path(key), offset, length)

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield a range piece by piece. Raises FileNotFoundError, or OSError when bytes are missing."""
        file, left = await asyncio.to_thread(_open_range, self._path(key), offset, length)
        try:
            while left:
                piece = await asyncio.to_thread(_read_exactly, file, min(left, PIECE_BYTES))
                left -= len(piece)
                yield piece
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        """Remove the bytes and what directories are empty then; a key that is not there is fine.

        Bytes are removed after what they belonged to is gone, or was never needed. Nobody can take that back because of
        them, so a disk that refuses is logged and they are left to the sweep of orphans.
        """
        path = self._path(key)
        try:
            await asyncio.to_thread(self._delete, path)
        except OSError as error:
            _log.warning("cannot remove bytes that nothing refers to; the sweep will", path=str(path), error=str(error))
            self._note(path, error)

    async def keys(self, prefix: str) -> list[str]:
        """List keys below a prefix, sorted; what is being written has one below `partial/`."""
        start = self._path(prefix.rstrip("/")) if prefix else self._root
        return await asyncio.to_thread(self._keys, start)

    async def _durably(self, work: Callable[[Path, T], int], target: Path, source: T) -> int:
        if self._failure is not None:
            raise OSError(errno.EIO, f"nothing is written any more ({self._failure})") from self._failure
        try:
            return await asyncio.to_thread(work, target, source)
        except OSError as error:
            self._note(target, error)
            raise

    def _note(self, path: Path, error: OSError) -> None:
        if error.errno in _FATAL:
            self._failure = OSError(error.errno, f"{path}: {error.strerror}")

    def _path(self, key: str) -> Path:
        if len(key) > _KEY_LENGTH_MAX or not _KEY.fullmatch(key):
            message = f"not a blob key: {key!r}"
            raise ValueError(message)
        return self._root / key

    def _put(self, target: Path, buffers: Iterable[bytes]) -> int:
        with self._partial() as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123  # by its descriptor, for the mode
                size = sum(map(file.write, buffers))
                file.flush()
                _sync(descriptor)
            self._publish(partial, target)
        return size

    def _put_file(self, target: Path, path: Path) -> int:
        size = _sync_file(path)
        try:
            self._publish(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self._partial() as partial:
                shutil.copyfile(path, partial)
                _sync_file(partial)
                self._publish(partial, target)
            path.unlink()
        return size

    @contextmanager
    def _partial(self) -> Iterator[Path]:
        """Give a fresh name to write under; whatever is left of it when something fails is removed."""
        partial = self._root / _PARTIAL / secrets.token_hex(16)
        self._make_durable(partial.parent)
        try:
            yield partial
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    def _publish(self, partial: Path, target: Path) -> None:
        for races in range(_RACES_MAX):
            try:
                self._make_durable(target.parent)
                failpoints.hit("blobs.before_rename")
                os.rename(partial, target)  # noqa: PTH104  # a test records the system calls by these names
                failpoints.hit("blobs.after_rename")
                break
            except (FileNotFoundError, FileExistsError):  # the second from a directory that went while it was made
                self._durable.difference_update(target.parents)
                if races == _RACES_MAX - 1:
                    raise
        _sync_directory(target.parent)

    def _make_durable(self, directory: Path) -> None:
        """Make a directory and its parents, and sync the entry of each that was not known to be on the disk yet.

        One that another thread is just making counts as unknown: its entry may not be synced before we return.
        """
        if directory in self._durable:
            return
        if (directory != self._root and self._root in directory.parents) or not directory.parent.is_dir():
            self._make_durable(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
        _sync_directory(directory.parent)
        if len(self._durable) >= _DIRECTORIES_MAX:
            self._durable.clear()
        self._durable.add(directory)

    def _delete(self, path: Path) -> None:
        """Remove a file and directories that are empty then; those just below the root stay, they fill again soon."""
        failpoints.hit("blobs.before_delete")
        path.unlink(missing_ok=True)
        failpoints.hit("blobs.after_delete")
        for directory in path.relative_to(self._root).parents[:-2]:
            try:
                (self._root / directory).rmdir()
            except OSError:  # something else is in it, or it is gone
                return
            self._durable.discard(self._root / directory)

    def _keys(self, start: Path) -> list[str]:
        return sorted(path.relative_to(self._root).as_posix() for path in _files(start))


def _files(start: Path) -> Iterator[Path]:
    if start.is_file():
        yield start
    for directory, _, names in os.walk(start):
        yield from (Path(directory, name) for name in names)


def _sync(descriptor: int) -> None:
    failpoints.hit("blobs.before_fsync")
    os.fsync(descriptor)
    failpoints.hit("blobs.after_fsync")


def _sync_file(path: Path) -> int:
    """Make a file's content durable and private; return its size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        _sync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        failpoints.hit("blobs.before_directory_fsync")
        os.fsync(descriptor)
        failpoints.hit("blobs.after_directory_fsync")
    finally:
        os.close(descriptor)


def _open_range(path: Path, offset: int, length: int | None) -> tuple[BinaryIO, int]:
    """Open a file at an offset; return it and how many bytes are wanted from there."""
    file: BinaryIO = path.open("rb", buffering=0)
    try:
        size = os.fstat(file.fileno()).st_size
        wanted = max(0, size - offset) if length is None else length
        _check_range(path, offset, wanted, size)
        file.seek(offset)
    except BaseException:
        file.close()
        raise
    return file, wanted


def _check_range(path: Path, offset: int, length: int, size: int) -> None:
    if offset < 0 or length < 0 or offset + length > size:
        raise _short(path, offset + length, size)


def _read(path: Path, offset: int, length: int | None) -> bytes:
    file, wanted = _open_range(path, offset, length)
    with file:
        return _read_exactly(file, wanted)


def _read_exactly(file: BinaryIO, length: int) -> bytes:
    pieces = []
    left = length
    while left:
        piece = file.read(left)
        if not piece:
            raise _short(Path(file.name), length, length - left)
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _short(path: Path, wanted: int, found: int) -> OSError:
    return OSError(errno.EIO, f"blob is too short: {wanted} bytes wanted, {found} found", str(path))
