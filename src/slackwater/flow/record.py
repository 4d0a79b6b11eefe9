"""Record: gather result lines and make them durable and visible, many at a time.

Lines go to the journal in the turn of the loop in which they came. Every second, 1,024 lines or 1 MiB, what has
gathered becomes one blob per batch and then one transaction (a flush). A flush that fails is tried again: work already
paid for waits in memory, it is never redone (P1). Once its bytes are durable it stays as it is and keeps its token
until the store has answered: the failed commit may have taken effect (P2).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from slackwater.domain.batch import Lease
from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.events import BatchEnded
from slackwater.domain.result import Charge, CommitReport, Flush, ResultLine, Segment, Usage
from slackwater.flow.journal import Journal, adoptable, leftovers
from slackwater.ports import Blobs, Clock, Listener, WorkStore

FLUSH_SECONDS = 1.0
FLUSH_LINES = 1_024
FLUSH_BYTES = 2**20
HELD_BYTES_MAX = 64 * 2**20
"""With this much waiting for a store that does not take it, nothing new is sent."""
RETRY_SECONDS = 1.0
REWRITE_SECONDS = 900.0
"""Bytes that waited this long for their commit are written again: the sweep might take them for orphans (D2)."""
TIDY_SECONDS = 600.0
JOURNAL_AGE = timedelta(hours=1)
"""A journal untouched for so long is removed when its batch does not run any more."""


@dataclass(slots=True)
class _Desk:
    """One shard's results on their way."""

    lease: Lease
    journal: Journal
    waiting: list[ResultLine] = field(default_factory=list)
    sent: bool = False
    """Lines of it are on their way to the store."""
    stale: list[Path] = field(default_factory=list)
    """Journals of earlier epochs, needed until their lines are committed under this one."""


Taken = list[tuple[_Desk, list[ResultLine]]]


@dataclass(slots=True)
class _Parcel:
    """A flush whose bytes are durable and whose commit has not been answered."""

    token: str
    taken: Taken
    segments: list[Segment]
    written_at: float
    """Monotonic seconds."""


Outcome = Callable[[CommitReport], None]


class Recorder:
    """Owns the journals and the flush."""

    def __init__(
        self,
        *,
        store: WorkStore,
        blobs: Blobs,
        clock: Clock,
        token: Callable[[], str],
        directory: Path,
        emit: Listener,
        disk_low: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._token = token
        self._directory = directory
        self._emit = emit
        self._disk_low = disk_low
        self._desks: dict[tuple[str, int], _Desk] = {}
        self._outcomes: list[Outcome] = []
        self._parcels: list[_Parcel] = []
        self._unwritten: list[tuple[Journal, ResultLine]] = []
        self._due = asyncio.Event()
        self._lines = 0
        self._bytes = 0
        self._flushing = asyncio.Lock()
        self._tidied_at = float("-inf")
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def full(self) -> bool:
        """True while more waits than may be held in memory, or the disk has no room for more results (P4)."""
        return self._bytes > HELD_BYTES_MAX or self._disk_low()

    @property
    def waiting(self) -> int:
        """Lines that are not committed yet."""
        return self._lines

    def listen(self, outcome: Outcome) -> None:
        """Be told about every commit."""
        self._outcomes.append(outcome)

    def open(self, lease: Lease) -> frozenset[int]:
        """Start recording for a shard; return the positions that have a result already.

        Lines that an earlier epoch journaled on this machine are adopted: they go out with the next flush.
        """
        former = self._desks.get(lease.key)
        if former is not None:
            self.close(former.lease)
        adopted, stale = adoptable(self._directory, lease)
        self._desks[lease.key] = _Desk(lease, Journal(self._directory, lease), stale=stale)
        for line in adopted:
            self.add(lease, line)
        return lease.done | {line.position for line in adopted}

    def add(self, lease: Lease, line: ResultLine) -> None:
        """Have a request's result journaled and let it wait for the next flush; one under a lease that is over goes."""
        desk = self._desks.get(lease.key)
        if desk is None or desk.lease.epoch != lease.epoch:
            return
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._write_down)
        self._unwritten.append((desk.journal, line))
        desk.waiting.append(line)
        self._lines += 1
        self._bytes += len(line.line)
        if self._lines >= FLUSH_LINES or self._bytes >= FLUSH_BYTES:
            self._due.set()

    def _write_down(self) -> None:
        """Journal what came in this turn. It only spares work after a crash: the disk may refuse it."""
        taken, self._unwritten = self._unwritten, []
        for journal, lines in groupby(taken, itemgetter(0)):
            with suppress(OSError):
                journal.append(*[line for _, line in lines])

    def hurry(self) -> None:
        """Flush soon: somebody waits for what is there."""
        self._due.set()

    def close(self, lease: Lease) -> None:
        """Stop recording for a shard whose lease is over. Lines that were not committed stay in the journal file."""
        desk = self._desks.get(lease.key)
        if desk is None or desk.lease.epoch != lease.epoch:
            return
        self._write_down()
        del self._desks[lease.key]
        desk.journal.close()
        if not desk.waiting and not desk.sent:
            _remove([desk.journal.path, *desk.stale])
        self._forget(desk.waiting)

    async def run(self) -> None:
        """Flush whenever it is due, until canceled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._due.wait()
            self._due.clear()
            if self._lines and not await self.flush():
                await self._clock.sleep(RETRY_SECONDS)
            if self._clock.monotonic() - self._tidied_at >= TIDY_SECONDS:
                self._tidied_at = self._clock.monotonic()
                with suppress(StoreUnavailableError, OSError):
                    await self.tidy()

    async def flush(self) -> bool:
        """Commit what waits; False when the store did not take it (it waits on then)."""
        async with self._flushing:
            with suppress(StoreUnavailableError, OSError):
                await self._commit()
                await self._pack()
                await self._commit()
                return True
            return False

    async def tidy(self) -> None:
        """Remove journals that nobody will adopt: of batches that were stopped, have ended or are gone (T4)."""
        found = leftovers(self._directory, (self._clock.now() - JOURNAL_AGE).timestamp())
        for batch_id in await self._store.stopped(found):
            _remove(found[batch_id])

    async def _pack(self) -> None:
        """Make what waits durable."""
        taken = [(desk, desk.waiting) for desk in self._desks.values() if desk.waiting]
        if not taken:
            return
        for desk, _ in taken:
            desk.waiting, desk.sent = [], True
        segments = None
        try:
            segments = await self._write(taken)
        finally:
            if segments is None:
                self._put_back(taken)
        self._parcels.append(_Parcel(self._token(), taken, segments, self._clock.monotonic()))

    async def _write(self, taken: Taken) -> list[Segment]:
        """Write one blob for each batch; return the segments."""
        name = self._token()
        by_batch: dict[str, Taken] = defaultdict(list)
        for desk, lines in taken:
            by_batch[desk.lease.batch_id].append((desk, lines))
        segments: list[Segment] = []
        puts = []
        for batch_id, parts in by_batch.items():
            blob_key = f"results/{batch_id}/{name}"
            segments.extend(_segments(blob_key, parts))
            puts.append(self._blobs.put(blob_key, [line.line for _, lines in parts for line in lines]))
        await asyncio.gather(*puts)
        return segments

    def _put_back(self, taken: Taken) -> None:
        for desk, lines in taken:
            desk.sent = False
            if self._is_open(desk):
                desk.waiting = lines + desk.waiting
            else:
                self._forget(lines)

    async def _commit(self) -> None:
        """Have what is durable made visible. Raises StoreUnavailableError or OSError while that cannot be."""
        while self._parcels:
            parcel = self._parcels[0]
            if self._clock.monotonic() - parcel.written_at >= REWRITE_SECONDS:
                parcel.segments = await self._write(parcel.taken)
                parcel.written_at = self._clock.monotonic()
            flush = Flush(token=parcel.token, segments=tuple(parcel.segments))
            try:
                report = await self._store.commit(flush, self._clock.now())
            except (StoreUnavailableError, OSError):
                raise
            except Exception as error:  # noqa: BLE001  # one batch's fault must not stop the others (S8)
                self._parcels[:1] = self._apart(parcel, error)
            else:
                del self._parcels[0]
                self._settle(parcel, report)

    def _apart(self, parcel: _Parcel, error: Exception) -> list[_Parcel]:
        """Divide what the store could not take by batch; a single batch's shards are given up, their journals stay."""
        batch_ids = dict.fromkeys(segment.batch_id for segment in parcel.segments)
        if len(batch_ids) > 1:
            return [
                _Parcel(
                    self._token(),
                    [(desk, lines) for desk, lines in parcel.taken if desk.lease.batch_id == batch_id],
                    [segment for segment in parcel.segments if segment.batch_id == batch_id],
                    parcel.written_at,
                )
                for batch_id in batch_ids
            ]
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"the store could not take results of {', '.join(batch_ids)}", "exception": error}
        )
        given_up = frozenset(desk.lease.key for desk, _ in parcel.taken if self._is_open(desk))
        for desk, lines in parcel.taken:
            self._forget(lines)
            self.close(desk.lease)
        self._tell(CommitReport(fenced=given_up))
        return []

    def _settle(self, parcel: _Parcel, report: CommitReport) -> None:
        """Let go of what was committed, and of shards that are over; a shard leased anew meanwhile is not meant."""
        self._write_down()
        fenced = set()
        for desk, lines in parcel.taken:
            desk.sent = False
            self._forget(lines)
            key = desk.lease.key
            if self._is_open(desk) and key in report.fenced | report.finished:
                del self._desks[key]
                desk.journal.close()
                self._forget(desk.waiting)
                _remove([desk.journal.path, *desk.stale])
                if key in report.fenced:
                    fenced.add(key)
        self._tell(CommitReport(fenced=frozenset(fenced), finished=report.finished, ended=report.ended))

    def _tell(self, report: CommitReport) -> None:
        for outcome in self._outcomes:
            outcome(report)
        for batch_id in report.ended:
            self._emit(BatchEnded(batch_id=batch_id))

    def _is_open(self, desk: _Desk) -> bool:
        return self._desks.get(desk.lease.key) is desk

    def _forget(self, lines: Iterable[ResultLine]) -> None:
        for line in lines:
            self._lines -= 1
            self._bytes -= len(line.line)


def _segments(blob_key: str, parts: Taken) -> list[Segment]:
    segments = []
    offset = 0
    for desk, lines in parts:
        length = sum(len(line.line) for line in lines)
        segments.append(
            Segment(
                batch_id=desk.lease.batch_id,
                shard_number=desk.lease.shard.number,
                epoch=desk.lease.epoch,
                blob_key=blob_key,
                offset=offset,
                length=length,
                positions=tuple(line.position for line in lines),
                types=tuple(line.type for line in lines),
                charges=charges(lines),
            )
        )
        offset += length
    return segments


def charges(lines: Iterable[ResultLine]) -> tuple[Charge, ...]:
    """Sum what succeeded requests used, by model (M1: nothing else is billed)."""
    by_model: dict[str, list[ResultLine]] = {}
    for line in lines:
        if line.type == "succeeded":
            by_model.setdefault(line.model, []).append(line)
    return tuple(
        Charge(
            model=model,
            requests=len(billed),
            usage=Usage.total(line.usage for line in billed),
            cost_nanousd=sum(line.cost_nanousd for line in billed),
        )
        for model, billed in by_model.items()
    )


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # what stays is found again by `tidy`
            path.unlink(missing_ok=True)
