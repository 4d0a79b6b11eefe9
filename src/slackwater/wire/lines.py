"""The lines of a batch on the way out (contract §4.6)."""

from typing import Any, Final

import msgspec

from slackwater.domain.errors import WireError
from slackwater.domain.result import Usage
from slackwater.wire.errors import ErrorEnvelope, envelope

RESULTS_MEDIA_TYPE: Final = "application/x-jsonl"


_ENCODER = msgspec.json.Encoder()


class _Succeeded(msgspec.Struct, tag_field="type", tag="succeeded"):
    message: dict[str, Any]


class _Errored(msgspec.Struct, tag_field="type", tag="errored"):
    error: ErrorEnvelope


class _Canceled(msgspec.Struct, tag_field="type", tag="canceled"):
    pass


class _Expired(msgspec.Struct, tag_field="type", tag="expired"):
    pass


class _Line(msgspec.Struct):
    custom_id: str
    result: _Succeeded | _Errored | _Canceled | _Expired


def succeeded_line(custom_id: str, message: dict[str, Any]) -> bytes:
    """Write the line of a request that got its message, whatever the model did in it (contract §4.6 rule 11)."""
    return _encode(_Line(custom_id, _Succeeded(message)))


def errored_line(custom_id: str, error: WireError, request_id: str) -> bytes:
    """Write the line of a request that failed: the whole envelope, `type` first (contract §4.6 rules 2 and 3)."""
    return _encode(_Line(custom_id, _Errored(envelope(error, request_id))))


def canceled_line(custom_id: str) -> bytes:
    """Write the line of a request that was never sent because its batch was canceled."""
    return _encode(_Line(custom_id, _Canceled()))


def expired_line(custom_id: str) -> bytes:
    """Write the line of a request that was never sent because its time ran out."""
    return _encode(_Line(custom_id, _Expired()))


def _encode(line: _Line) -> bytes:
    encoded = _ENCODER.encode(line)
    # Line readers of many languages also break at these two; JSON allows their escapes (contract §4.6 rule 5).
    if b"\xe2\x80" in encoded:
        encoded = encoded.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return encoded + b"\n"


def usage_of(message: dict[str, Any]) -> Usage:
    """Read a checked message's `usage` (contract §7): cached tokens apart, 5-minute writes unless told otherwise."""
    told = message["usage"].get
    creation = told("cache_creation")
    one_hour = (creation.get("ephemeral_1h_input_tokens") or 0) if creation else 0
    five_minutes = max(0, (told("cache_creation_input_tokens") or 0) - one_hour)
    read = told("cache_read_input_tokens") or 0
    return Usage(told("input_tokens") or 0, told("output_tokens") or 0, five_minutes, one_hour, read)


def finish_message(message: dict[str, Any], usage: Usage, *, model: str, service_tier: str) -> dict[str, Any]:
    """Put a backend's message into the API's form: key order, the client's model name, the whole of `usage`."""
    finished: dict[str, Any] = {
        "id": message["id"],
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": message["content"],
        "stop_reason": message.get("stop_reason"),
        "stop_sequence": message.get("stop_sequence"),
    }
    if not message.keys() <= _MESSAGE_KEYS:
        finished.update({key: value for key, value in message.items() if key not in _MESSAGE_KEYS})
    finished["usage"] = counted = {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_creation_5m_input_tokens,
            "ephemeral_1h_input_tokens": usage.cache_creation_1h_input_tokens,
        },
        "output_tokens": usage.output_tokens,
    }
    if not message["usage"].keys() <= _USAGE_KEYS:
        counted.update({key: value for key, value in message["usage"].items() if key not in _USAGE_KEYS})
    counted["service_tier"] = service_tier
    return finished


def finish_event(event: dict[str, Any], *, model: str, usage: dict[str, Any]) -> dict[str, Any]:
    """Let `message_start` carry the client's model name, and gather the usage of the whole message in `usage`."""
    if event.get("type") == "message_start":
        message = {**event["message"], "model": model}
        usage.update(message.get("usage") or {})
        return {**event, "message": message}
    if event.get("type") == "message_delta":
        usage.update({key: value for key, value in (event.get("usage") or {}).items() if value is not None})
    return event


_MESSAGE_KEYS: Final = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
_USAGE_KEYS: Final = frozenset(
    {
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
        "output_tokens",
        "service_tier",
    }
)
