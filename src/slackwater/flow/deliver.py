"""Deliver: the result lines of an ended batch as one fixed sequence of bytes (R1)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from slackwater.domain.result import ResultRange
from slackwater.ports import Blobs

Locate = Callable[[], Awaitable[Sequence[ResultRange]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """Results ready to be sent."""

    length: int
    """Bytes."""
    etag: str
    """Strong: these bytes never change (S3)."""
    ranges: Sequence[ResultRange]
    blobs: Blobs
    locate: Locate
    """Finds the ranges anew after a compaction moved them; the sequence of bytes stays the same."""

    async def body(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield a range of the results.

        Raises OSError when bytes are missing: the caller must cut the connection, never end it cleanly (R2).
        """
        stop = self.length if length is None else min(self.length, offset + length)
        ranges = self.ranges
        while offset < stop:
            try:
                async for piece in self._from(ranges, offset, stop):
                    offset += len(piece)
                    yield piece
            except FileNotFoundError:
                moved = await self.locate()
                # Deleted or archived meanwhile, or lost: what is left would be another body (R4).
                if sum(part.length for part in moved) != self.length or list(moved) == list(ranges):
                    raise
                ranges = moved
            else:
                return

    async def _from(self, ranges: Sequence[ResultRange], offset: int, stop: int) -> AsyncIterator[bytes]:
        begins_at = 0
        for part in ranges:
            ends_at = begins_at + part.length
            if ends_at > offset and begins_at < stop:
                skip = max(0, offset - begins_at)
                take = min(ends_at, stop) - begins_at - skip
                async for piece in self.blobs.stream(part.blob_key, part.offset + skip, take):
                    yield piece
            begins_at = ends_at
