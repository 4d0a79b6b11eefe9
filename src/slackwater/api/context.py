"""One HTTP request on its way through the edge."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request as HTTPRequest
from starlette.types import Receive, Scope, Send

from slackwater.api.services import Services

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]
"""Anything that can write itself to the client; may raise a WireError before it has begun to."""


@dataclass(kw_only=True, slots=True)
class Context:
    """What is known about an HTTP request; authentication and routing add to it."""

    services: Services
    http: HTTPRequest
    request_id: str
    """`req_…`, in the `request-id` header and in the body of an error."""
    stopping: asyncio.Event
    """Set when the server begins to stop: endless streams end."""
    started_at_seconds: float
    """On the monotonic clock."""
    path: str = ""
    """The path template of the endpoint, for logs; empty until it is known."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Decoded path parameters."""
    workspace_id: str | None = None
    """Known after authentication."""


__all__ = ["Answer", "Context", "HTTPRequest"]
