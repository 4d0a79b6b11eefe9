"""Something that happened. Steps emit events; telemetry, the dispatcher and later webhooks listen.

What happens with every request is a named tuple: making a frozen dataclass takes twice as long.
"""

from dataclasses import dataclass
from typing import NamedTuple

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


class RequestResolved(NamedTuple):
    """One request got its result."""

    batch_id: str
    model: str
    type: str
    usage: Usage = NO_USAGE
    """Zero unless it succeeded."""


class AttemptEnded(NamedTuple):
    """One try of one request at one backend ended."""

    backend: str
    outcome: str
    """`ok`, `away`, `full`, `failed` or `refused`."""
    seconds: float


Event = BatchAdmitted | BatchCancelInitiated | BatchEnded | RequestResolved | AttemptEnded
