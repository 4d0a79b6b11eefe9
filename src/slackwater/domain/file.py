"""A file: metadata with an id; the bytes are a blob. Uploaded once, never changed, referred to from many requests."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from slackwater.domain.errors import InvalidRequestError, NotFoundError

METADATA_KEPT = timedelta(days=30)  # after the expiry (contract §6.2)
EXPIRES_IN_SECONDS_MIN, EXPIRES_IN_SECONDS_MAX = 3_600, 90 * 86_400  # contract §6.1
FILENAME_LENGTH_MAX = 255

_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\ud800-\udfff]')  # contract §6.1; half characters cannot be written
_EXTENSIONS = {
    "application/pdf": ".pdf",
    "application/json": ".json",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """What is known about a file."""

    id: str
    workspace_id: str
    filename: str
    mime_type: str
    size_bytes: int
    digest: bytes
    """SHA-256 of the bytes, checked whenever they are read whole (D5)."""
    blob_key: str
    """Shared by files of one workspace with equal bytes, never across workspaces (A5); empty when they are gone."""
    created_at: datetime
    expires_at: datetime | None = None
    deleted_at: datetime | None = None
    """Set while an unfinished batch still pins what its owner deleted: the owner does not see it any more."""

    def expired(self, now: datetime) -> bool:
        """Tell whether the bytes may not be read any more; the metadata may, for 30 days."""
        # Another machine's clock may be ahead of ours: where it has removed the bytes, they are gone.
        return not self.blob_key or (self.expires_at is not None and self.expires_at <= now)


def missing(file_id: str) -> NotFoundError:
    """Say that there is no such file here, in another workspace neither (W2, contract §6.3)."""
    return NotFoundError(f"File `{file_id}` not found.")


def name_for(given: str | None, mime_type: str) -> str:
    """Return the name to store: the last component of the given one, or one made up (contract §6.1).

    Raises InvalidRequestError.
    """
    name = (given or "").rsplit("/", 1)[-1]
    if not name.strip(". "):
        return f"unnamed{_EXTENSIONS.get(mime_type, '.bin')}"
    if len(name) > FILENAME_LENGTH_MAX:
        raise InvalidRequestError(f"filename: String should have at most {FILENAME_LENGTH_MAX} characters")
    if _FORBIDDEN.search(name):
        message = 'filename: control characters and < > : " | ? * \\ / are not allowed'
        raise InvalidRequestError(message)
    return name


def lifetime(seconds: int | None) -> timedelta | None:
    """Return how long a file is to live. Raises InvalidRequestError outside an hour to 90 days (contract §6.1)."""
    if seconds is None:
        return None
    if seconds < EXPIRES_IN_SECONDS_MIN:
        message = f"expires_in_seconds: Input should be greater than or equal to {EXPIRES_IN_SECONDS_MIN}"
        raise InvalidRequestError(message)
    if seconds > EXPIRES_IN_SECONDS_MAX:
        raise InvalidRequestError(f"expires_in_seconds: Input should be less than or equal to {EXPIRES_IN_SECONDS_MAX}")
    return timedelta(seconds=seconds)
