"""Schedule: which request goes next. State in, next request out: no clock, no I/O.

Fair queueing by virtual time: a workspace, and inside it a batch, is charged for what it was given, and the one that
has been given least goes next; so a small batch never waits behind a large one, and an idle one cannot save up. A
batch close to its deadline goes before its siblings. Inside a batch the plan's order holds, except that a prefix group
that is cold sends one request ahead and lets the others follow when it has come back: the first answer warms the cache.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slackwater.wire.lines import StoredRequest

URGENT = timedelta(minutes=30)
"""A batch with less time than this left goes before the other batches of its workspace."""
TOKENS_PER_BYTE = 0.25
"""What a request is charged: a usual estimate of its input, good enough to share by."""
REQUEST_COST = 16.0
"""Added for every request, so that tiny ones are not free."""

ShardKey = tuple[str, int]


@dataclass(slots=True)
class Entry:
    """A request of a held shard, waiting to be sent."""

    position: int
    """0-based position in the shard."""
    request: StoredRequest
    shard: ShardKey

    @property
    def cost(self) -> float:
        """What sending it charges its batch and workspace."""
        return REQUEST_COST + TOKENS_PER_BYTE * len(memoryview(self.request.params))


@dataclass(slots=True)
class _Run:
    """Consecutive requests of one prefix group."""

    group: int
    entries: deque[Entry]


@dataclass(slots=True)
class _Shard:
    key: ShardKey
    backend: str
    runs: deque[_Run]


@dataclass(slots=True)
class _Batch:
    id: str
    expires_at: datetime
    served: float
    shards: deque[_Shard] = field(default_factory=deque)
    warming: set[int] = field(default_factory=set)
    warm: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Workspace:
    served: float
    batches: dict[str, _Batch] = field(default_factory=dict)


class Schedule:
    """The requests in hand, of all shards this worker holds."""

    def __init__(self) -> None:
        self._workspaces: dict[str, _Workspace] = {}
        self._unsent: dict[str, int] = {}

    def add(
        self, *, workspace_id: str, shard: ShardKey, backend: str, expires_at: datetime, entries: Iterable[Entry]
    ) -> None:
        """Take in the requests of a shard, in plan order."""
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            served = min((other.served for other in self._workspaces.values()), default=0.0)
            workspace = self._workspaces[workspace_id] = _Workspace(served)
        batch = workspace.batches.get(shard[0])
        if batch is None:
            served = min((other.served for other in workspace.batches.values()), default=0.0)
            batch = workspace.batches[shard[0]] = _Batch(shard[0], expires_at, served)
        runs = _runs(entries)
        batch.shards.append(_Shard(shard, backend, runs))
        self._unsent[backend] = self.unsent(backend) + sum(len(run.entries) for run in runs)

    def unsent(self, backend: str) -> int:
        """Return how many requests wait for a backend."""
        return self._unsent.get(backend, 0)

    def drop(self, shard: ShardKey) -> list[Entry]:
        """Forget what has not been sent of a shard and return it."""
        for workspace_id, workspace in list(self._workspaces.items()):
            batch = workspace.batches.get(shard[0])
            if batch is None:
                continue
            dropped = [held for held in batch.shards if held.key == shard]
            batch.shards = deque(held for held in batch.shards if held.key != shard)
            entries = [entry for held in dropped for run in held.runs for entry in run.entries]
            for held in dropped:
                self._unsent[held.backend] -= sum(len(run.entries) for run in held.runs)
            self._tidy(workspace_id, workspace, batch)
            return entries
        return []

    def next(self, *, now: datetime, has_room: Callable[[str], bool]) -> Entry | None:
        """Return the next request, charged and removed; None when nothing may be sent now.

        `has_room` tells for a backend whether a request could start there.
        """
        for workspace_id, workspace in sorted(self._workspaces.items(), key=lambda item: item[1].served):
            for batch in sorted(workspace.batches.values(), key=lambda batch: _rank(batch, now)):
                entry = self._from_batch(batch, has_room)
                if entry is not None:
                    workspace.served += entry.cost
                    batch.served += entry.cost
                    self._tidy(workspace_id, workspace, batch)
                    return entry
        return None

    def came_back(self, entry: Entry) -> None:
        """Hear that a request was answered: its prefix group is warm now."""
        group = entry.request.group
        for workspace_id, workspace in list(self._workspaces.items()):
            batch = workspace.batches.get(entry.shard[0])
            if batch is not None and group in batch.warming:
                batch.warming.discard(group)
                batch.warm.add(group)
                self._tidy(workspace_id, workspace, batch)

    def _from_batch(self, batch: _Batch, has_room: Callable[[str], bool]) -> Entry | None:
        room: dict[str, bool] = {}
        for shard in batch.shards:
            if shard.backend not in room:
                room[shard.backend] = has_room(shard.backend)
            if not room[shard.backend]:
                continue
            for run in shard.runs:
                if run.group in batch.warming:
                    continue
                if run.group and run.group not in batch.warm:
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

    def _tidy(self, workspace_id: str, workspace: _Workspace, batch: _Batch) -> None:
        """Forget an empty batch unless a group of it is still warming, and an empty workspace."""
        if not batch.shards and not batch.warming:
            del workspace.batches[batch.id]
        if not workspace.batches:
            del self._workspaces[workspace_id]


def _rank(batch: _Batch, now: datetime) -> tuple[bool, float, str]:
    return (batch.expires_at - now > URGENT, batch.served, batch.id)


def _runs(entries: Iterable[Entry]) -> deque[_Run]:
    runs: deque[_Run] = deque()
    for entry in entries:
        if not runs or runs[-1].group != entry.request.group:
            runs.append(_Run(entry.request.group, deque()))
        runs[-1].entries.append(entry)
    return runs
