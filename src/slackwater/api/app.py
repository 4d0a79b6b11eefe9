"""The ASGI application: routing, the headers every response carries, and the envelope for every failure."""

import asyncio
import logging

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from slackwater.api import cors
from slackwater.api.address import networks
from slackwater.api.context import Answer, Context, HTTPRequest
from slackwater.api.failures import MisdirectedHostError, failure, report, typed
from slackwater.api.routes import Router
from slackwater.api.services import Services
from slackwater.api.table import ENDPOINTS
from slackwater.domain.errors import MethodNotAllowedError, NotFoundError, OverloadedError
from slackwater.domain.ids import REQUEST

_log = structlog.get_logger(__name__)
_OUR_FAULT = 500
_ANSWERED = "/v1/messages"
"""Paths whose answers come from a model, batches included."""
RESTART_SECONDS = 5.0
"""What a caller whose answer did not come in time is told to wait: about as long as a restart takes."""


class App:
    """The API over a set of services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._router = Router(ENDPOINTS)
        self._log = _log.bind()
        """Looked up once."""
        self._quietly = self._log.is_enabled_for(logging.DEBUG)
        """Whether what is hardly worth a line is logged at all."""
        self.stopping = asyncio.Event()
        """Set when the server begins to stop."""
        self.new_id = services.new_id

    def stop(self) -> None:
        """Begin to stop: `/health` says so, endless event streams end, and `serve` returns."""
        self.stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            return  # neither WebSockets nor lifespan: the server is told not to offer them
        context = Context(
            services=self._services,
            http=HTTPRequest(scope, receive),
            request_id=self._services.new_id(REQUEST),
            stopping=self.stopping,
            started_at_seconds=self._services.clock.monotonic(),
        )
        reply = _Reply(context, send)
        try:
            await (await self._answer(context))(scope, receive, reply)
        except asyncio.CancelledError:
            if not self.stopping.is_set():
                raise
            await _fail(OverloadedError(retry_after_seconds=RESTART_SECONDS), context, reply)
        except ClientDisconnect:
            _log.info("client left", request_id=context.request_id, path=context.path)
        except Exception as error:  # noqa: BLE001  # the boundary: every failure gets the envelope or a cut connection
            await _fail(error, context, reply)
        reply.log(self._log, quietly=self._quietly)

    async def _answer(self, context: Context) -> Answer:
        scope = context.http.scope
        host = context.headers.get("host", "" if scope["http_version"] == "1.0" else ",")
        if "," in host:  # none, or more than one
            raise MisdirectedHostError
        if (preflight := cors.preflight(context)) is not None:
            return preflight
        match = self._router.match(scope)
        if match is None:
            raise NotFoundError
        context.path = match.path
        endpoint = match.methods.get(scope["method"])
        if endpoint is None:
            return failure(MethodNotAllowedError(), context.request_id, {"allow": match.allow})
        context.parameters = match.parameters
        return await endpoint.handle(context)


def build_app(services: Services) -> App:
    """Build the ASGI application. Raises ValueError when a trusted proxy is neither an address nor a network."""
    networks(services.trusted_proxies)
    return App(services)


async def _fail(error: Exception, context: Context, reply: "_Reply") -> None:
    """Answer a failure; after the answer has begun, return without finishing it, so that the server cuts it (R2)."""
    report(error, context)
    if reply.status is None:
        http = context.http
        await failure(typed(error), context.request_id)(http.scope, http.receive, reply)


class _Reply:
    """Puts on every response what contract §1.6 asks for, drops the body of a HEAD, and writes the access log."""

    def __init__(self, context: Context, send: Send) -> None:
        self._context = context
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *self._headers()]}
        elif self._context.http.method == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        context = self._context
        headers = {
            "request-id": context.request_id,
            "anthropic-organization-id": context.services.organization_id,
            "x-content-type-options": "nosniff",
        }
        if context.services.cors_origins:
            headers |= cors.response_headers(context.headers, context.services.cors_origins)
        if context.services.stand_in is not None and context.path.startswith(_ANSWERED):
            headers["slackwater-stand-in"] = context.services.stand_in
        if context.workspace_id is not None:
            headers["anthropic-workspace-id"] = context.workspace_id
        return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    def log(self, log: FilteringBoundLogger, *, quietly: bool) -> None:
        """Write one line: reads quietly, writes and failures audibly."""
        context = self._context
        quiet = context.http.method in {"GET", "HEAD"} and (self.status or 0) < _OUR_FAULT
        if quiet and not quietly:
            return
        seconds = context.services.clock.monotonic() - context.started_at_seconds
        write = log.debug if quiet else log.info
        write(
            "http request",
            method=context.http.method,
            path=context.path,
            status=self.status,
            seconds=round(seconds, 6),
            request_id=context.request_id,
            workspace_id=context.workspace_id,
        )
