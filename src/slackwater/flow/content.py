"""Content: the bytes of a file, checked against its digest whenever they are read whole (D5)."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from slackwater.domain.file import File
from slackwater.ports import Blobs


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A file's bytes, ready to be read or sent."""

    file: File
    blobs: Blobs

    @property
    def length(self) -> int:
        """Bytes."""
        return self.file.size_bytes

    @property
    def etag(self) -> str:
        """Strong: the bytes of a file never change."""
        return f'"{self.file.digest.hex()}"'

    async def read(self) -> bytes:
        """Return all of it. Raises OSError when bytes are missing or are not those that were uploaded."""
        data = await self.blobs.read(self.file.blob_key, 0, self.length)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).digest())
        self._check(digest)
        return data

    async def body(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield a range; of the whole, the last piece comes when all of it has been found to be right.

        Raises OSError: the caller must cut the connection, never end it cleanly (R2).
        """
        wanted = min(self.length - offset, self.length if length is None else length)
        hashing = hashlib.sha256()
        last = b""
        async for piece in self.blobs.stream(self.file.blob_key, offset, wanted):
            if last:
                yield last
            last = piece
            hashing.update(piece)
        if wanted == self.length:
            self._check(hashing.digest())
        if last:
            yield last

    def _check(self, digest: bytes) -> None:
        if digest != self.file.digest:
            raise OSError(errno.EIO, f"the bytes of {self.file.id} are not those that were uploaded")
