"""The simulator over HTTP: Messages and Chat Completions on one port."""

import asyncio
import re
import secrets

import msgspec

from slackwater.backends.simulated.answer import message
from slackwater.backends.simulated.chat import CHAT
from slackwater.backends.simulated.connection import Connection, Handler, HTTPRequest
from slackwater.backends.simulated.dialects import MESSAGES, Dialect, encode
from slackwater.backends.simulated.engine import MODELS, Arrival, Engine, QueueFullError, Service, Visit
from slackwater.backends.simulated.faults import BEFORE_SERVICE, MESSAGE, Fault, FaultKind
from slackwater.backends.simulated.prompt import TOKEN_BYTES, Json, read_prompt
from slackwater.backends.simulated.spoiled import respond_spoiled, stream_spoiled
from slackwater.domain.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    WireError,
)

_ID = re.compile(rb"\[\[id:([^\]]{1,64})\]\]")
_DECODE = msgspec.json.Decoder(dict[str, object]).decode
_CONTEXT_TOKENS = 1_000_000
_STREAM_ALONE = frozenset({FaultKind.HTML, FaultKind.EMPTY})
"""Faults that spoil a streamed answer as a whole."""


class SimulatorServer:
    """Serves one engine."""

    def __init__(self, engine: Engine, *, api_key: str | None = None) -> None:
        self._engine = engine
        self._keys = (api_key.encode(), b"Bearer " + api_key.encode()) if api_key else ()
        self._run = secrets.token_hex(4)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._endpoints: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/messages"): self._messages,
            ("POST", "/v1/messages/count_tokens"): self._count_tokens,
            ("POST", "/v1/chat/completions"): self._chat,
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("GET", "/health"): self._health,
            ("GET", "/stats"): self._stats,
            ("GET", "/redirected"): self._redirected,
            ("POST", "/redirected"): self._redirected,
        }

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is chosen when 0 is given."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._handle, self._connections), host, port, backlog=1024
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and let every client go."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.reset()
        self._engine.close()

    async def _handle(self, request: HTTPRequest, connection: Connection) -> None:
        endpoint = self._endpoints.get((request.method, request.path))
        if endpoint is None:
            self._fail(connection, MESSAGES, NotFoundError(), 404)
        elif not self._may_enter(request):
            self._fail(connection, MESSAGES, AuthenticationError("invalid x-api-key"), 401)
        else:
            await endpoint(request, connection)

    def _may_enter(self, request: HTTPRequest) -> bool:
        if not self._keys or request.path in {"/health", "/redirected"}:
            return True
        sent = {request.headers.get(b"x-api-key"), request.headers.get(b"authorization")}
        return not sent.isdisjoint(self._keys)

    async def _messages(self, request: HTTPRequest, connection: Connection) -> None:
        await self._infer(request, connection, MESSAGES)

    async def _chat(self, request: HTTPRequest, connection: Connection) -> None:
        await self._infer(request, connection, CHAT)

    async def _infer(self, request: HTTPRequest, connection: Connection, dialect: Dialect) -> None:
        try:
            body = _DECODE(request.body)
        except msgspec.DecodeError as error:
            self._engine.counters["unreadable"] += 1
            self._fail(connection, dialect, InvalidRequestError(f"The request body is not valid JSON: {error}"), 400)
            return
        arrival = self._engine.arrive(
            body,
            protocol=dialect.name,
            model=str(body.get("model")),
            custom_id=_custom_id(request.body, body),
            stream=body.get("stream") is True,
        )
        try:
            visit = self._engine.examine(dialect.params_of(body), arrival)
        except ValueError as error:
            self._fail(connection, dialect, InvalidRequestError(str(error)), 400)
            return
        if visit.fault is not None and visit.fault.kind in BEFORE_SERVICE:
            await self._refuse(connection, dialect, visit.fault)
            return
        try:
            await self._serve(connection, dialect, body, arrival, visit)
        except QueueFullError:
            full: WireError = OverloadedError() if dialect is MESSAGES else RateLimitError()
            self._fail(connection, dialect, full, dialect.queue_full_status)

    async def _serve(
        self, connection: Connection, dialect: Dialect, body: Json, arrival: Arrival, visit: Visit
    ) -> None:
        async with self._engine.in_service(visit) as service:
            message_id = f"msg_sim{self._run}{arrival.number:010d}"
            whole = message(visit.answer, service.usage, message_id=message_id, model=str(body.get("model")))
            headers = b"request-id: req_sim%d\r\n" % arrival.number
            if body.get("stream") is True and not (visit.fault and visit.fault.kind in _STREAM_ALONE):
                await self._stream(connection, dialect, service, list(dialect.frames(whole, body)), visit.fault)
                return
            await service.decode(visit.answer.output_tokens)
            data = encode(dialect.whole(whole))
            if visit.fault is None:
                connection.respond(200, data, headers)
                return
            await respond_spoiled(
                connection, data, visit.fault, dialect=dialect, clock=self._engine.clock, headers=headers
            )

    async def _stream(
        self,
        connection: Connection,
        dialect: Dialect,
        service: Service,
        frames: list[tuple[bytes, int]],
        fault: Fault | None,
    ) -> None:
        connection.begin(b"text/event-stream; charset=utf-8", b"cache-control: no-cache\r\n")
        slow = fault is not None and fault.kind is FaultKind.SLOW
        middle = len(frames) // 2 if fault is not None and not slow else len(frames)
        for frame, tokens in frames[:middle]:
            await service.decode(tokens)
            if fault is not None and slow:
                await self._engine.wait(fault.seconds / len(frames))
            await connection.chunk(frame)
        if fault is None or slow:
            connection.end()
            return
        await stream_spoiled(connection, fault, dialect=dialect, clock=self._engine.clock)

    async def _refuse(self, connection: Connection, dialect: Dialect, fault: Fault) -> None:
        if fault.kind is FaultKind.HANG:
            await asyncio.get_running_loop().create_future()
        if fault.kind is FaultKind.STATUS:
            self._fail(connection, dialect, fault.wire_error(), fault.status, fault.retry_after_seconds)
        elif fault.kind is FaultKind.REFUSED:
            away = dialect.error(OverloadedError(MESSAGE), 503, "req_simulated")
            connection.respond(503, away, b"connection: close\r\n")
            connection.close()
        elif fault.kind is FaultKind.REDIRECT:
            connection.respond(302, b"", b"location: /redirected\r\n")
        elif fault.kind is FaultKind.RESET:
            connection.reset()
        else:
            connection.close()

    def _fail(
        self,
        connection: Connection,
        dialect: Dialect,
        error: WireError,
        status: int,
        retry_after_seconds: float | None = None,
    ) -> None:
        headers = b"" if retry_after_seconds is None else b"retry-after: %s\r\n" % f"{retry_after_seconds:g}".encode()
        connection.respond(status, dialect.error(error, status, "req_simulated"), headers)

    async def _count_tokens(self, request: HTTPRequest, connection: Connection) -> None:
        self._engine.counters["counted"] += 1
        try:
            tokens = read_prompt(_DECODE(request.body)).tokens
        except (ValueError, msgspec.DecodeError) as error:
            self._fail(connection, MESSAGES, InvalidRequestError(str(error)), 400)
            return
        connection.respond(200, encode({"input_tokens": tokens}))

    async def _tokenize(self, request: HTTPRequest, connection: Connection) -> None:
        try:
            body = _DECODE(request.body)
            text = body.get("prompt") or body.get("content")
            run = text.encode() if isinstance(text, str) else read_prompt(CHAT.params_of(body)).rendered
        except (ValueError, msgspec.DecodeError) as error:
            self._fail(connection, CHAT, InvalidRequestError(str(error)), 400)
            return
        tokens = [int.from_bytes(run[start : start + TOKEN_BYTES]) for start in range(0, len(run), TOKEN_BYTES)]
        connection.respond(200, encode({"count": len(tokens), "max_model_len": _CONTEXT_TOKENS, "tokens": tokens}))

    async def _models(self, _request: HTTPRequest, connection: Connection) -> None:
        models = [
            {
                "id": name,
                "type": "model",
                "object": "model",
                "display_name": "Simulated",
                "created": 1_767_225_600,
                "created_at": "2026-01-01T00:00:00Z",
                "owned_by": "slackwater simulate",
                "max_model_len": _CONTEXT_TOKENS,
            }
            for name in MODELS
        ]
        page = {"object": "list", "data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
        connection.respond(200, encode(page))

    async def _health(self, _request: HTTPRequest, connection: Connection) -> None:
        connection.respond(200, b'{"status":"ok","simulated":true}')

    async def _stats(self, _request: HTTPRequest, connection: Connection) -> None:
        connection.respond(200, encode({**self._engine.stats(), "connections": len(self._connections)}))

    async def _redirected(self, request: HTTPRequest, connection: Connection) -> None:
        self._engine.counters["redirects_followed"] += 1
        if b"x-api-key" in request.headers or b"authorization" in request.headers:
            self._engine.counters["redirects_followed_with_key"] += 1
        connection.respond(200, b"{}")


def _custom_id(raw: bytes, body: Json) -> str | None:
    """Return what the request says that it is: `[[id:…]]` in its text, else `metadata.user_id`."""
    start = raw.rfind(b"[[id:")
    if start >= 0 and (found := _ID.match(raw, start)):
        return found.group(1).decode(errors="replace")
    metadata = body.get("metadata")
    name = metadata.get("user_id") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else None
