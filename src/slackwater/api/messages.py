"""`/v1/messages` and `/v1/messages/count_tokens`: the synchronous way, over the same backends (contract §7)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from slackwater.api.body import whole
from slackwater.api.context import Answer, Context
from slackwater.api.events import EventStream, frames
from slackwater.api.presence import Presence
from slackwater.api.responses import json
from slackwater.flow.interactive import Caller
from slackwater.wire.objects import TokenCount


async def create(context: Context, caller: Caller) -> Answer:
    """`POST /v1/messages`: the Message, or its events with `stream`. The call ends when the client leaves."""
    interactive = context.services.interactive
    body = await whole(context, context.services.limits.message_body_bytes_max)
    asked = interactive.check(body, caller)
    if asked.checked.stream:
        return EventStream(context, frames(context, _named(interactive.stream(asked, caller))))
    async with Presence(context.http.receive) as presence:
        return json(await presence.during(interactive.create(asked, caller)))


async def count_tokens(context: Context, caller: Caller) -> Answer:
    """`POST /v1/messages/count_tokens`; where the backend did not count, a header says who did."""
    body = await whole(context, context.services.limits.message_body_bytes_max)
    async with Presence(context.http.receive) as presence:
        tokens, counted_by = await presence.during(context.services.interactive.count_tokens(body, caller))
    headers = {} if counted_by == "backend" else {"slackwater-token-count": counted_by}
    return json(TokenCount(input_tokens=tokens), headers=headers)


async def _named(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[tuple[str, object]]:
    async with aclosing(cast("AsyncGenerator[dict[str, Any]]", events)):
        async for event in events:
            yield str(event["type"]), event
