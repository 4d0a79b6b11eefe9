"""What machines ask about the server itself: `/health` and `/metrics`, without a key."""

from starlette.responses import Response

from slackwater.api.context import Answer, Context
from slackwater.api.responses import json


async def health(context: Context) -> Answer:
    """`GET /health`: 200 once requests can be served, 503 before and while stopping.

    A disk that is `low` or `full` refuses creates and uploads; everything else is served.
    """
    ready = context.services.ready() and not context.stopping.is_set()
    status = "ok" if ready else "stopping" if context.stopping.is_set() else "starting"
    return json({"status": status, "storage": context.services.storage()}, status=200 if ready else 503)


async def metrics(context: Context) -> Answer:
    """`GET /metrics`: the Prometheus text format."""
    return Response(context.services.metrics(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})
