"""What became of a request, and the records in which results become durable."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

ResultType = Literal["succeeded", "errored", "canceled", "expired"]
RESULT_TYPES: tuple[ResultType, ...] = ("succeeded", "errored", "canceled", "expired")


class Usage(NamedTuple):
    """Tokens of one message. `input_tokens` excludes cached ones (contract §7)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_5m_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    @staticmethod
    def total(usages: Iterable["Usage"]) -> "Usage":
        """Sum field by field."""
        return Usage(*map(sum, zip(*usages, strict=True)))  # no columns: none used


NO_USAGE = Usage()


class ResultLine(NamedTuple):
    """One request's line, encoded and ready to be stored."""

    position: int
    """0-based position of the request in its shard."""
    type: ResultType
    line: bytes
    """The JSONL line, ending in a single LF."""
    model: str
    """The model name the client sent; the key of the ledger."""
    usage: Usage = NO_USAGE
    """Zero unless `type` is `succeeded`: only those are billed (contract §11)."""
    cost_nanousd: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """What one model's succeeded requests used and cost."""

    model: str
    requests: int
    usage: Usage
    cost_nanousd: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Result lines of one shard, durable as a range of a blob, about to be made visible."""

    batch_id: str
    shard_number: int
    epoch: int
    """The epoch under which the lines were made; the insert is refused when the shard has moved on (S5)."""
    blob_key: str
    offset: int
    length: int
    positions: tuple[int, ...]
    """Positions in the shard, in the order of the lines."""
    types: tuple[ResultType, ...]
    """One for each position."""
    charges: tuple[Charge, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Flush:
    """Everything one worker commits in one transaction."""

    token: str
    """Unique for this flush: a commit whose answer was lost is repeated with it and takes effect once (P2)."""
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitReport:
    """What a flush did."""

    fenced: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    """Shards (batch id, number) whose segments were refused because the lease had passed on."""
    finished: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    """Shards whose last request is now committed; their leases are gone."""
    ended: frozenset[str] = field(default_factory=frozenset)
    """Batches that ended in this transaction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultRange:
    """A visible range of result lines."""

    blob_key: str
    offset: int
    length: int
