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
    headers: dict[str, str] = field(init=False)
    """What the client sent, by names in lower case; of a repeated one all values, a comma between them."""

    def __post_init__(self) -> None:
        """Read the headers once: looking through them for each of a handful would take longer."""
        named: dict[str, str] = {}
        for name, value in self.http.scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            named[key] = f"{named[key]}, {text}" if key in named else text
        self.headers = named


__all__ = ["Answer", "Context", "HTTPRequest"]
