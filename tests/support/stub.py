"""A server on a loopback port that answers exactly the bytes a test of a backend wants."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from slackwater.ports import Call

NOW = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Received:
    """One HTTP request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


Play = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def reply(body: object = b"", status: int = 200, content_type: str = "application/json", **headers: str) -> bytes:
    """Write a whole HTTP answer; anything but bytes is JSON. Header names take `_` for `-`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}"]
    if "content_length" not in headers:
        headers["content_length"] = str(len(data))
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def sse(*events: object, end: bytes = b"data: [DONE]\n\n") -> bytes:
    """Write data-only server-sent events as an answer that ends with the connection."""
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + end
    return b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + data


@dataclass(kw_only=True)
class Stub:
    """The server: give `play` or `answers`, read `received`."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    answers: list[bytes] = field(default_factory=list)
    """Given out in order, the last one for ever; one that says `connection: close` is followed by a close."""
    play: Play | None = None
    """In place of `answers`: writes what it likes; the connection is closed when the writer is."""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    """Never set before the end: something to wait for."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                request = await _read(reader)
                self.received.append(request)
                await (self.play or self._answer)(request, writer)
                await writer.drain()
        writer.close()
        self._tasks.discard(task)

    async def _answer(self, _request: Received, writer: asyncio.StreamWriter) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        writer.write(answer)
        if b"connection: close" in answer.partition(b"\r\n\r\n")[0]:
            writer.close()

    async def stop(self) -> None:
        """End the connections that are still open."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method=method, path=path, headers=headers, body=body)


MESSAGE: dict[str, Any] = {
    "id": "msg_01Upstream",
    "type": "message",
    "role": "assistant",
    "model": "upstream/model",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 3},
}
"""A whole answer in the Messages protocol."""

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "upstream/model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
}
"""A whole answer in the chat completions protocol."""


def call(**params: Any) -> Call:
    """Make a call for the model the client knows as `client-model`."""
    body = {"model": "client-model", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}], **params}
    return Call(params=body, upstream="upstream/model", version="2023-06-01", custom_id="row-1")
