"""Plain JSON answers."""

from collections.abc import Mapping

from starlette.responses import Response

from slackwater.api.failures import JSON
from slackwater.wire.objects import encode


def json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Write a wire object, or plain JSON values."""
    return Response(encode(value), status_code=status, media_type=JSON, headers=dict(headers or {}))
