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
    checked = interactive.check(body, caller)
    if checked.stream:
        return EventStream(context, frames(context, _named(interactive.stream(checked, caller))))
    async with Presence(context.http.receive) as presence:
        return json(await presence.during(interactive.create(checked, caller)))


async def count_tokens(context: Context, caller: Caller) -> Answer:
    """`POST /v1/messages/count_tokens`; an estimate of ours says so in a header."""
    body = await whole(context, context.services.limits.message_body_bytes_max)
    async with Presence(context.http.receive) as presence:
        tokens, estimated = await presence.during(context.services.interactive.count_tokens(body, caller))
    headers = {"slackwater-token-count": "estimate"} if estimated else {}
    return json(TokenCount(input_tokens=tokens), headers=headers)


async def _named(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[tuple[str, object]]:
    async with aclosing(cast("AsyncGenerator[dict[str, Any]]", events)):
        async for event in events:
            yield str(event["type"]), event
