"""What the endpoints call and are told; built once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from slackwater.domain import limits
from slackwater.flow.admit import Admit
from slackwater.flow.batches import Batches
from slackwater.flow.catalog import Catalog
from slackwater.flow.files import Files
from slackwater.flow.interactive import Interactive
from slackwater.flow.keys import Keys
from slackwater.ports import Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits that this edge applies; smaller ones are for tests."""

    batch_body_bytes_max: int = limits.BATCH_BODY_BYTES_MAX
    """Decoded bytes of a create call (contract §1.8)."""
    message_body_bytes_max: int = limits.MESSAGE_BODY_BYTES_MAX
    """Decoded bytes of a Messages call (contract §1.8)."""
    file_bytes_max: int = limits.FILE_BYTES_MAX
    """Bytes of an uploaded file (contract §1.8)."""
    page_limit_default: int = limits.PAGE_LIMIT_DEFAULT
    page_limit_max: int = limits.PAGE_LIMIT_MAX
    ping_seconds: float = 15.0
    """Between two `ping` events of a stream: well below the idle limits of common proxies (60 s)."""
    progress_seconds: float = 0.5
    """Between two looks at a batch whose progress is being streamed: at most two events a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The steps behind the endpoints and the facts they need."""

    admit: Admit
    batches: Batches
    files: Files
    interactive: Interactive
    keys: Keys
    catalog: Catalog
    clock: Clock
    new_id: Callable[[str], str]
    """Makes an id from a prefix (`domain.ids`)."""
    spool_dir: Path
    """Where bodies wait to be admitted; on the file system of the blobs, so that they can be moved."""
    worker_id: str
    """Who this process is (`identity`)."""
    organization_id: str
    """A UUID, sent as `anthropic-organization-id`."""
    metrics: Callable[[], bytes]
    """Renders the Prometheus text format."""
    ready: Callable[[], bool]
    """True once requests can be served: what `/health` answers."""
    stand_in: str | None = None
    """The toy model that answers because nothing is configured: every answer below `/v1/messages` names it."""
    storage: Callable[[], str] = lambda: "ok"
    """`ok`, or `low` or `full` while the disk has no room to take more in: bodies are refused unread then (P4)."""
    public_url: str = ""
    """Base of every absolute URL we hand out, path prefix included; empty: derived from the HTTP request (E9)."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks whose `X-Forwarded-*` headers are believed."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call us from; none by default (G3)."""
    strict_version: bool = True
    """Refuse a missing or unknown `anthropic-version` (contract §1.1); otherwise it counts as 2023-06-01."""
    strict_betas: bool = False
    """Refuse unknown `anthropic-beta` values (contract §1.5); otherwise they are logged and kept with the batch."""
    limits: Limits = field(default_factory=Limits)
