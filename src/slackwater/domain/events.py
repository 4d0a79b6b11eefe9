"""Something that happened. Steps emit events; telemetry, the dispatcher and later webhooks listen."""

from dataclasses import dataclass

from slackwater.domain.result import NO_USAGE, Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchAdmitted:
    """A batch was sealed: there is work."""

    batch_id: str
    workspace_id: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchCancelInitiated:
    """A cancel was accepted: nothing of this batch may be sent from now on (C2)."""

    batch_id: str
    workspace_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchEnded:
    """The last request of a batch has its committed result."""

    batch_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestResolved:
    """One request got its result."""

    batch_id: str
    model: str
    type: str
    seconds: float
    """From the first send (or the validation failure) to the result."""
    usage: Usage = NO_USAGE
    """Zero unless it succeeded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptEnded:
    """One try of one request at one backend ended."""

    backend: str
    outcome: str
    """`ok`, `away`, `full`, `failed` or `refused`."""
    seconds: float


Event = BatchAdmitted | BatchCancelInitiated | BatchEnded | RequestResolved | AttemptEnded
