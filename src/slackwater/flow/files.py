"""What an owner does with files: upload once, look, list, fetch, delete (contract §6)."""

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from slackwater.domain.errors import InvalidRequestError, NotFoundError, WireError
from slackwater.domain.file import File, lifetime, missing, name_for
from slackwater.domain.ids import FILE, IdSource
from slackwater.flow.content import Content
from slackwater.ports import Blobs, Clock, FilePage, FileStore

Sniff = Callable[[bytes, str | None], str]
"""Tells a media type from the first bytes and the name of a file."""

_HEAD_BYTES = 4_096
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_ANY_BYTES = "application/octet-stream"  # what clients say that do not know


class Files:
    """The steps behind the file endpoints. Every call is bound to a workspace (W1)."""

    def __init__(
        self,
        *,
        store: FileStore,
        blobs: Blobs,
        clock: Clock,
        ids: IdSource,
        sniff: Sniff,
        quota_bytes: int,
        downloadable: bool = False,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._sniff = sniff
        self._quota_bytes = quota_bytes
        self.downloadable = downloadable
        """Whether owners may fetch what they uploaded; clients of the official service expect that they may not."""

    async def upload(
        self,
        path: Path,
        *,
        workspace_id: str,
        filename: str | None,
        mime_type: str | None,
        digest: bytes,
        length: int,
        expires_in_seconds: int | None = None,
    ) -> File:
        """Take over a received file, which is gone afterwards; return what is durable by then (D1).

        `filename` and `mime_type` are as the client wrote them; `digest` (SHA-256) and `length` are of the bytes.
        Raises InvalidRequestError for a name or lifetime that is not allowed, and over the quota.
        """
        try:
            alive = lifetime(expires_in_seconds)
            media_type = _known(mime_type) or self._sniff(await asyncio.to_thread(_head, path), filename)
            name = name_for(filename, media_type)
            blob_key = f"files/{self._ids.new('blob')}"
            if await self._blobs.put_file(blob_key, path) != length:
                raise OSError(f"{path.name} changed while it was being stored")
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        now = self._clock.now()
        file = File(
            id=self._ids.new(FILE),
            workspace_id=workspace_id,
            filename=name,
            mime_type=media_type,
            size_bytes=length,
            digest=digest,
            blob_key=blob_key,
            created_at=now,
            expires_at=None if alive is None else now + alive,
        )
        try:
            stored = await self._store.add_file(file, quota_bytes=self._quota_bytes)
        except WireError:
            await self._blobs.delete(blob_key)
            raise
        if stored.blob_key != blob_key:
            await self._blobs.delete(blob_key)
        return stored

    async def retrieve(self, workspace_id: str, file_id: str) -> File:
        """Return a file. Raises NotFoundError, for another workspace's file too (W2)."""
        file = await self._store.find_file(workspace_id, file_id)
        if file is None:
            raise missing(file_id)
        return file

    async def page(
        self, workspace_id: str, *, limit: int, after: str | None = None, before: str | None = None
    ) -> FilePage:
        """List newest first. Raises InvalidRequestError for an unknown cursor."""
        return await self._store.files_page(workspace_id, limit=limit, after=after, before=before)

    async def by_ids(self, workspace_id: str, file_ids: Sequence[str]) -> list[File]:
        """Return those of these that there are, newest first."""
        return await self._store.files_by_id(workspace_id, file_ids)

    async def content(self, workspace_id: str, file_id: str) -> Content:
        """Return a file's bytes. Raises NotFoundError, and InvalidRequestError unless downloads are allowed."""
        file = await self.retrieve(workspace_id, file_id)
        if file.expired(self._clock.now()):
            raise NotFoundError(f"File `{file_id}` has expired.", error_code="file_expired")
        if not self.downloadable:
            raise InvalidRequestError("File is not downloadable", error_code="file_not_downloadable")
        return Content(file=file, blobs=self._blobs)

    async def delete(self, workspace_id: str, file_id: str) -> tuple[str, tuple[str, ...]]:
        """Remove a file; return its id and the unfinished batches that may still read it. Raises NotFoundError."""
        deleted = await self._store.delete_file(workspace_id, file_id, self._clock.now())
        if deleted is None:
            raise missing(file_id)
        if deleted.blob_key is not None:
            await self._blobs.delete(deleted.blob_key)
        return deleted.file.id, deleted.pinned_by


def _known(mime_type: str | None) -> str | None:
    """Return the media type that a client gave, without parameters, if it says anything."""
    plain = (mime_type or "").partition(";")[0].strip().lower()
    return plain if plain != _ANY_BYTES and _MEDIA_TYPE.fullmatch(plain) else None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
