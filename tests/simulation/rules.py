"""The promises, held against what the witness saw and what lies in the database, at the moment it happens.

The database is read past the store, with a connection of our own: the store is what is being judged.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from simulation.backend import ANSWERED_BY_FAILURE, Send
from simulation.machine import EPOCH, LEASE_SECONDS
from slackwater.domain.batch import Lease
from slackwater.domain.limits import ATTEMPTS_MAX
from slackwater.domain.result import RESULT_TYPES
from slackwater.wire.stored import decode_requests

OWN_CANCEL_SECONDS, OTHER_CANCEL_SECONDS = 1.0, 2.0
RECORD_SECONDS = 6.0
"""After its answer a result is committed in this time, or its worker was kept from it."""
CLOCK_BEHIND_SECONDS = 60.0
"""A clock that was set back is pulled up at the next start to the latest instant written down: before the downtime."""
MICROSECOND = timedelta(microseconds=1)
PRICES = {"sonnet": (3_000, 15_000), "opus": (15_000, 75_000)}
"""Nano-dollars for an input and an output token."""

GONE = -1
"""As the number of a shard: which one it was cannot be told any more."""

Place = tuple[str, int]
"""Batch and shard."""

_OPEN = """SELECT s.worker_id, s.lease_until, s.state, b.expires_at FROM shards s JOIN batches b ON b.id = s.batch_id
    WHERE s.batch_id = ? AND s.number = ?"""
_BATCHES = """SELECT id, workspace_id, size, processing_status, succeeded, errored, canceled, expired, created_at,
    expires_at, ended_at, cancel_initiated_at, archived_at, results_key, results_length FROM batches"""
_SEGMENTS = "SELECT blob_key, offset, length FROM segments WHERE batch_id = ? ORDER BY sequence"
_WRITTEN = "SELECT sequence, shard_number, epoch FROM segments WHERE batch_id = ? AND sequence >= ? ORDER BY sequence"
_EPOCHS = "SELECT number, epoch FROM shards WHERE batch_id = ?"
_SUMS = "sum(requests), sum(input_tokens), sum(output_tokens), sum(cost_nanousd)"
_STATES = {"in_progress": 0, "canceling": 1, "ended": 2}


@dataclass
class Seen:
    """What was visible of a batch at the last look."""

    workspace_id: str
    row: sqlite3.Row
    data: bytes = b""
    lines: dict[str, Any] = field(default_factory=dict)
    """By custom_id: the result."""
    charged: Counter[str] = field(default_factory=Counter)
    segments: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    """By shard."""


class Rules:
    """Judges; every breach goes to `world.breach`."""

    def __init__(self, world: Any, database: Path) -> None:
        self._world = world
        self._rows = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
        self._rows.row_factory = sqlite3.Row
        self._places: dict[str, list[Place]] = {}
        self._placed: set[str] = set()
        self.seen: dict[str, Seen] = {}
        self.twice: set[str] = set()
        """Requests that may be in a second batch."""
        self.gone: set[str] = set()
        """Batches that their owner deleted."""
        self.going: set[str] = set()
        """Batches that somebody is trying to delete."""
        self._watchers = 0
        self.cancels: dict[str, tuple[float, Any]] = {}
        """When and by which process each cancel was answered first."""

    def close(self) -> None:
        """Let go of the database."""
        self._rows.close()

    # At every send

    def sent(self, send: Send, before: list[Send]) -> None:
        """Judge a call in the instant in which it arrives at the backend."""
        server, world = send.server, self._world
        world.note("sent", send.custom_id, server.name)
        places = self.places(send.custom_id)
        now = (server.clock.now() - EPOCH) // MICROSECOND + int(EPOCH.timestamp()) * 1_000_000
        behind = world.written() * 1_000_000 - now
        if behind > CLOCK_BEHIND_SECONDS * 1_000_000:
            world.breach("T3", f"the clock of {server.name} is {behind / 1e6:.0f} s behind what had been reached")
        rows = [self._rows.execute(_OPEN, place).fetchone() for place in places]
        mine = [row for row in rows if row and row["state"] == "open" and row["worker_id"] == server.machine.worker_id]
        if not any(row["lease_until"] >= now for row in mine):
            world.breach("X1 X5", f"{send.custom_id} is sent by {server.name}, which holds no lease of it")
        elif not any(now < row["expires_at"] for row in mine):
            world.breach("T2", f"{send.custom_id} is sent by {server.name} after its batch expired")
        if len(places) == 1:  # a body that was sent twice on purpose has its requests twice
            self._canceled(send, places[0][0])
            if before:
                self._repeated(send, before)

    def leased(self, batch_id: str, asked_at: float, leases: list[Lease]) -> None:
        """Judge what a worker was given to work on."""
        answered = self.cancels.get(batch_id)
        if leases and answered is not None and answered[0] < asked_at:
            self._world.breach("C1", f"shards of {batch_id} are leased after its cancel was answered")

    def _canceled(self, send: Send, batch_id: str) -> None:
        answered = self.cancels.get(batch_id)
        if answered is None:
            return
        at, by = answered
        limit = OWN_CANCEL_SECONDS if by is send.server else OTHER_CANCEL_SECONDS
        if send.at > at + limit and not hit(send.server, at, send.at):
            self._world.breach("C2", f"{send.custom_id} is sent {send.at - at:.2f} s after its cancel was answered")

    def _repeated(self, send: Send, before: list[Send]) -> None:
        """Find the reason for another call: a failure that was received, or a blow to who had the request."""
        last = before[-1]
        answered = [one for one in before if one.outcome == "ok"]
        if answered and len(self._world.machines) == 1:
            self._world.breach("X3", f"{send.custom_id} is sent again although its answer was in the journal")
        elif answered and not any(hit(one.server, one.at - LEASE_SECONDS, send.at) for one in answered):
            self._world.breach("X3", f"{send.custom_id} is sent again although it was answered")
        elif last.outcome not in ANSWERED_BY_FAILURE and not hit(last.server, last.at - LEASE_SECONDS, send.at):
            self._world.breach("X2", f"{send.custom_id} is sent again by {send.server.name}, nothing happened to it")

    def places(self, custom_id: str) -> list[Place]:
        """Return in which shards of which batches a request lies."""
        if custom_id not in self._places or custom_id in self.twice:
            for row in self._rows.execute("SELECT id, requests_key FROM batches").fetchall():
                if row["id"] not in self._placed:
                    self._placed.add(row["id"])
                    self._place(row["id"], self._world.directory / "blobs" / row["requests_key"])
        return self._places.get(custom_id, [])

    def _place(self, batch_id: str, path: Path) -> None:
        data = path.read_bytes()
        query = "SELECT number, offset, length FROM shards WHERE batch_id = ?"
        shards = self._rows.execute(query, (batch_id,)).fetchall()
        # One that was canceled before anything was sent may have its results joined, and no shards, at the first look.
        for number, offset, length in shards or [(GONE, 0, len(data))]:
            for request in decode_requests(data[offset : offset + length]):
                self._places.setdefault(request.custom_id, []).append((batch_id, number))

    # At the end

    def judge(self, orders: list[Any]) -> None:
        """Hold every line against what the witness knows."""
        batches = Counter(next(iter(seen.lines)).rsplit("-", 1)[0] for seen in self.seen.values() if seen.lines)
        for order in orders:
            if not order.batches <= batches[order.key] <= order.batches + order.unsure:
                self._world.breach("D3", f"{order.key} became {batches[order.key]} batches")
        for batch_id, seen in self.seen.items():
            for custom_id, result in seen.lines.items():
                if len(self.places(custom_id)) == 1:
                    why = self._wrong(seen.row, custom_id, result)
                    if why:
                        self._world.breach(why, f"{custom_id} of {batch_id} is {result}, {self._told(custom_id)}")

    def _wrong(self, row: sqlite3.Row, custom_id: str, result: Any) -> str:
        """Return the promise that a result breaks."""
        sends = self._world.witness.sends[custom_id]
        nature = self._world.witness.natures.get(custom_id)
        texts = {send.text for send in sends if send.outcome == "ok"}
        failures = sum(send.outcome == "failed" for send in sends)
        kind, text = result["type"], _text(result)
        if kind == "succeeded" and text not in texts:
            return "S7"
        if kind == "errored" and not (
            failures >= ATTEMPTS_MAX or nature == "nobody" or any(send.outcome == "refused" for send in sends)
        ):
            return "X7"
        if kind == "canceled" and row["cancel_initiated_at"] is None:
            return "C1"
        if kind == "expired" and row["ended_at"] < row["expires_at"]:
            return "T2 L2"
        paid = [
            one
            for one in sends
            if one.outcome == "ok" and not hit(one.server, one.at - LEASE_SECONDS, one.back_at + RECORD_SECONDS)
        ]
        return "P1 C3" if any(one.text != text for one in paid) else ""

    def _told(self, custom_id: str) -> str:
        return str(
            [(send.server.name, round(send.at, 2), send.outcome) for send in self._world.witness.sends[custom_id]]
        )

    # At any look

    @contextmanager
    def looking_before_each_write(self) -> Iterator[None]:
        """Have a look right before every transaction, so that nothing goes unseen that one of them removes."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    def before_write(self) -> None:
        """Hear that a transaction is about to begin."""
        if self._watchers:
            self.look()

    def look(self) -> None:
        """Judge everything that is visible now."""
        rows = self._rows.execute(_BATCHES).fetchall()
        found = {row["id"] for row in rows}
        for batch_id in self.seen.keys() - found - (self.gone | self.going):
            self._world.breach("D1 D4", f"{batch_id} is not there any more")
        for row in rows:
            seen = self.seen.setdefault(row["id"], Seen(row["workspace_id"], row))
            self._row(seen.row, row)
            seen.row = row
            if row["archived_at"] is None:
                self._fence(seen, row["id"])
                self._results(seen, row)
        self._ledger()

    def _row(self, before: sqlite3.Row, row: sqlite3.Row) -> None:
        breach, batch_id = self._world.breach, row["id"]
        if _STATES[row["processing_status"]] < _STATES[before["processing_status"]]:
            breach("S6", f"{batch_id} was {before['processing_status']} and is {row['processing_status']}")
        for name in ("created_at", "expires_at", "ended_at", "cancel_initiated_at"):
            if before[name] is not None and before[name] != row[name]:
                breach("T1 S6 C4", f"{name} of {batch_id} changed")
        if (row["ended_at"] is not None) != (row["processing_status"] == "ended"):
            breach("S6", f"{batch_id} is {row['processing_status']} with ended_at {row['ended_at']}")
        if row["ended_at"] is not None and sum(row[kind] for kind in RESULT_TYPES) != row["size"]:
            breach("S1 S2", f"{batch_id} ended with {[row[kind] for kind in RESULT_TYPES]} of {row['size']}")

    def _fence(self, seen: Seen, batch_id: str) -> None:
        """Find what was written since the last look under an epoch that was over by then (S5)."""
        for sequence, number, epoch in self._rows.execute(_WRITTEN, (batch_id, seen.segments)).fetchall():
            seen.segments = sequence + 1
            if epoch < seen.epochs.get(number, 0):
                self._world.breach("S5", f"shard {number} of {batch_id} was written under an epoch that was over")
        seen.epochs = dict(self._rows.execute(_EPOCHS, (batch_id,)).fetchall())

    def _results(self, seen: Seen, row: sqlite3.Row) -> None:
        """Read what is visible: it only ever grows at its end, whatever moves it about (S3, R1)."""
        breach, batch_id = self._world.breach, row["id"]
        data = self._bytes(row)
        if data is None:
            breach("D1 D5", f"results of {batch_id} cannot be read")
            return
        if not data.startswith(seen.data):
            breach("S3 R1", f"visible lines of {batch_id} changed")
            return
        for line in data[len(seen.data) :].splitlines():
            self._line(seen, batch_id, json.loads(line))
        seen.data = data
        kinds = Counter(result["type"] for result in seen.lines.values())
        if any(kinds[kind] != row[kind] for kind in RESULT_TYPES):
            breach("S2", f"{batch_id} counts {[row[kind] for kind in RESULT_TYPES]}, visible are {dict(kinds)}")
        charged = self._sums("batch_charges WHERE batch_id = ?", batch_id)
        if charged != seen.charged:
            breach("M1 S4", f"{batch_id} is charged {charged}, its lines say {seen.charged}")

    def _line(self, seen: Seen, batch_id: str, line: Any) -> None:
        custom_id, result = line["custom_id"], line["result"]
        if custom_id in seen.lines:
            self._world.breach("S1", f"{custom_id} of {batch_id} has two lines")
        if batch_id not in {place[0] for place in self.places(custom_id)}:
            self._world.breach("S1 W1", f"{custom_id} is no request of {batch_id}")
        seen.lines[custom_id] = result
        if result["type"] == "expired" and seen.row["expires_at"] > self._world.written() * 1e6 + 1e6:
            self._world.breach("T3", f"{custom_id} of {batch_id} is called expired before its time")
        if result["type"] == "succeeded":
            usage, (dollars_in, dollars_out) = result["message"]["usage"], PRICES[result["message"]["model"]]
            tokens = {name: usage[name] for name in ("input_tokens", "output_tokens")}
            cost = (tokens["input_tokens"] * dollars_in + tokens["output_tokens"] * dollars_out) // 2
            seen.charged.update(requests=1, cost_nanousd=cost, **tokens)

    def _bytes(self, row: sqlite3.Row) -> bytes | None:
        parts = (
            [(row["results_key"], 0, row["results_length"])]
            if row["results_key"] is not None
            else self._rows.execute(_SEGMENTS, (row["id"],)).fetchall()
        )
        data = b""
        for blob_key, offset, length in parts:
            try:
                piece = (self._world.directory / "blobs" / blob_key).read_bytes()[offset : offset + length]
            except OSError:
                return None
            if len(piece) != length:
                return None
            data += piece
        return data

    def _ledger(self) -> None:
        for workspace_id in self._world.workspaces:
            booked = self._sums("ledger WHERE workspace_id = ?", workspace_id)
            lines = sum((one.charged for one in self.seen.values() if one.workspace_id == workspace_id), Counter())
            if booked != lines:
                self._world.breach("M1 S4", f"{workspace_id} is billed {booked}, its lines say {lines}")

    def _sums(self, of: str, value: str) -> Counter[str]:
        row = self._rows.execute(f"SELECT {_SUMS} FROM {of}", (value,)).fetchone()  # noqa: S608  # our own words
        names = ("requests", "input_tokens", "output_tokens", "cost_nanousd")
        return +Counter(dict(zip(names, (count or 0 for count in row), strict=True)))


def _text(result: Any) -> str | None:
    return result["message"]["content"][0]["text"] if result["type"] == "succeeded" else None


def hit(server: Any, since: float, until: float) -> bool:
    """Tell whether something kept a process from its work in that time."""
    return any(start <= until and end >= since for start, end in server.hits)
