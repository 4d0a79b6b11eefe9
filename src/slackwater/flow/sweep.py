"""Sweep: what time brings. Close stopped batches, archive old ones, compact results, remove what nothing refers to.

Closing runs in every process, under the shards' own leases; the rest in one process at a time.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.events import BatchCancelInitiated, Event
from slackwater.flow.close import Closer
from slackwater.flow.deliver import Delivery
from slackwater.ports import Blobs, Clock, Compaction, SweepStore

ROUND_SECONDS = 1.0
HOLD_SECONDS = 15.0
ORPHAN_ROUND_SECONDS = 600.0
ORPHAN_LOOKS = 7
"""Bytes that were looked at fewer times may belong to a create or a flush that is not committed yet (D2). Looks are
counted and not hours: the files' times follow every step of the wall clock (T3)."""
BATCHES_PER_ROUND = 16
FILES_PER_ROUND = 100
BROKEN_SECONDS = 600.0
"""Before results that could not be joined are read again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOptions:
    """How long things are kept."""

    holder: str
    results_kept: timedelta
    """Counted from `created_at` (contract §5)."""
    spool: Path
    """Where unfinished uploads and compactions lie."""


class Sweeper:
    """Runs the rounds."""

    def __init__(self, *, store: SweepStore, blobs: Blobs, clock: Clock, closer: Closer, options: SweepOptions) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._closer = closer
        self._options = options
        self._orphans_at = float("-inf")
        self._looks: Counter[tuple[str | Path, int]] = Counter()  # in a row, at what nothing refers to, by size
        self._broken: dict[str, float] = {}
        """Batches whose results could not be joined, and when it is worth trying again."""
        self.wake = asyncio.Event()
        """Set to have a round now."""

    def hear(self, event: Event) -> None:
        """Close what was just canceled without waiting for the next round."""
        if isinstance(event, BatchCancelInitiated):
            self.wake.set()

    async def run(self) -> None:
        """Sweep until canceled. Closing has its time (C3, T2) and waits for nothing else."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._close_forever())
            group.create_task(self._keep_house_forever())

    async def round(self) -> None:
        """Do everything that is due."""
        await self._close_all()
        await self._keep_house()

    async def _close_forever(self) -> None:
        while True:
            self.wake.clear()
            with suppress(StoreUnavailableError, OSError):
                await self._close_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND_SECONDS):
                    await self.wake.wait()

    async def _close_all(self) -> None:
        while await self._closer.close_some():
            pass

    async def _keep_house_forever(self) -> None:
        while True:
            with suppress(StoreUnavailableError, OSError):
                await self._keep_house()
            await self._clock.sleep(ROUND_SECONDS)

    async def _keep_house(self) -> None:
        now = self._clock.now()
        if not await self._hold():
            return
        await self._store.high_water(now)
        await self._archive()
        await self._remove_files()
        await self._compact()
        if self._clock.monotonic() - self._orphans_at >= ORPHAN_ROUND_SECONDS:
            self._orphans_at = self._clock.monotonic()
            await self._store.forget_creates(now)
            await self._remove_orphans()

    async def _hold(self) -> bool:
        now = self._clock.now()
        return await self._store.hold(self._options.holder, now, now + timedelta(seconds=HOLD_SECONDS))

    async def _archive(self) -> None:
        now = self._clock.now()
        while keys := await self._store.archive_due(now, now - self._options.results_kept, limit=BATCHES_PER_ROUND):
            for key in keys:
                await self._blobs.delete(key)

    async def _remove_files(self) -> None:
        while keys := await self._store.sweep_files(self._clock.now(), limit=FILES_PER_ROUND):
            for key in keys:
                await self._blobs.delete(key)

    async def _compact(self) -> None:
        found = await self._store.fragmented(limit=BATCHES_PER_ROUND + len(self._broken))
        self._broken = {one.batch_id: self._broken[one.batch_id] for one in found if one.batch_id in self._broken}
        for compaction in found:
            if self._clock.monotonic() < self._broken.get(compaction.batch_id, float("-inf")):
                continue
            if not await self._hold():
                return
            try:
                await self._join(compaction)
            except OSError as error:
                self._broken[compaction.batch_id] = self._clock.monotonic() + BROKEN_SECONDS
                _log.error("cannot join the results of a batch", batch_id=compaction.batch_id, error=str(error))

    async def _join(self, compaction: Compaction) -> None:
        """Write an ended batch's results into one blob, byte for byte as they are delivered already (R1).

        File and blob carry the holder's name: one that lost its hold must not write into the next one's.
        """
        length = sum(part.length for part in compaction.ranges)

        async def moved() -> tuple[()]:
            return ()

        delivery = Delivery(length=length, etag="", ranges=compaction.ranges, blobs=self._blobs, locate=moved)
        path = self._options.spool / f"{self._options.holder}.{compaction.batch_id}.joined"
        try:
            with path.open("wb") as file:  # page-cache writes of at most 1 MiB
                async for piece in delivery.body():
                    file.write(piece)
            key = f"results/{compaction.batch_id}/joined.{self._options.holder}"
            await self._blobs.put_file(key, path)
        finally:
            path.unlink(missing_ok=True)
        if await self._store.compacted(compaction.batch_id, key, length):
            for part in {part.blob_key for part in compaction.ranges}:
                await self._blobs.delete(part)
        else:
            await self._blobs.delete(key)

    async def _remove_orphans(self) -> None:
        """Remove bytes that no row refers to: what crashes left between a put and its transaction."""
        found: list[tuple[str | Path, int]] = await asyncio.to_thread(_filled, self._options.spool)
        for prefix in ("requests/", "results/", "files/", "partial/"):
            keys = await self._blobs.keys(prefix)
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                found += [(key, 0) for key in sorted(set(some) - await self._store.referenced(some))]
        self._looks = Counter({one: self._looks[one] + 1 for one in found})
        for one in [one for (one, _), looks in self._looks.items() if looks >= ORPHAN_LOOKS]:
            await (self._blobs.delete(one) if isinstance(one, str) else asyncio.to_thread(one.unlink, missing_ok=True))


def _filled(spool: Path) -> list[tuple[str | Path, int]]:
    """List the spool with what grows while a file is filled, its length or its room: that one was not left behind."""
    return [(path, (state := path.stat()).st_size + state.st_blocks) for path in spool.iterdir()]
