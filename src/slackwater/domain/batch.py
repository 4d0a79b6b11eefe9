"""A batch, its shards and its leases."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

ProcessingStatus = Literal["in_progress", "canceling", "ended"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestCounts:
    """The wire's five numbers; they always sum to the batch size (S2)."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What was in force when a batch was created and governs its requests hours later (contract §1.1, §1.5)."""

    version: str
    """The `anthropic-version` of the create call."""
    betas: tuple[str, ...] = ()
    """The `anthropic-beta` values of the create call."""
    user_profile_id: str | None = None
    """The `anthropic-user-profile-id` of the create call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Up to 100,000 requests admitted together."""

    id: str
    workspace_id: str
    terms: Terms
    size: int
    """Number of requests, 1…100,000."""
    processing_status: ProcessingStatus
    tally: RequestCounts
    """Live numbers: `processing` is what has no committed result yet. The wire shows them only after the end."""
    created_at: datetime
    expires_at: datetime
    requests_key: str
    """Blob key of the requests, JSONL in plan order."""
    ended_at: datetime | None = None
    cancel_initiated_at: datetime | None = None
    archived_at: datetime | None = None

    @property
    def counts(self) -> RequestCounts:
        """The wire's counts: all in `processing` until the whole batch has ended (contract §4.0)."""
        return self.tally if self.ended_at is not None else RequestCounts(processing=self.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Consecutive requests of one batch in plan order, all for one model: what a lease covers."""

    number: int
    """0-based position in the batch's plan."""
    model: str
    offset: int
    """First byte in the batch's request blob."""
    length: int
    """Bytes, at most `SHARD_BYTES_MAX` unless a single request is larger."""
    count: int
    """Requests, 1…`SHARD_REQUESTS_MAX`."""


ORDERED: Final = ".ordered"
"""The suffix of the file in which the requests of a spooled create body stand in plan order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What became of a create body: its shards, or the error that refuses it."""

    shards: tuple[Shard, ...] = ()
    size: int = 0
    """Requests."""
    file_ids: frozenset[str] = frozenset()
    """What looks like the id of a file of ours, wherever it stands."""
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """A split and planned batch, ready to be sealed: its bytes are durable, its rows are not written yet."""

    batch: Batch
    shards: tuple[Shard, ...]
    key_id: str
    """The API key that created it."""
    digest: bytes
    """SHA-256 of the decoded request body."""
    idempotency_key: str | None = None
    retried: bool = False
    """True when the SDK marked the call as a repetition (`x-stainless-retry-count` ≥ 1)."""
    arrived_at: datetime | None = None
    """When its first byte was there: a repetition may have been sealed since."""
    file_ids: frozenset[str] = frozenset()
    """What looks like the id of a file in the body: those that this workspace has are pinned until the batch ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """Shards of one batch and model that nobody holds."""

    batch_id: str
    workspace_id: str
    model: str
    shards: int
    """How many of them are free."""
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to work on a shard until an instant."""

    batch_id: str
    workspace_id: str
    shard: Shard
    epoch: int
    """Grows with every lease of that shard; the fence of every write (S5)."""
    until: datetime
    requests_key: str
    terms: Terms
    created_at: datetime
    expires_at: datetime
    canceled: bool = False
    """True when the batch was being canceled at the time of the lease (only closing leases are)."""
    done: frozenset[int] = field(default_factory=frozenset)
    """Positions in the shard whose results are committed."""

    @property
    def key(self) -> tuple[str, int]:
        """The shard's identity."""
        return (self.batch_id, self.shard.number)
