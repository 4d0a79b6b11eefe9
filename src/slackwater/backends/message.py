"""The shape of a Message and of its usage, checked before anything is called succeeded (S7), with gaps filled in.

Engines that speak the Messages protocol leave out what they have no use for; what a client may rely on (contract §7) is
added here, and what would be an invention is refused.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

import msgspec

from slackwater.backends.refusals import broken

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]
STOP_REASONS: tuple[str, ...] = get_args(StopReason)
"""A tuple, so that asking whether any JSON value is one of them cannot fail."""
NESTING_MAX = 100
"""Deepest tool input that is accepted: what is stored must also be writable and readable by every client (B6)."""

_KEPT = ("container", "diagnostics", "stop_details", "context_management")
"""Optional keys of the official shape that are passed on; an engine's own additions are not."""
_TEXT_OF = {"text": "text", "thinking": "thinking", "redacted_thinking": "data"}

NewId = Callable[[str], str]
"""Makes a fresh id from a prefix such as `msg`."""


_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: str


class _Usage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    input_tokens: _Count
    output_tokens: _Count
    cache_creation_input_tokens: _Count = 0
    cache_read_input_tokens: _Count = 0


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[_Text]
    stop_reason: StopReason
    usage: _Usage
    stop_sequence: str | None = None


_PLAIN = msgspec.json.Decoder(_Plain)


def plain_message(body: bytes | bytearray, *, new_id: NewId) -> dict[str, Any] | None:
    """Return what `checked_message` does for an answer of nothing but text; None where only that can tell."""
    try:
        raw = _PLAIN.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    written, usage = raw.usage.cache_creation_input_tokens, raw.usage
    return {
        "id": raw.id if raw.id.startswith("msg_") else new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": raw.model,
        "content": [{"type": "text", "text": block.text} for block in raw.content],
        **told_stop(raw.stop_reason, raw.stop_sequence),
        "usage": {
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": usage.cache_read_input_tokens,
            "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": usage.output_tokens,
        },
    }


def checked_message(raw: Any, *, new_id: NewId) -> dict[str, Any]:  # noqa: ANN401  # whatever the backend sent
    """Return a whole Message with its keys in the API's order, or raise AttemptFailedError."""
    if not isinstance(raw, dict):
        reason = "the answer is not an object"
        raise broken(reason)
    if raw.get("type") == "error" or "error" in raw:
        reason = "answered 200 with an error inside"
        raise broken(reason)
    if raw.get("type") != "message" or raw.get("role") != "assistant":
        reason = "the answer is not an assistant's message"
        raise broken(reason)
    stop_reason = raw.get("stop_reason")
    if stop_reason not in STOP_REASONS:
        reason = "the stop_reason is missing or unknown"
        raise broken(reason)
    message = _opening(raw, new_id)
    message["content"] = checked_content(raw.get("content"))
    message |= told_stop(stop_reason, _text_or_none(raw.get("stop_sequence")))
    message["usage"] = checked_usage(raw.get("usage"))
    return message | {key: raw[key] for key in _KEPT if raw.get(key) is not None}


def told_stop(stop_reason: str, stop_sequence: str | None) -> dict[str, str | None]:
    """Return both stop fields; llama.cpp names the sequence it met, but calls the stop an end_turn."""
    if stop_sequence and stop_reason == "end_turn":
        stop_reason = "stop_sequence"
    return {"stop_reason": stop_reason, "stop_sequence": stop_sequence}


def opening_message(raw: Any, *, new_id: NewId) -> dict[str, Any]:  # noqa: ANN401
    """Return the message of a `message_start`: nothing in it yet, usage filled in."""
    if not isinstance(raw, dict) or raw.get("role", "assistant") != "assistant":
        reason = "message_start holds no assistant's message"
        raise broken(reason)
    message = _opening(raw, new_id)
    message["content"] = []
    message["stop_reason"] = None
    message["stop_sequence"] = None
    message["usage"] = usage_so_far(raw.get("usage") or {})
    return message


def _opening(raw: dict[str, Any], new_id: NewId) -> dict[str, Any]:
    given = raw.get("id")
    model = raw.get("model")
    return {
        "id": given if isinstance(given, str) and given.startswith("msg_") else new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model if isinstance(model, str) else "",
    }


def checked_content(raw: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the content blocks, each an object of a named type with what that type needs."""
    if not isinstance(raw, list):
        reason = "the content is not a list"
        raise broken(reason)
    return [checked_block(block) for block in raw]


def checked_block(block: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return one content block."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        reason = "a content block has no type"
        raise broken(reason)
    kind = block["type"]
    text = _TEXT_OF.get(kind)
    if text is not None and not isinstance(block.get(text), str):
        reason = f"a {kind} block has no {text}"
        raise broken(reason)
    if kind == "thinking":
        return {**block, "signature": block.get("signature") or ""}
    if kind in ("tool_use", "server_tool_use"):
        _check_tool(block)
    return block


def _check_tool(block: dict[str, Any]) -> None:
    named = all(isinstance(block.get(key), str) and block[key] for key in ("id", "name"))
    if not named or not isinstance(block.get("input"), dict):
        reason = "a tool_use block lacks its id, name or input"
        raise broken(reason)
    if is_too_deep(block["input"]):
        reason = "a tool input is nested too deeply"
        raise broken(reason)


def is_too_deep(value: Any) -> bool:  # noqa: ANN401
    """Tell whether JSON is nested more than NESTING_MAX levels deep."""
    level = [value]
    for _ in range(NESTING_MAX):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(parent: Any) -> list[Any]:  # noqa: ANN401
    return list(parent.values()) if isinstance(parent, dict) else parent if isinstance(parent, list) else []


def checked_usage(raw: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the usage with every key of contract §7; `service_tier` is the caller's to set.

    `input_tokens` and `output_tokens` must be there; cache figures default to zero. Writes to the cache that are not
    split by lifetime count as 5-minute ones.
    """
    if not isinstance(raw, dict):
        reason = "the usage is missing"
        raise broken(reason)
    split = raw.get("cache_creation")
    split = split if isinstance(split, dict) else {}
    hour = _tokens(split, "ephemeral_1h_input_tokens", 0)
    written = _tokens(raw, "cache_creation_input_tokens", _tokens(split, "ephemeral_5m_input_tokens", 0) + hour)
    hour = min(hour, written)
    usage = {
        "input_tokens": _tokens(raw, "input_tokens"),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": _tokens(raw, "cache_read_input_tokens", 0),
        "cache_creation": {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour},
        "output_tokens": _tokens(raw, "output_tokens"),
    }
    return usage | {key: value for key, value in raw.items() if key not in usage and value is not None}


def usage_so_far(raw: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the usage of a stream's event, which may leave out any count or write it as null."""
    if not isinstance(raw, dict):
        reason = "the usage is not an object"
        raise broken(reason)
    given = {key: value for key, value in raw.items() if value is not None}
    return checked_usage({"input_tokens": 0, "output_tokens": 0} | given)


def _tokens(counts: dict[str, Any], key: str, default: int | None = None) -> int:
    value = counts.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        reason = f"the usage's {key} is not a count"
        raise broken(reason)
    return value


def _text_or_none(value: Any) -> str | None:  # noqa: ANN401
    if value is not None and not isinstance(value, str):
        reason = "the stop_sequence is not text"
        raise broken(reason)
    return value
