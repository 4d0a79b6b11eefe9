"""Admit: take a create call's body, make everything about it durable, and only then let the batch exist (D1, D2)."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from slackwater.domain.batch import ORDERED, Admission, Batch, Ingested, RequestCounts, Terms
from slackwater.domain.errors import InvalidRequestError, WireError
from slackwater.domain.events import BatchAdmitted
from slackwater.domain.ids import BATCH, IdSource
from slackwater.ports import BatchStore, Blobs, Clock, Ingesting, Ingestion, Listener


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a create call came from and what it said about itself."""

    workspace_id: str
    key_id: str
    terms: Terms
    digest: bytes
    """SHA-256 of the decoded body."""
    idempotency_key: str | None = None
    retried: bool = False
    """The SDK marked it as a repetition (D3)."""
    arrived_at: datetime | None = None


class Admit:
    """The step behind `POST /v1/messages/batches`."""

    def __init__(
        self,
        *,
        store: BatchStore,
        blobs: Blobs,
        ingestion: Ingestion,
        clock: Clock,
        ids: IdSource,
        emit: Listener,
        expires_after: timedelta,
    ) -> None:
        self.ingestion = ingestion
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._emit = emit
        self._expires_after = expires_after

    async def __call__(self, spool: Path, origin: Origin, ingesting: Ingesting | None = None) -> Batch:
        """Admit the body in `spool`, a file of the caller's; return the batch, which is durable by then.

        Raises InvalidRequestError for a wrong envelope (contract §4.1) or an idempotency key with another body.
        """
        ordered = spool.with_suffix(ORDERED)
        try:
            ingested = _accepted(await (self.ingestion(spool) if ingesting is None else ingesting.ingested()))
            requests_key = f"requests/{self._ids.new('blob')}"
            await self._blobs.put_file(requests_key, ordered)
        except BaseException:
            await asyncio.to_thread(ordered.unlink, missing_ok=True)
            raise
        created_at = self._clock.now()
        batch = Batch(
            id=self._ids.new(BATCH),  # at this instant: ids and instants order alike
            workspace_id=origin.workspace_id,
            terms=origin.terms,
            size=ingested.size,
            processing_status="in_progress",
            tally=RequestCounts(processing=ingested.size),
            created_at=created_at,
            expires_at=created_at + self._expires_after,
            requests_key=requests_key,
        )
        admission = Admission(
            batch=batch,
            shards=ingested.shards,
            key_id=origin.key_id,
            digest=origin.digest,
            idempotency_key=origin.idempotency_key,
            retried=origin.retried,
            arrived_at=origin.arrived_at,
            file_ids=ingested.file_ids,
        )
        try:
            sealed = await self._store.seal(admission)
        except WireError:
            await self._blobs.delete(requests_key)
            raise
        if sealed.duplicate:
            await self._blobs.delete(requests_key)
        else:
            self._emit(BatchAdmitted(batch_id=batch.id, workspace_id=batch.workspace_id, size=batch.size))
        return sealed.batch


def _accepted(ingested: Ingested) -> Ingested:
    if ingested.refusal is not None:
        raise InvalidRequestError(ingested.refusal, should_retry=False)
    return ingested
