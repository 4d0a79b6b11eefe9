"""Record: gather result lines and make them durable and visible, many at a time.

A line goes to the journal at once. Every second, 1,024 lines or 1 MiB, what has gathered becomes one blob per batch
and then one transaction (a flush). A flush that fails is put back and tried again: work already paid for waits in
memory, it is never redone (P1).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from slackwater.domain.batch import Lease
from slackwater.domain.errors import StoreUnavailableError
from slackwater.domain.events import BatchEnded
from slackwater.domain.result import NO_USAGE, Charge, CommitReport, Flush, ResultLine, Segment
from slackwater.flow.journal import Journal, adoptable
from slackwater.ports import Blobs, Clock, Listener, WorkStore

FLUSH_SECONDS = 1.0
FLUSH_LINES = 1_024
FLUSH_BYTES = 2**20
HELD_BYTES_MAX = 64 * 2**20
"""With this much waiting for a store that does not take it, nothing new is sent."""
RETRY_SECONDS = 1.0


@dataclass(slots=True)
class _Desk:
    """One shard's results on their way."""

    lease: Lease
    journal: Journal
    waiting: list[ResultLine] = field(default_factory=list)
    stale: list[Path] = field(default_factory=list)
    """Journals of earlier epochs, needed until their lines are committed under this one."""


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
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._token = token
        self._directory = directory
        self._emit = emit
        self._desks: dict[tuple[str, int], _Desk] = {}
        self._outcomes: list[Outcome] = []
        self._due = asyncio.Event()
        self._lines = 0
        self._bytes = 0
        self._flushing = asyncio.Lock()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def full(self) -> bool:
        """True while more waits than may be held in memory."""
        return self._bytes > HELD_BYTES_MAX

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
        """Take a request's result: journal it and let it wait for the next flush.

        A result made under a lease that is over is dropped. The journal only spares work after a crash: where the disk
        refuses it, the result waits in memory all the same.
        """
        desk = self._desks.get(lease.key)
        if desk is None or desk.lease.epoch != lease.epoch:
            return
        with suppress(OSError):
            desk.journal.append(line)
        desk.waiting.append(line)
        self._lines += 1
        self._bytes += len(line.line)
        if self._lines >= FLUSH_LINES or self._bytes >= FLUSH_BYTES:
            self._due.set()

    def hurry(self) -> None:
        """Flush soon: somebody waits for what is there."""
        self._due.set()

    def close(self, lease: Lease) -> None:
        """Stop recording for a shard whose lease is over. Lines that were not committed stay in the journal file."""
        desk = self._desks.get(lease.key)
        if desk is None or desk.lease.epoch != lease.epoch:
            return
        del self._desks[lease.key]
        desk.journal.close()
        if not desk.waiting:
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

    async def flush(self) -> bool:
        """Commit what waits; False when the store did not take it (it waits on then)."""
        async with self._flushing:
            taken = [(desk, desk.waiting) for desk in self._desks.values() if desk.waiting]
            for desk, _ in taken:
                desk.waiting = []
            if not taken:
                return True
            report = None
            try:
                with suppress(StoreUnavailableError, OSError):
                    report = await self._commit(taken)
            finally:
                if report is None:
                    for desk, lines in taken:
                        desk.waiting = lines + desk.waiting
            if report is None:
                return False
            for _, lines in taken:
                self._forget(lines)
            self._tell(report)
            return True

    async def _commit(self, taken: list[tuple[_Desk, list[ResultLine]]]) -> CommitReport:
        token = self._token()
        by_batch: dict[str, list[tuple[_Desk, list[ResultLine]]]] = defaultdict(list)
        for desk, lines in taken:
            by_batch[desk.lease.batch_id].append((desk, lines))
        segments: list[Segment] = []
        puts = []
        for batch_id, parts in by_batch.items():
            blob_key = f"results/{batch_id}/{token}"
            segments.extend(_segments(blob_key, parts))
            puts.append(self._blobs.put(blob_key, [line.line for _, lines in parts for line in lines]))
        await asyncio.gather(*puts)
        return await self._store.commit(Flush(token=token, segments=tuple(segments)), self._clock.now())

    def _tell(self, report: CommitReport) -> None:
        for key in report.fenced | report.finished:
            desk = self._desks.pop(key, None)
            if desk is not None:
                desk.journal.close()
                self._forget(desk.waiting)
                _remove([desk.journal.path, *desk.stale])
        for outcome in self._outcomes:
            outcome(report)
        for batch_id in report.ended:
            self._emit(BatchEnded(batch_id=batch_id))

    def _forget(self, lines: Iterable[ResultLine]) -> None:
        for line in lines:
            self._lines -= 1
            self._bytes -= len(line.line)


def _segments(blob_key: str, parts: list[tuple[_Desk, list[ResultLine]]]) -> list[Segment]:
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
    by_model: dict[str, Charge] = {}
    for line in lines:
        if line.type == "succeeded":
            before = by_model.get(line.model, Charge(model=line.model, requests=0, usage=NO_USAGE, cost_nanousd=0))
            by_model[line.model] = Charge(
                model=line.model,
                requests=before.requests + 1,
                usage=before.usage + line.usage,
                cost_nanousd=before.cost_nanousd + line.cost_nanousd,
            )
    return tuple(by_model.values())


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
