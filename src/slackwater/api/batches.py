"""`/v1/messages/batches`: create, retrieve, list, cancel, delete, results, progress (contract §4)."""

import re
from collections.abc import AsyncIterator

from slackwater.api.address import base_url
from slackwater.api.context import Answer, Context
from slackwater.api.download import download
from slackwater.api.events import EventStream, frames
from slackwater.api.presence import Presence
from slackwater.api.query import cursor
from slackwater.api.responses import json
from slackwater.api.spool import spooled
from slackwater.domain.errors import InvalidRequestError
from slackwater.flow.admit import Origin
from slackwater.flow.interactive import Caller
from slackwater.wire.lines import RESULTS_MEDIA_TYPE
from slackwater.wire.objects import BatchProgress, DeletedMessageBatch, batch_list, batch_progress, message_batch

POLL_SECONDS = "10"  # contract §4.2, as the real API sends it
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")


async def create(context: Context, caller: Caller) -> Answer:
    """`POST /v1/messages/batches`.

    A client that leaves before it is answered will call again: nothing is made for a call that it has given up (D3).
    """
    arrived_at = context.services.clock.now()
    idempotency_key = _idempotency_key(context)
    retried = _retried(context)
    ahead = context.services.admit.ingestion.ahead
    async with spooled(context, context.services.limits.batch_body_bytes_max, ahead=ahead) as spool:
        origin = Origin(
            workspace_id=caller.workspace_id,
            key_id=caller.key_id,
            terms=caller.terms,
            digest=spool.digest,
            idempotency_key=idempotency_key,
            retried=retried,
            arrived_at=arrived_at,
        )
        async with Presence(context.http.receive) as presence:
            batch = await presence.during(context.services.admit(spool.path, origin, spool.ingesting))
    return json(message_batch(batch, base_url(context)))


async def retrieve(context: Context, caller: Caller) -> Answer:
    """`GET /v1/messages/batches/{batch_id}`."""
    batch = await context.services.batches.retrieve(caller.workspace_id, context.parameters["batch_id"])
    headers = {} if batch.ended_at is not None else {"retry-after": POLL_SECONDS}
    return json(message_batch(batch, base_url(context)), headers=headers)


async def page(context: Context, caller: Caller) -> Answer:
    """`GET /v1/messages/batches`."""
    asked = cursor(context)
    found = await context.services.batches.page(
        caller.workspace_id, limit=asked.limit, after_id=asked.after_id, before_id=asked.before_id
    )
    return json(batch_list(found.items, base_url(context), has_more=found.has_more))


async def cancel(context: Context, caller: Caller) -> Answer:
    """`POST /v1/messages/batches/{batch_id}/cancel`; a body is not looked at."""
    batch = await context.services.batches.cancel(caller.workspace_id, context.parameters["batch_id"])
    return json(message_batch(batch, base_url(context)))


async def delete(context: Context, caller: Caller) -> Answer:
    """`DELETE /v1/messages/batches/{batch_id}`; a body is not looked at."""
    batch_id = await context.services.batches.delete(caller.workspace_id, context.parameters["batch_id"])
    return json(DeletedMessageBatch(id=batch_id))


async def results(context: Context, caller: Caller) -> Answer:
    """`GET /v1/messages/batches/{batch_id}/results`, resumable by `Range` (contract §4.6)."""
    batch_id = context.parameters["batch_id"]
    delivery = await context.services.batches.results(caller.workspace_id, batch_id)
    headers = {
        "content-type": RESULTS_MEDIA_TYPE,
        "content-disposition": f'attachment; filename="{batch_id}_results.jsonl"',
    }
    return download(context, delivery, headers)


async def progress(context: Context, caller: Caller) -> Answer:
    """`GET /v1/messages/batches/{batch_id}/progress`: the live numbers once, or as events until the end."""
    if "text/event-stream" in context.headers.get("accept", ""):
        return EventStream(context, frames(context, _changes(context, caller)), until=context.stopping)
    return json(await _progress(context, caller))


async def _changes(context: Context, caller: Caller) -> AsyncIterator[tuple[str, object]]:
    seen: BatchProgress | None = None
    while seen is None or seen.ended_at is None:
        current = await _progress(context, caller)
        if current != seen:
            yield "progress", current
        seen = current
        if seen.ended_at is None:
            await context.services.clock.sleep(context.services.limits.progress_seconds)


async def _progress(context: Context, caller: Caller) -> BatchProgress:
    found = await context.services.batches.progress(caller.workspace_id, context.parameters["batch_id"])
    return batch_progress(found.batch, found.charges)


def _retried(context: Context) -> bool:
    """Tell whether the SDK marked this call as a repetition (D3)."""
    count = context.headers.get("x-stainless-retry-count", "0")
    return count.isdecimal() and count.strip("0") != ""


def _idempotency_key(context: Context) -> str | None:
    given = context.headers.get("idempotency-key")
    if given is not None and not _IDEMPOTENCY_KEY.fullmatch(given):
        message = "idempotency-key: String should match pattern '^[ -~]{1,255}$'"
        raise InvalidRequestError(message)
    return given
