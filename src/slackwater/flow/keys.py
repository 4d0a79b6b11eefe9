"""Who is calling: workspaces and the API keys that open them (contract §1.3; A1, A2).

The store holds an HMAC of each secret under a pepper that lives elsewhere: a copy of the database opens nothing.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slackwater.domain.errors import InvalidRequestError, NotFoundError
from slackwater.domain.ids import API_KEY, WORKSPACE
from slackwater.domain.workspace import APIKey, Workspace
from slackwater.ports import Clock, KeyStore

CACHE_SECONDS = 1.0  # A2: a revocation made elsewhere is obeyed within this time
CACHE_SIZE_MAX = 4096
SECRET_LENGTH_MIN = 8
SECRET_LENGTH_MAX = 512
NAME_LENGTH_MAX = 64
DEFAULT_WORKSPACE = "default"

_ID_LENGTH = 8
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_OUR_SHAPE = re.compile(rf"slw_([{_BASE58}]{{{_ID_LENGTH}}})_[A-Za-z0-9_-]{{43}}")
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_NOBODY = bytes(32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """What a first start made."""

    workspace: Workspace
    key: APIKey | None = None
    """None when keys were there already."""
    secret: str | None = None
    """The new key's secret, to be shown once."""


class Keys:
    """Issues, recognises and revokes API keys, and keeps the workspaces they belong to."""

    def __init__(self, store: KeyStore, clock: Clock, new_id: Callable[[str], str], pepper: bytes) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._pepper = pepper
        self._recent: dict[bytes, tuple[APIKey, float]] = {}
        self._asking: dict[bytes, asyncio.Task[APIKey | None]] = {}

    async def authenticate(self, secret: str) -> APIKey | None:
        """Return the key behind a secret, or None: missing, wrong, revoked and archived look the same (A2)."""
        place = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        asked_at = self._clock.monotonic()
        known = self._recent.get(place)
        if known is not None and asked_at - known[1] < CACHE_SECONDS:
            return known[0]
        asking = self._asking.get(place)
        if asking is None:  # callers who come together ask together
            asking = self._asking[place] = asyncio.create_task(self._find(secret, place, asked_at))
            asking.add_done_callback(lambda _: self._asking.pop(place, None))
        return await asyncio.shield(asking)

    async def _find(self, secret: str, place: bytes, asked_at: float) -> APIKey | None:
        found, digest = await self._store.find_key(self._lookup(secret)), self._digest(secret)
        matches = hmac.compare_digest(digest, found.digest if found is not None else _NOBODY)
        if found is None or not matches:
            self._recent.pop(place, None)
            return None
        if len(self._recent) >= CACHE_SIZE_MAX:
            self._recent.clear()
        # Counted from before the store was asked: a revocation that the answer missed came after that instant.
        self._recent[place] = (found, asked_at)
        return found

    async def issue(self, workspace_id: str, name: str, secret: str | None = None) -> tuple[APIKey, str]:
        """Make a key; the secret is returned once and kept nowhere (A1).

        Raises NotFoundError for an unknown or archived workspace, InvalidRequestError for an unusable name or secret.
        """
        workspace = await self.workspace(workspace_id)
        if workspace.archived_at is not None:
            raise InvalidRequestError(f"workspace: `{workspace.name}` is archived")
        secret = self._fresh_secret() if secret is None else _checked_secret(secret)
        key = APIKey(
            id=self._new_id(API_KEY),
            workspace_id=workspace.id,
            name=_checked_name(name),
            lookup=self._lookup(secret),
            digest=self._digest(secret),
            hint=secret[-4:],
            created_at=self._clock.now(),
        )
        if await self._store.find_key(key.lookup) is not None:
            raise InvalidRequestError("key: this secret is in use already")
        await self._store.create_key(key)
        return key, secret

    async def revoke(self, key_id: str) -> APIKey:
        """Revoke a key; again is fine and keeps the first instant. Raises NotFoundError."""
        key = await self._store.revoke_key(key_id, self._clock.now())
        self._recent.clear()
        if key is None:
            raise NotFoundError(f"API key `{key_id}` not found.")
        return key

    async def list(self, workspace_id: str | None = None) -> Sequence[APIKey]:
        """List keys, oldest first, revoked ones included. Raises NotFoundError for an unknown workspace."""
        if workspace_id is None:
            return await self._store.keys()
        return await self._store.keys((await self.workspace(workspace_id)).id)

    async def create_workspace(self, name: str) -> Workspace:
        """Make a workspace. Raises InvalidRequestError when the name is unusable or taken."""
        workspace = Workspace(id=self._new_id(WORKSPACE), name=_checked_name(name), created_at=self._clock.now())
        await self._store.create_workspace(workspace)
        return workspace

    async def workspaces(self) -> Sequence[Workspace]:
        """List workspaces, oldest first, archived ones included."""
        return await self._store.workspaces()

    async def workspace(self, id_or_name: str) -> Workspace:
        """Find one by id or name. Raises NotFoundError."""
        workspaces = await self._store.workspaces()
        for workspace in (
            *(w for w in workspaces if w.id == id_or_name),
            *(w for w in workspaces if w.name == id_or_name),
        ):
            return workspace
        raise NotFoundError(f"Workspace `{id_or_name}` not found.")

    async def archive_workspace(self, id_or_name: str) -> Workspace:
        """Archive one: its keys stop working. Raises NotFoundError, InvalidRequestError for the default workspace."""
        workspace = await self.workspace(id_or_name)
        if workspace.name == DEFAULT_WORKSPACE:
            raise InvalidRequestError("workspace: the default workspace cannot be archived")
        archived = await self._store.archive_workspace(workspace.id, self._clock.now())
        self._recent.clear()
        return archived or workspace

    async def bootstrap(self, secret: str | None = None) -> Bootstrap:
        """Give an empty data directory its default workspace and one key; where keys exist, do nothing (A6).

        `secret`: the value the first key is to have. A start that died half-way is completed by the next one.
        """
        workspaces = await self._store.workspaces()
        if not workspaces:
            try:
                workspaces = [await self.create_workspace(DEFAULT_WORKSPACE)]
            except InvalidRequestError:  # another server on the same database was first
                workspaces = await self._store.workspaces()
        workspace = workspaces[0]
        if await self._store.keys():
            return Bootstrap(workspace=workspace)
        key, secret = await self.issue(workspace.id, "first key", secret)
        return Bootstrap(workspace=workspace, key=key, secret=secret)

    def _fresh_secret(self) -> str:
        short_id = "".join(secrets.choice(_BASE58) for _ in range(_ID_LENGTH))
        return f"slw_{short_id}_{secrets.token_urlsafe(32)}"

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def _lookup(self, secret: str) -> str:
        """Return the part by which the row is found.

        Secrets of our shape name it themselves. Others are found by a keyed hash: a plain one in the database would
        let whoever copied it guess short secrets.
        """
        if ours := _OUR_SHAPE.fullmatch(secret):
            return ours[1]
        return hmac.digest(self._pepper, b"lookup:" + secret.encode("utf-8", "surrogatepass"), hashlib.sha256)[:8].hex()


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise InvalidRequestError(f"name: must be 1 to {NAME_LENGTH_MAX} printable characters")
    return name


def _checked_secret(secret: str) -> str:
    if not SECRET_LENGTH_MIN <= len(secret) <= SECRET_LENGTH_MAX or not _HEADER_SAFE.fullmatch(secret):
        raise InvalidRequestError(
            f"key: must be {SECRET_LENGTH_MIN} to {SECRET_LENGTH_MAX} ASCII characters without spaces"
        )
    return secret
