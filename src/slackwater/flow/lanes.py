"""Lanes: which request goes next at a backend with slots, each with a cache that only the same prefix can use.

A prefix group that got a slot keeps it and is drained serially; another group opens when a slot is free and none waits
to go on; a group spreads over more slots only where one would idle. A slot goes to the workspace, and in it to the
batch, with the fewest requests in flight here; between equals to the one whose group was just answered, for a slice of
requests, and then to the one that has been given least. State in, next request out: no clock, no I/O.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slackwater.flow.stored import Entry, ShardKey

URGENT = timedelta(minutes=30)
"""A batch with less time than this left goes before the other batches of its workspace."""
SLICE_REQUESTS = 8
"""With more batches than slots a group goes on for so many requests before it can lose its slot and the cache in it."""
SPREAD_REQUESTS = 6
"""For each slot it has, so many requests must wait before a group spreads: every slot reads the prefix once more."""


@dataclass(slots=True, eq=False)
class _Workspace:
    id: str
    served: float
    flying: int = 0
    batches: dict[str, "_Batch"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Batch:
    id: str
    workspace: _Workspace
    expires_at: datetime
    served: float
    flying: int = 0
    groups: dict[int, "_Group"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Group:
    """Requests of one batch with the same prefix; number 0: with none."""

    number: int
    batch: _Batch
    entries: deque[Entry] = field(default_factory=deque)
    flying: int = 0
    left: int = 0
    """Requests before another batch in its place may have the slot."""


class Lanes:
    """The requests in hand for one backend."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._workspaces: dict[str, _Workspace] = {}
        self._batches: dict[str, _Batch] = {}
        self._kept: list[_Group] = []
        """Groups whose request came back and whose next one is to go into the same slot, once for each such slot."""
        self._flying = 0
        self.unsent = 0

    def add(self, workspace_id: str, batch_id: str, expires_at: datetime, entries: Sequence[Entry]) -> None:
        """Take in the requests of a shard, in plan order."""
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            served = min((other.served for other in self._workspaces.values()), default=0.0)
            workspace = self._workspaces[workspace_id] = _Workspace(workspace_id, served)
        batch = self._batches.get(batch_id)
        if batch is None:
            served = min((other.served for other in workspace.batches.values()), default=0.0)
            batch = self._batches[batch_id] = _Batch(batch_id, workspace, expires_at, served)
            workspace.batches[batch_id] = batch
        for entry in entries:
            number = entry.request.group
            batch.groups.setdefault(number, _Group(number, batch)).entries.append(entry)
        self.unsent += len(entries)

    def drop(self, shard: ShardKey) -> None:
        """Forget what has not been sent of a shard."""
        batch = self._batches.get(shard[0])
        for group in list(batch.groups.values()) if batch is not None else ():
            self.unsent -= len(group.entries)
            group.entries = deque(entry for entry in group.entries if entry.shard != shard)
            self.unsent += len(group.entries)
            self._settle(group)

    def next(self, now: datetime, *, spread: bool) -> Entry | None:
        """Return the next request, charged and removed; a slot is free. With `spread` no slot is left to idle."""
        going_on = {node for group in self._kept if group.left for node in (group.batch, group.batch.workspace)}
        workspaces = sorted(self._workspaces.values(), key=lambda one: (one.flying, one not in going_on, one.served))
        for choose in (_next_group, _widest_group) if spread else (_next_group,):
            for workspace in workspaces:
                for batch in sorted(
                    workspace.batches.values(),
                    key=lambda one: (one.expires_at - now > URGENT, one.flying, one not in going_on, one.served),
                ):
                    group = choose(batch, self._kept)
                    if group is not None:
                        return self._take(group)
        return None

    def came_back(self, entry: Entry) -> None:
        """Hear that a request was answered: the next one of its group has its slot."""
        group = self._batches[entry.shard[0]].groups[entry.request.group]
        self._fly(group, -1)
        if group.number and group.entries:
            self._kept.append(group)
        self._settle(group)

    def _take(self, group: _Group) -> Entry:
        entry = group.entries.popleft()
        self.unsent -= 1
        group.batch.served += entry.cost
        group.batch.workspace.served += entry.cost
        self._fly(group, 1)
        if group in self._kept:
            self._kept.remove(group)
            group.left = (group.left or SLICE_REQUESTS) - 1
        else:
            group.left = SLICE_REQUESTS - 1
            if self._kept and len(self._kept) + self._flying > self._slots:
                del self._kept[0]
        self._settle(group)
        return entry

    def _fly(self, group: _Group, change: int) -> None:
        self._flying += change
        group.flying += change
        group.batch.flying += change
        group.batch.workspace.flying += change

    def _settle(self, group: _Group) -> None:
        """Let go of what a group with nothing to send holds."""
        if group.entries:
            return
        self._kept = [one for one in self._kept if one is not group]
        batch, workspace = group.batch, group.batch.workspace
        if not group.flying:
            del batch.groups[group.number]
            if not batch.groups:
                del self._batches[batch.id], workspace.batches[batch.id]
            if not workspace.batches:
                del self._workspaces[workspace.id]


def _next_group(batch: _Batch, kept: list[_Group]) -> _Group | None:
    """Return the group that was answered last, else the first that holds no slot, else what has no prefix."""
    for group in reversed(kept):
        if group.batch is batch:
            return group
    for group in batch.groups.values():
        if group.number and not group.flying:
            return group
    rest = batch.groups.get(0)
    return rest if rest is not None and rest.entries else None


def _widest_group(batch: _Batch, _kept: list[_Group]) -> _Group | None:
    """Return the group for which one slot more saves the most time, if it is long enough for another cold start."""
    waiting = [group for group in batch.groups.values() if len(group.entries) >= SPREAD_REQUESTS * group.flying]
    return max(waiting, key=lambda group: len(group.entries) / group.flying, default=None)
