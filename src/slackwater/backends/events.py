"""The events of a Messages stream: their order checked (contract §7.1), and a whole Message made of them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from slackwater.backends.message import (
    STOP_REASONS,
    NewId,
    checked_block,
    checked_message,
    opening_message,
    told_stop,
    usage_so_far,
)
from slackwater.backends.refusals import broken, cut, decode
from slackwater.domain.errors import AttemptFailedError

Event = dict[str, Any]

_FILLED: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}
"""What the start of a block holds before its deltas come; some engines leave it out."""
_GROWS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


@dataclass(kw_only=True, slots=True)
class StreamOrder:
    """Passes one stream's events on, filled in; raises AttemptFailedError at the first that is out of order."""

    new_id: NewId
    _started: bool = False
    _blocks: int = 0
    _open: bool = False
    _stop_reason: str | None = None
    finished: bool = False
    """Whether `message_stop` has passed."""

    def passed(self, event: Event) -> Event:
        """Check the next event."""
        kind = event.get("type")
        if self.finished:
            reason = f"{kind} after message_stop"
            raise broken(reason)
        step = _STEPS.get(str(kind))
        if step is None:
            return event
        if not self._started and kind != "message_start":
            reason = f"{kind} before message_start"
            raise broken(reason)
        return step(self, event)

    def end(self) -> None:
        """Check that the stream is whole, once it is over."""
        if not self.finished:
            reason = "the stream ended before message_stop"
            raise cut(reason)

    def message_start(self, event: Event) -> Event:
        """Check the first event and fill in its message."""
        if self._started:
            reason = "a second message_start"
            raise broken(reason)
        self._started = True
        return {**event, "message": opening_message(event.get("message"), new_id=self.new_id)}

    def block_start(self, event: Event) -> Event:
        """Check that the block before is closed and the index is the next one."""
        block = event.get("content_block")
        if self._open or event.get("index") != self._blocks or not isinstance(block, dict):
            reason = "content_block_start out of order"
            raise broken(reason)
        self._open = True
        self._blocks += 1
        given = {key: value for key, value in block.items() if value is not None}
        return {**event, "content_block": checked_block(_FILLED.get(str(block.get("type")), {}) | given)}

    def block_delta(self, event: Event) -> Event:
        """Check that it belongs to the open block."""
        self._check_open(event)
        delta = event.get("delta")
        if not isinstance(delta, dict) or not isinstance(delta.get("type"), str):
            reason = "a delta has no type"
            raise broken(reason)
        return event

    def block_stop(self, event: Event) -> Event:
        """Close the open block."""
        self._check_open(event)
        self._open = False
        return event

    def message_delta(self, event: Event) -> Event:
        """Check that all blocks are closed and that usage has its `output_tokens`."""
        delta: Any = event.get("delta")
        usage: Any = event.get("usage")
        if self._open or not isinstance(delta, dict):
            reason = "message_delta out of order or without its delta"
            raise broken(reason)
        usage_so_far(usage)
        if usage.get("output_tokens") is None:
            reason = "message_delta without its output_tokens"
            raise broken(reason)
        self._stop_reason = delta.get("stop_reason") or self._stop_reason
        if self._stop_reason is not None and self._stop_reason not in STOP_REASONS:
            reason = "the stop_reason is unknown"
            raise broken(reason)
        return {**event, "delta": delta | _stop_of(delta)}

    def message_stop(self, event: Event) -> Event:
        """Check that a stop reason was given."""
        if self._open or self._stop_reason is None:
            reason = "message_stop without a stop_reason"
            raise broken(reason)
        self.finished = True
        return event

    def _check_open(self, event: Event) -> None:
        if not self._open or event.get("index") != self._blocks - 1:
            reason = f"{event.get('type')} out of order"
            raise broken(reason)


def _stop_of(delta: dict[str, Any]) -> dict[str, Any]:
    stop_reason, stop_sequence = delta.get("stop_reason"), delta.get("stop_sequence")
    if not isinstance(stop_sequence, str) or not isinstance(stop_reason, str):
        return {}
    return told_stop(stop_reason, stop_sequence)


_STEPS: dict[str, Callable[[StreamOrder, Event], Event]] = {
    "message_start": StreamOrder.message_start,
    "content_block_start": StreamOrder.block_start,
    "content_block_delta": StreamOrder.block_delta,
    "content_block_stop": StreamOrder.block_stop,
    "message_delta": StreamOrder.message_delta,
    "message_stop": StreamOrder.message_stop,
}
"""Everything else, `ping` and event types yet to come, may stand anywhere."""


@dataclass(kw_only=True, slots=True)
class _Assembly:
    message: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    pieces: dict[str, list[str]] = field(default_factory=dict)
    """Pieces of the open block by the key they belong to; `input` holds JSON."""

    def add(self, event: Event) -> None:
        match event["type"]:
            case "message_start":
                self.message = dict(event["message"])
                self.message["content"] = []
                self.usage = dict(self.message["usage"])
            case "content_block_start":
                self.message["content"].append(dict(event["content_block"]))
                self.pieces = {}
            case "content_block_delta":
                self._grow(event["delta"])
            case "content_block_stop":
                self._close()
            case "message_delta":
                self.message |= event["delta"]
                self.usage |= {key: value for key, value in event["usage"].items() if value is not None}
            case _:
                pass

    def _grow(self, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        if kind == "citations_delta":
            block = self.message["content"][-1]
            block["citations"] = [*(block.get("citations") or []), delta.get("citation")]
            return
        key = "input" if kind == "input_json_delta" else _GROWS.get(kind)
        piece = delta.get("partial_json" if key == "input" else key or "")
        if key is not None and isinstance(piece, str):
            self.pieces.setdefault(key, []).append(piece)

    def _close(self) -> None:
        block = self.message["content"][-1]
        for key, pieces in self.pieces.items():
            block[key] = "".join(pieces) if key == "input" else block.get(key, "") + "".join(pieces)
        if isinstance(block.get("input"), str):
            block["input"] = tool_input(block["input"])


def tool_input(text: str) -> dict[str, Any] | None:
    """Read a tool call's JSON input; None when it is not a JSON object, as in a call that was cut by max_tokens."""
    if not text.strip():
        return {}
    try:
        value = decode(text)
    except AttemptFailedError:
        return None
    return value if isinstance(value, dict) else None


async def assembled(events: AsyncIterator[Event], *, new_id: NewId) -> dict[str, Any]:
    """Make the whole Message of a checked stream. Raises AttemptFailedError when the result is not one (S7)."""
    assembly = _Assembly()
    async for event in events:
        assembly.add(event)
    message = assembly.message | {"usage": assembly.usage}
    message["content"] = whole_blocks(message["content"], stop_reason=message.get("stop_reason"))
    return checked_message(message, new_id=new_id)


def whole_blocks(content: list[dict[str, Any]], *, stop_reason: str | None) -> list[dict[str, Any]]:
    """Leave out a last tool call whose input was cut, by a limit say: what the model wrote of it is not a call."""
    cut_off = stop_reason in ("max_tokens", "model_context_window_exceeded", "stop_sequence")
    return content[:-1] if content and cut_off and content[-1].get("input", {}) is None else content
