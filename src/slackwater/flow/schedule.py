"""Schedule: which request goes next. State in, next request out: no clock, no I/O.

Fair queueing by virtual time: a workspace, and inside it a batch, is charged for what it was given, and the one that
has been given least goes next; so a small batch never waits behind a large one, and an idle one cannot save up. A
batch close to its deadline goes before its siblings. Inside a batch the plan's order holds, except that a prefix group
that is cold sends one request ahead and lets the others follow when it has come back: the first answer warms the cache.
Where a backend has slots, each with a cache of its own, its lanes decide instead.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

from slackwater.flow.lanes import URGENT, Lanes
from slackwater.flow.stored import Entry, ShardKey

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Run:
    """Consecutive requests of one prefix group."""

    group: int
    entries: deque[Entry]


@dataclass(slots=True, eq=False)
class _Shard:
    key: ShardKey
    backend: str
    runs: deque[_Run]


@dataclass(slots=True)
class _Batch:
    id: str
    workspace: "_Workspace"
    expires_at: datetime
    served: float
    shards: deque[_Shard] = field(default_factory=deque)
    warming: set[int] = field(default_factory=set)
    warm: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Workspace:
    id: str
    served: float
    batches: dict[str, _Batch] = field(default_factory=dict)


class Schedule:
    """The requests in hand, of all shards this worker holds."""

    def __init__(self, slots: Mapping[str, int] | None = None) -> None:
        """Begin empty; `slots` are those of the backends that have them."""
        self._lanes = {backend: Lanes(count) for backend, count in (slots or {}).items()}
        self.expecting: frozenset[str] = frozenset()
        """Backends for which more shards are on their way: no group spreads over their slots before those are here."""
        self._workspaces: dict[str, _Workspace] = {}
        self._batches: dict[str, _Batch] = {}
        self._unsent: dict[str, int] = {}

    def add(self, *, workspace_id: str, expires_at: datetime, entries: Sequence[Entry]) -> None:
        """Take in the requests of one shard, in plan order."""
        if not entries:
            return
        shard, backend = entries[0].shard, entries[0].backend
        if backend in self._lanes:
            self._lanes[backend].add(workspace_id, shard[0], expires_at, entries)
            return
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            served = min((other.served for other in self._workspaces.values()), default=0.0)
            workspace = self._workspaces[workspace_id] = _Workspace(workspace_id, served)
        batch = self._batches.get(shard[0])
        if batch is None:
            served = min((other.served for other in workspace.batches.values()), default=0.0)
            batch = self._batches[shard[0]] = _Batch(shard[0], workspace, expires_at, served)
            workspace.batches[shard[0]] = batch
        batch.shards.append(_Shard(shard, backend, _runs(entries)))
        self._unsent[backend] = self.unsent(backend) + len(entries)

    def unsent(self, backend: str) -> int:
        """Return how many requests wait for a backend."""
        lanes = self._lanes.get(backend)
        return lanes.unsent if lanes is not None else self._unsent.get(backend, 0)

    def drop(self, shard: ShardKey) -> None:
        """Forget what has not been sent of a shard."""
        for lanes in self._lanes.values():
            lanes.drop(shard)
        batch = self._batches.get(shard[0])
        if batch is not None:
            for held in [held for held in batch.shards if held.key == shard]:
                self._unsent[held.backend] -= sum(len(run.entries) for run in held.runs)
                batch.shards.remove(held)
            self._tidy(batch)

    def next(self, *, now: datetime, has_room: Callable[[str], bool]) -> Entry | None:
        """Return the next request, charged and removed; None when nothing may be sent now.

        `has_room` tells for a backend whether a request could start there.
        """
        for backend, lanes in self._lanes.items():
            if lanes.unsent and has_room(backend):
                entry = lanes.next(now, spread=backend not in self.expecting)
                if entry is not None:
                    return entry
        for workspace in _sorted(self._workspaces, lambda one: one.served):
            for batch in _sorted(workspace.batches, lambda batch: _rank(batch, now)):
                entry = self._from_batch(batch, has_room)
                if entry is not None:
                    workspace.served += entry.cost
                    batch.served += entry.cost
                    self._tidy(batch)
                    return entry
        return None

    def came_back(self, entry: Entry) -> None:
        """Hear that a request was answered: its prefix group is warm now."""
        if entry.backend in self._lanes:
            self._lanes[entry.backend].came_back(entry)
            return
        group = entry.request.group
        batch = self._batches.get(entry.shard[0])
        if batch is not None and group in batch.warming:
            batch.warming.discard(group)
            batch.warm.add(group)
            self._tidy(batch)

    def _from_batch(self, batch: _Batch, has_room: Callable[[str], bool]) -> Entry | None:
        busy = None
        for shard in batch.shards:
            if shard.backend == busy:
                continue
            if not has_room(shard.backend):
                busy = shard.backend
                continue
            for run in shard.runs:
                if run.group in batch.warming:
                    continue
                if run.group > 0 and run.group not in batch.warm:
                    batch.warming.add(run.group)
                return self._take(batch, shard, run)
        return None

    def _take(self, batch: _Batch, shard: _Shard, run: _Run) -> Entry:
        entry = run.entries.popleft()
        self._unsent[shard.backend] -= 1
        if not run.entries:
            shard.runs.remove(run)
        if not shard.runs:
            batch.shards.remove(shard)
        return entry

    def _tidy(self, batch: _Batch) -> None:
        """Forget an empty batch unless a group of it is still warming, and an empty workspace."""
        if not batch.shards and not batch.warming:
            del self._batches[batch.id], batch.workspace.batches[batch.id]
            if not batch.workspace.batches:
                del self._workspaces[batch.workspace.id]


def _sorted(values: Mapping[str, _T], key: Callable[[_T], Any]) -> Iterable[_T]:
    """Sort; most often there is just one."""
    return sorted(values.values(), key=key) if len(values) > 1 else list(values.values())


def _rank(batch: _Batch, now: datetime) -> tuple[bool, float, str]:
    return (batch.expires_at - now > URGENT, batch.served, batch.id)


def _runs(entries: Sequence[Entry]) -> deque[_Run]:
    runs = groupby(entries, key=lambda entry: entry.request.group)
    return deque(_Run(group, deque(members)) for group, members in runs)
