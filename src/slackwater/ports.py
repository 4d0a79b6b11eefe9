"""What the steps need from outside: small Protocols, each met by an adapter that the composition root names."""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from slackwater.domain.batch import Admission, Backlog, Batch, Ingested, Lease
from slackwater.domain.document import Form, Ready
from slackwater.domain.events import Event
from slackwater.domain.file import File
from slackwater.domain.pricing import ServiceTier
from slackwater.domain.result import Charge, CommitReport, Flush, ResultRange
from slackwater.domain.workspace import APIKey, Workspace


class Clock(Protocol):
    """The only source of time (T3): wall time that advances with the boot clock and never goes backwards."""

    def now(self) -> datetime:
        """Return the current instant, aware UTC, microseconds."""

    def monotonic(self) -> float:
        """Return seconds on a clock that also counts suspension; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Blobs(Protocol):
    """Bytes under a key. A put that returned is durable: file and directory are synced (D1). Keys are written once."""

    async def put(self, key: str, buffers: Iterable[bytes]) -> int:
        """Write the buffers in order; return the number of bytes."""

    async def put_file(self, key: str, path: Path) -> int:
        """Take over a finished local file under this key (it is moved where that is possible); return its size."""

    async def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range. Raises FileNotFoundError, or OSError on a short read."""

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield a range in pieces of at most 1 MiB. Raises FileNotFoundError, or OSError when bytes are missing."""

    async def delete(self, key: str) -> None:
        """Remove the bytes, or leave them to the sweep where the disk refuses; a key that is not there is fine."""

    async def keys(self, prefix: str) -> list[str]:
        """List keys below a prefix, for the sweep of orphans (D2); below `partial/` lies what is being written."""


class Ingesting(Protocol):
    """The ingest of a create body that is still arriving."""

    def grown(self, length: int) -> None:
        """Hear that so many bytes have arrived."""

    async def ingested(self) -> Ingested:
        """Return what became of the body when all of it has arrived. Raises OSError for a full disk, and APIError."""


class Ingestion(Protocol):
    """Splits and plans a spooled create body and writes its requests in plan order, synced, beside it (`ORDERED`)."""

    async def __call__(self, spool: Path) -> Ingested:
        """Ingest a body that is there. Raises OSError for a full disk, and APIError."""

    def ahead(self, spool: Path, length: int) -> AbstractAsyncContextManager[Ingesting | None]:
        """Begin to read a body that arrives in a file of its final length; None where that is better left for later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page of a cursor-family-A list (contract §3)."""

    items: tuple[Batch, ...]
    """Newest first, whatever the direction walked."""
    has_more: bool
    """Whether more follows in the direction walked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sealed:
    """The answer to a seal."""

    batch: Batch
    duplicate: bool
    """True when an earlier create is answered again (D3) and this admission's bytes are not needed."""


class BatchStore(Protocol):
    """Batches as their owner sees them; every call is bound to a workspace (W1)."""

    async def seal(self, admission: Admission) -> Sealed:
        """Make a batch exist, all of it in one transaction (D1), or find the one it repeats (D3).

        A batch repeats an earlier one when `retried` is set and workspace, key and digest equal those of a batch made
        in the last 15 minutes, or when the idempotency key was used in the last 24 hours. Since a call arrived, its own
        repetition may have made a batch, which then answers it, and no other call. Raises InvalidRequestError when an
        idempotency key comes with another body. Files of this workspace that the batch names are pinned (I3).
        """

    async def find(self, workspace_id: str, batch_id: str) -> Batch | None:
        """Return a batch of this workspace."""

    async def page(
        self, workspace_id: str, *, limit: int, after_id: str | None = None, before_id: str | None = None
    ) -> Page:
        """List newest first. Raises InvalidRequestError for an unknown cursor."""

    async def cancel(self, workspace_id: str, batch_id: str, now: datetime) -> Batch | None:
        """Start canceling; None when there is no such batch. The batch comes back as it is after the call.

        A batch that had ended comes back unchanged, one that was being canceled keeps its first instant (C4).
        """

    async def delete(self, workspace_id: str, batch_id: str) -> Batch | None:
        """Remove an ended batch and return it as it was (for its blobs); None when there is none.

        A batch that has not ended comes back unchanged and is not removed.
        """

    async def results(self, workspace_id: str, batch_id: str) -> list[ResultRange]:
        """Return where the result lines are, in the fixed order in which they are delivered (R1)."""

    async def charges(self, workspace_id: str, batch_id: str) -> list[Charge]:
        """Return what the batch used so far, by model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePage:
    """A page of a list of files, newest first, whatever the direction walked."""

    items: tuple[File, ...]
    has_more: bool
    """Whether more follows in the direction walked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeletedFile:
    """What became of a deletion."""

    file: File
    pinned_by: tuple[str, ...]
    """Unfinished batches that may still read it; its bytes go when the last of them has ended."""
    blob_key: str | None
    """The bytes to remove now: nothing refers to them any more."""


class FileStore(Protocol):
    """Files as their owner sees them; every call is bound to a workspace (W1)."""

    async def add_file(self, file: File, *, quota_bytes: int) -> File:
        """Make a file exist, and return it as it is stored.

        Where this workspace has equal bytes already, it comes back with their blob key, and the one it came with is
        not needed. Raises InvalidRequestError when the bytes of all workspaces would exceed the quota.
        """

    async def find_file(self, workspace_id: str, file_id: str, *, batch_id: str | None = None) -> File | None:
        """Return a file of this workspace, expired ones included.

        With `batch_id` as that batch may use it: what an unfinished batch pins is there although it was deleted, and
        without its expiry.
        """

    async def files_page(
        self, workspace_id: str, *, limit: int, after: str | None = None, before: str | None = None
    ) -> FilePage:
        """List newest first, after (older) or before (newer) an id. Raises InvalidRequestError for no id of ours."""

    async def files_by_id(self, workspace_id: str, file_ids: Sequence[str]) -> list[File]:
        """Return those of these that there are, newest first."""

    async def delete_file(self, workspace_id: str, file_id: str, now: datetime) -> DeletedFile | None:
        """Remove a file; None when there is none."""


class WorkStore(Protocol):
    """Shards as workers see them."""

    async def backlog(self, now: datetime, *, limit: int) -> list[Backlog]:
        """Return batches in progress and not yet due to expire that have free shards, oldest first, by model."""

    async def lease(
        self, batch_id: str, model: str, *, worker_id: str, now: datetime, until: datetime, limit: int
    ) -> list[Lease]:
        """Take up to `limit` free shards, lowest numbers first; their epoch grows by one.

        Nothing of a batch that is canceling (C1), has ended or is due to expire. Concurrent callers never get the same
        shard.
        """

    async def lease_closing(self, *, worker_id: str, now: datetime, until: datetime, limit: int) -> list[Lease]:
        """Take free shards of batches that are canceling or past `expires_at`, so that what is left gets its line."""

    async def renew(self, worker_id: str, leases: Sequence[Lease], until: datetime) -> frozenset[tuple[str, int]]:
        """Extend leases that still have their epoch; return the shards that were kept."""

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give shards back before their time, where the epoch still matches."""

    async def stopped(self, batch_ids: Iterable[str]) -> frozenset[str]:
        """Return which of these batches must not be sent any more: canceling, ended or gone."""

    async def commit(self, flush: Flush, now: datetime) -> CommitReport:
        """Make segments visible in one transaction, each only if its shard still has its epoch (S5).

        With them go the usage and cost (S4), the progress, the shard's end and, for the last shard, the batch's end
        (S6). A token that was committed before changes nothing; its report is read off the rows (P2).
        """

    async def release_worker(self, worker_id: str) -> int:
        """Void the leases of a worker that is known to be dead: this one's own earlier life. Return how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compaction:
    """An ended batch whose results lie in several blobs."""

    batch_id: str
    ranges: tuple[ResultRange, ...]


class SweepStore(Protocol):
    """What the sweeper, one holder at a time, looks after."""

    async def hold(self, holder: str, now: datetime, until: datetime) -> bool:
        """Take or keep the sweeper's lease."""

    async def high_water(self, now: datetime) -> datetime:
        """Record that this instant was reached; return the latest one ever recorded (T3)."""

    async def archive_due(self, now: datetime, created_before: datetime, *, limit: int) -> list[str]:
        """Archive ended batches created before an instant (T4); return the blob keys that nothing refers to now."""

    async def sweep_files(self, now: datetime, *, limit: int) -> list[str]:
        """Let go of what time or the end of a batch freed; return the blob keys that nothing refers to now (T4, I3).

        Bytes go at their file's expiry, metadata 30 days later, deleted files with the last batch that pinned them.
        """

    async def fragmented(self, *, limit: int) -> list[Compaction]:
        """Return ended batches whose results lie in more than one blob."""

    async def compacted(self, batch_id: str, blob_key: str, length: int) -> bool:
        """Replace an ended batch's segments by one range over one blob; False when the batch is gone."""

    async def referenced(self, blob_keys: Sequence[str]) -> frozenset[str]:
        """Return which of these keys some row refers to."""

    async def forget_creates(self, now: datetime) -> None:
        """Drop the records of creates that are past recognising (D3)."""


class KeyStore(Protocol):
    """Workspaces and keys."""

    async def create_workspace(self, workspace: Workspace) -> None:
        """Add one. Raises InvalidRequestError when the name is taken."""

    async def workspaces(self) -> list[Workspace]:
        """List them, oldest first."""

    async def archive_workspace(self, workspace_id: str, now: datetime) -> Workspace | None:
        """Archive one: its keys stop working."""

    async def create_key(self, key: APIKey) -> None:
        """Add one."""

    async def keys(self, workspace_id: str | None = None) -> list[APIKey]:
        """List keys, oldest first."""

    async def revoke_key(self, key_id: str, now: datetime) -> APIKey | None:
        """Revoke one; the first instant stays."""

    async def find_key(self, lookup: str) -> APIKey | None:
        """Return a key that is neither revoked nor in an archived workspace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageRow:
    """A line of the ledger: one UTC day, workspace, model and tier."""

    day: str
    """ISO date."""
    workspace_id: str
    tier: ServiceTier
    charge: Charge


class Ledger(Protocol):
    """Usage outside batches, and reading all of it."""

    async def charge(self, workspace_id: str, tier: ServiceTier, charge: Charge, now: datetime) -> None:
        """Add a synchronous call's usage."""

    async def usage(self, workspace_id: str | None = None) -> list[UsageRow]:
        """Return the ledger, oldest day first."""


class Call(NamedTuple):
    """One attempt, as a backend gets it."""

    params: Mapping[str, Any]
    """The validated Messages body (JSON values); `model` in it is the client's name."""
    upstream: str
    """The model name to send."""
    version: str
    betas: tuple[str, ...] = ()
    custom_id: str | None = None
    """For simulators and logs; never sent to a real backend."""
    attempt: int = 1


class Backend(Protocol):
    """A configured inference server.

    Every call may raise BackendAwayError, AttemptFailedError, or a WireError when the server refused this request.
    """

    @property
    def name(self) -> str:
        """The configured name."""

    @property
    def asks_for_counts(self) -> bool:
        """Whether `count_tokens` is a call to the server, as far as is known."""

    async def reads(self) -> frozenset[str]:
        """Return what it takes as it is: `pdf` (documents of every kind), `citations` (it makes them itself).

        What is not among it is given as text. Raises BackendAwayError where the server has to be asked.
        """

    async def infer(self, call: Call) -> dict[str, Any]:
        """Return the whole Message: `type`, `role`, `content`, `stop_reason`, `stop_sequence`, `usage` checked (S7)."""

    def stream(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        """Yield the Messages stream events from `message_start` to `message_stop`, each with its `type`."""

    async def count_tokens(self, call: Call) -> int | None:
        """Return the backend's own count of the input; None when it has no such thing."""

    async def models(self) -> list[str]:
        """Return the model names the backend offers; also the probe behind `backends test`."""

    async def close(self) -> None:
        """Let go of connections."""


class Sources(Protocol):
    """What sources stand for, as a backend takes it; made once for all who ask, and kept while there is memory for it.

    Everything may raise DocumentError, whose sentence is meant for the client.
    """

    async def look(self, source: Mapping[str, Any], pixels_max: int) -> None:
        """Hold the header of a base64 image against its type and the limits (C6)."""

    async def of_file(self, file: File, form: Form, read: Callable[[], Awaitable[bytes]]) -> Ready:
        """Return a file as a source; `read` gives its bytes, where they are needed."""

    async def of_url(self, url: str, form: Form, scope: Hashable) -> Ready:
        """Return what is at a URL (E1 to E5), the same for the whole scope."""

    async def of_base64(self, source: Mapping[str, Any], form: Form, scope: Hashable) -> Ready:
        """Return a base64 PDF for those who do not read PDFs."""

    def room(self, place: Hashable, size_bytes: int) -> AbstractAsyncContextManager[Callable[[int], None]]:
        """Hold the room for a request of so many bytes among those of one place, after waiting for it.

        With it comes what to call with the true size once that is known.
        """


Listener = Callable[[Event], None]
"""Called in the loop, must not block or raise."""
