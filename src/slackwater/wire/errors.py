"""The error envelope (contract §2.1); `type` is the first key everywhere, a published reader needs that (§4.6)."""

from typing import Any

import msgspec

from slackwater.domain.errors import WireError


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """The inner error. Key order: type, message, details."""

    type: str
    message: str
    details: dict[str, Any] | None = None


class ErrorEnvelope(msgspec.Struct, tag_field="type", tag="error"):
    """What every failing response and every errored result line carries."""

    error: ErrorBody
    request_id: str | None


_ENCODER = msgspec.json.Encoder()


def envelope(error: WireError, request_id: str | None) -> ErrorEnvelope:
    """Wrap a typed error."""
    return ErrorEnvelope(error=ErrorBody(error.type, error.message, error.details), request_id=request_id)


def encode_error(error: WireError, request_id: str | None) -> bytes:
    """Write the envelope as JSON."""
    return _ENCODER.encode(envelope(error, request_id))
