"""The transaction that makes results visible: fence, segments, charges, progress, ends. All of it or nothing.

What the flush touches is read once under lock, decided in Python, and written in one statement for each table.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, tuple_, update
from sqlalchemy import insert as plain_insert

from slackwater import failpoints
from slackwater.domain import lifecycle
from slackwater.domain.result import RESULT_TYPES, Charge, CommitReport, Flush, Segment
from slackwater.store import rows
from slackwater.store.database import DIALECTS, upsert
from slackwater.store.ledger import add_to_batch, add_to_ledger
from slackwater.store.rows import AnyRow
from slackwater.store.schema import (
    EPOCH,
    backlogs,
    batches,
    bits,
    flushes,
    pack_bits,
    pack_positions,
    segments,
    shards,
    unpack_bits,
)

ShardKey = tuple[str, int]

_TOKEN: Final = {
    dialect: upsert(dialect, flushes).on_conflict_do_nothing(index_elements=["token"]).returning(flushes.c.token)
    for dialect in DIALECTS
}
_BATCHES: Final = (
    select(
        batches.c.id,
        batches.c.workspace_id,
        batches.c.size,
        batches.c.processing_status,
        *(batches.c[name] for name in RESULT_TYPES),
        batches.c.shards_open,
        batches.c.segments,
        batches.c.created_at,
        batches.c.expires_at,
        batches.c.cancel_initiated_at,
        batches.c.ended_at,
        batches.c.result_blobs,
    )
    .where(batches.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(batches.c.id)
    .with_for_update(key_share=True)
)
_SHARD_COLUMNS: Final = (
    shards.c.batch_id,
    shards.c.number,
    shards.c.model,
    shards.c.size,
    shards.c.done,
    shards.c.state,
    shards.c.epoch,
    shards.c.worker_id,
    shards.c.lease_until,
)
_SHARDS: Final = (
    select(*_SHARD_COLUMNS)
    .where(
        tuple_(shards.c.batch_id, shards.c.number).in_(bindparam("keys", expanding=True)),
        shards.c.batch_id.in_(bindparam("ids", expanding=True)),  # SQLite finds its index by these two only
        shards.c.number.in_(bindparam("numbers", expanding=True)),
    )
    .order_by(shards.c.batch_id, shards.c.number)
    .with_for_update()
)
_SHARD: Final = (
    update(shards)
    .where(
        shards.c.batch_id == bindparam("of_batch"),
        shards.c.number == bindparam("of_number"),
        shards.c.epoch == bindparam("of_epoch"),
    )
    .values(
        done=bindparam("done"),
        done_count=bindparam("done_count"),
        state=bindparam("state"),
        worker_id=bindparam("worker_id"),
        lease_until=bindparam("lease_until"),
    )
)
_BATCH: Final = (
    update(batches)
    .where(batches.c.id == bindparam("of_batch"))
    .values(
        processing_status=bindparam("processing_status"),
        shards_open=bindparam("shards_open"),
        segments=bindparam("segments"),
        ended_at=bindparam("ended_at"),
        result_blobs=bindparam("result_blobs"),
        **{name: bindparam(name) for name in RESULT_TYPES},
    )
)
_BACKLOG: Final = (
    update(backlogs)
    .where(backlogs.c.batch_id == bindparam("of_batch"), backlogs.c.model == bindparam("of_model"))
    .values(shards_open=backlogs.c.shards_open - bindparam("finished"))
)
_NO_BACKLOG: Final = delete(backlogs).where(backlogs.c.batch_id == bindparam("of_batch"))
_SEGMENT: Final = plain_insert(segments)
_BLOBS: Final = select(func.count(segments.c.blob_key.distinct())).where(segments.c.batch_id == bindparam("of_batch"))


@dataclass(slots=True)
class _Part:
    """A shard as this transaction leaves it."""

    row: AnyRow
    done: int
    """Bitmap of positions."""
    touched: bool = False

    @property
    def finished(self) -> bool:
        return self.done.bit_count() == int(self.row.size)

    def admits(self, segment: Segment, positions: int) -> bool:
        """Only under the shard's own epoch, only while it is open, and no position twice."""
        return self.row.epoch == segment.epoch and self.row.state == "open" and not self.done & positions

    def values(self) -> dict[str, Any]:
        return {
            "of_batch": self.row.batch_id,
            "of_number": self.row.number,
            "of_epoch": self.row.epoch,
            "done": pack_bits(self.done),
            "done_count": self.done.bit_count(),
            "state": "done" if self.finished else "open",
            "worker_id": None if self.finished else self.row.worker_id,
            "lease_until": EPOCH if self.finished else self.row.lease_until,
        }


@dataclass(slots=True)
class _Whole:
    """A batch as this transaction leaves it."""

    row: AnyRow
    tally: dict[str, int]
    segments: list[Segment] = field(default_factory=list)
    finished: Counter[str] = field(default_factory=Counter)
    """Shards that this transaction completes, by model."""

    @property
    def shards_open(self) -> int:
        return int(self.row.shards_open) - self.finished.total()

    @property
    def charges(self) -> list[Charge]:
        return rows.merged(charge for segment in self.segments for charge in segment.charges)

    def take(self, segment: Segment) -> None:
        self.segments.append(segment)
        for kind in segment.types:
            self.tally[kind] += 1

    def segment_values(self) -> list[dict[str, Any]]:
        return [
            {
                "batch_id": segment.batch_id,
                "sequence": sequence,
                "shard_number": segment.shard_number,
                "epoch": segment.epoch,
                "blob_key": segment.blob_key,
                "offset": segment.offset,
                "length": segment.length,
                "positions": pack_positions(segment.positions),
            }
            for sequence, segment in enumerate(self.segments, self.row.segments)
        ]

    def backlog_values(self) -> list[dict[str, Any]]:
        return [
            {"of_batch": self.row.id, "of_model": model, "finished": count}
            for model, count in sorted(self.finished.items())
        ]

    def values(self) -> dict[str, Any]:
        return {
            "of_batch": self.row.id,
            "processing_status": self.row.processing_status,
            "shards_open": self.shards_open,
            "segments": self.row.segments + len(self.segments),
            "ended_at": self.row.ended_at,
            "result_blobs": self.row.result_blobs,
            **self.tally,
        }


def commit(connection: Connection, flush: Flush, now: datetime) -> CommitReport:
    """Carry out a flush, or report again on one that was carried out before (P2)."""
    token = {"token": flush.token, "committed_at": now}
    fresh = connection.execute(_TOKEN[connection.dialect.name], token).first() is not None
    wholes, parts = _locked(connection, flush)
    if not fresh:
        return _replayed(flush, wholes, parts)
    fenced = {_key(segment) for segment in flush.segments if not _taken(segment, wholes, parts)}
    finished = _write_shards(connection, wholes, [part for part in parts.values() if part.touched])
    changed = [whole for whole in wholes.values() if whole.segments]
    ended = _write_batches(connection, changed, now)
    _write_charges(connection, changed, now)
    return CommitReport(fenced=frozenset(fenced), finished=finished, ended=ended)


def _key(segment: Segment) -> ShardKey:
    return (segment.batch_id, segment.shard_number)


def _locked(connection: Connection, flush: Flush) -> tuple[dict[str, _Whole], dict[ShardKey, _Part]]:
    """Read what the flush is about: batches first, in the order in which everybody locks them."""
    keys = sorted({_key(segment) for segment in flush.segments})
    if not keys:
        return {}, {}
    ids = sorted({batch_id for batch_id, _ in keys})
    found = connection.execute(_BATCHES, {"ids": ids}).all()
    wholes = {row.id: _Whole(row, {kind: getattr(row, kind) for kind in RESULT_TYPES}) for row in found}
    named = {"keys": keys, "ids": ids, "numbers": sorted({number for _, number in keys})}
    parts = {
        (row.batch_id, row.number): _Part(row, unpack_bits(row.done)) for row in connection.execute(_SHARDS, named)
    }
    return wholes, parts


def _replayed(flush: Flush, wholes: dict[str, _Whole], parts: dict[ShardKey, _Part]) -> CommitReport:
    """Tell from the rows what became of the shards of a flush that was committed before."""
    fenced, finished = set(), set()
    for segment in flush.segments:
        part = parts.get(_key(segment))
        if segment.batch_id not in wholes:
            fenced.add(_key(segment))
        elif part is None or part.row.state == "done":  # shards go with the compaction of their batch
            finished.add(_key(segment))
        elif part.row.epoch != segment.epoch:
            fenced.add(_key(segment))
    ended = frozenset(batch_id for batch_id, whole in wholes.items() if whole.row.ended_at is not None)
    return CommitReport(fenced=frozenset(fenced), finished=frozenset(finished), ended=ended)


def _taken(segment: Segment, wholes: dict[str, _Whole], parts: dict[ShardKey, _Part]) -> bool:
    """Take a segment in where its shard admits it. Raises ValueError for one that cannot be of that shard."""
    part = parts.get(_key(segment))
    if part is None:
        return False
    positions = bits(segment.positions)
    if (
        positions.bit_count() != len(segment.positions)
        or len(segment.types) != len(segment.positions)
        or positions.bit_length() > part.row.size
    ):
        message = f"a segment of shard {_key(segment)} has positions twice, beyond its size, or without a type"
        raise ValueError(message)
    if not part.admits(segment, positions):
        return False
    part.done |= positions
    part.touched = True
    wholes[segment.batch_id].take(segment)
    return True


def _write_shards(connection: Connection, wholes: dict[str, _Whole], touched: list[_Part]) -> frozenset[ShardKey]:
    """Write progress; return the shards that are complete now."""
    if not touched:
        return frozenset()
    changed = connection.execute(_SHARD, [part.values() for part in touched]).rowcount
    if changed not in {-1, len(touched)}:  # -1: the driver does not count
        message = f"{len(touched)} shards were locked under their epoch, {changed} could be written"
        raise RuntimeError(message)
    finished = [part.row for part in touched if part.finished]
    for row in finished:
        wholes[row.batch_id].finished[row.model] += 1
    return frozenset((row.batch_id, row.number) for row in finished)


def _write_batches(connection: Connection, changed: list[_Whole], now: datetime) -> frozenset[str]:
    """Write segments and progress; end the batches that have no open shard left (S6)."""
    if not changed:
        return frozenset()
    connection.execute(_SEGMENT, [values for whole in changed for values in whole.segment_values()])
    connection.execute(_BATCH, [whole.values() | _end(connection, whole, now) for whole in changed])
    backlog = [values for whole in changed if whole.shards_open for values in whole.backlog_values()]
    if backlog:
        connection.execute(_BACKLOG, backlog)
    ended = [whole.row.id for whole in changed if not whole.shards_open]
    if ended:
        connection.execute(_NO_BACKLOG, [{"of_batch": batch_id} for batch_id in ended])
    return frozenset(ended)


def _end(connection: Connection, whole: _Whole, now: datetime) -> dict[str, Any]:
    """Return what the end changes about a batch; nothing before its end."""
    if whole.shards_open:
        return {}
    after = lifecycle.after(whole.row.processing_status, "finish")
    resolved = sum(whole.tally.values())
    if after is None or resolved != whole.row.size:
        message = (
            f"{whole.row.id} ({whole.row.processing_status}) has {resolved} results of {whole.row.size} at its end"
        )
        raise RuntimeError(message)
    failpoints.hit("store.end")
    blobs = connection.scalar(_BLOBS, {"of_batch": whole.row.id})
    return {"processing_status": after, "ended_at": _ended_at(whole, now), "result_blobs": blobs}


def _ended_at(whole: _Whole, now: datetime) -> datetime:
    """Return when it ended: now, but not before what happened to it by another process's clock, ahead of this one's."""
    row = whole.row
    happened: list[datetime | None] = [row.created_at, row.cancel_initiated_at]
    if whole.tally["expired"]:
        happened.append(row.expires_at)
    return max(now, *filter(None, happened))


def _write_charges(connection: Connection, changed: list[_Whole], now: datetime) -> None:
    """Book usage and cost on the batch and in the ledger (S4), rows in one order everywhere."""
    charged = [(whole.row, charge) for whole in changed for charge in whole.charges]
    add_to_batch(connection, [(row.id, charge) for row, charge in charged])
    add_to_ledger(connection, [(row.workspace_id, charge) for row, charge in charged], "batch", now)
