"""What an owner does with batches that exist: look, list, cancel, fetch results, delete (contract §4)."""

from dataclasses import dataclass

from slackwater.domain.batch import Batch
from slackwater.domain.errors import InvalidRequestError, NotFoundError
from slackwater.domain.events import BatchCancelInitiated
from slackwater.domain.result import Charge
from slackwater.flow.deliver import Delivery
from slackwater.ports import BatchStore, Blobs, Clock, Listener, Page


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The live numbers of a batch (extension); the wire's own counts stay as they are until the end."""

    batch: Batch
    charges: list[Charge]


class Batches:
    """The steps behind the batch endpoints other than create. Every call is bound to a workspace (W1)."""

    def __init__(self, *, store: BatchStore, blobs: Blobs, clock: Clock, emit: Listener) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._emit = emit

    async def retrieve(self, workspace_id: str, batch_id: str) -> Batch:
        """Return a batch. Raises NotFoundError, for another workspace's batch too (W2)."""
        return _known(await self._store.find(workspace_id, batch_id))

    async def page(
        self, workspace_id: str, *, limit: int, after_id: str | None = None, before_id: str | None = None
    ) -> Page:
        """List newest first. Raises InvalidRequestError for an unknown cursor."""
        return await self._store.page(workspace_id, limit=limit, after_id=after_id, before_id=before_id)

    async def cancel(self, workspace_id: str, batch_id: str) -> Batch:
        """Start canceling; the answer says `canceling` even if nothing was running (contract §4.4).

        Raises InvalidRequestError for a batch that has ended.
        """
        batch = _known(await self._store.cancel(workspace_id, batch_id, self._clock.now()))
        if batch.processing_status == "ended":
            message = f"Message batch {batch_id} has already ended and cannot be canceled."
            raise InvalidRequestError(message, should_retry=False)
        self._emit(BatchCancelInitiated(batch_id=batch_id, workspace_id=workspace_id))
        return batch

    async def delete(self, workspace_id: str, batch_id: str) -> str:
        """Remove an ended batch and its bytes. Raises InvalidRequestError while it has not ended."""
        ranges = await self._store.results(workspace_id, batch_id)
        batch = _known(await self._store.delete(workspace_id, batch_id))
        if batch.processing_status != "ended":
            message = f"Message batch {batch_id} has not ended; cancel it, wait for the end, then delete it."
            raise InvalidRequestError(message, should_retry=False)
        for key in {batch.requests_key, *(part.blob_key for part in ranges)}:
            await self._blobs.delete(key)
        return batch.id

    async def results(self, workspace_id: str, batch_id: str) -> Delivery:
        """Return the results of an ended batch. Raises NotFoundError before the end and after archiving."""
        batch = await self.retrieve(workspace_id, batch_id)
        if batch.ended_at is None:
            raise NotFoundError(f"Message batch {batch_id} has not ended; its results are available once it has.")
        if batch.archived_at is not None:
            raise NotFoundError(f"The results of message batch {batch_id} are no longer available.")
        ranges = await self._store.results(workspace_id, batch_id)
        length = sum(part.length for part in ranges)
        return Delivery(
            length=length,
            etag=f'"{batch_id}.{length}"',
            ranges=ranges,
            blobs=self._blobs,
            locate=lambda: self._store.results(workspace_id, batch_id),
        )

    async def progress(self, workspace_id: str, batch_id: str) -> Progress:
        """Return the live numbers."""
        batch = await self.retrieve(workspace_id, batch_id)
        return Progress(batch=batch, charges=await self._store.charges(workspace_id, batch_id))


def _known(batch: Batch | None) -> Batch:
    if batch is None:
        raise NotFoundError
    return batch
