"""Who may see what: workspaces and the keys that open them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """A wall: nothing of one workspace is ever visible in another (W1)."""

    id: str
    name: str
    created_at: datetime
    archived_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class APIKey:
    """A credential of one workspace. The secret itself is shown once and never stored (A1)."""

    id: str
    workspace_id: str
    name: str
    lookup: str
    """The part of the secret by which the row is found; not secret by itself."""
    digest: bytes
    """HMAC-SHA256 of the secret under a pepper that lives outside the database."""
    hint: str
    """The last four characters of the secret."""
    created_at: datetime
    revoked_at: datetime | None = None
