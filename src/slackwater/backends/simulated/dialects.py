"""The two protocols that the simulator speaks, each as the functions in which they differ; this module has Messages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from slackwater.backends.simulated.events import events_of
from slackwater.backends.simulated.prompt import Json
from slackwater.domain.errors import WireError
from slackwater.wire.errors import encode_error

encode = msgspec.json.Encoder().encode
"""Writes JSON as bytes."""

Frames = Iterator[tuple[bytes, int]]
"""Server-sent events, each with the output tokens that have to be decoded before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """A protocol."""

    name: str
    params_of: Callable[[Json], Json]
    """The Messages body that a body means. Raises ValueError."""
    whole: Callable[[Json], Json]
    """The answer's body, from a Message."""
    frames: Callable[[Json, Json], Frames]
    """The answer's events, from a Message and the body that asked."""
    error: Callable[[WireError, int, str], bytes]
    """An error's body, from the error, the status and the request id."""
    error_frame: Callable[[bytes], bytes]
    """An error's body as an event of a stream."""
    ping: bytes
    """An event that says nothing."""
    queue_full_status: int


def _same(body: Json) -> Json:
    return body


def _frames(whole: Json, _body: Json) -> Frames:
    for event, tokens in events_of(whole):
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), encode(event)), tokens


def _error(error: WireError, _status: int, request_id: str) -> bytes:
    return encode_error(error, request_id)


MESSAGES = Dialect(
    name="anthropic",
    params_of=_same,
    whole=_same,
    frames=_frames,
    error=_error,
    error_frame=lambda body: b"event: error\ndata: %s\n\n" % body,
    ping=b'event: ping\ndata: {"type":"ping"}\n\n',
    queue_full_status=529,
)
