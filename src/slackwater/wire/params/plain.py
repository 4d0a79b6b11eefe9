"""The usual body, told by its shape alone: words, a few numbers, and nothing that any rule has more to say about.

What is plain keeps every rule, so that nothing else has to look at it; what is not plain may keep them too, and only a
full check can tell. Whoever needs the values decodes them; a server of the same protocol gets the body written anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from slackwater.wire.params.caching import BREAKPOINTS_MAX
from slackwater.wire.params.decode import INERT_BYTES_MAX, decode_object

_Words = Annotated[str, Meta(min_length=1)]
_Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]


class _Breakpoint(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["ephemeral"]


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: _Words


class _Instruction(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: _Words
    cache_control: _Breakpoint | UnsetType | None = UNSET


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["user", "assistant"]
    content: _Words | Annotated[list[_Text], Meta(min_length=1)]


class _Plain(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    max_tokens: Annotated[int, Meta(ge=1, le=2**53)]
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=1_000)]
    system: str | Annotated[list[_Instruction], Meta(max_length=BREAKPOINTS_MAX)] | UnsetType = UNSET
    stop_sequences: list[_Words] | UnsetType = UNSET
    temperature: _Share | UnsetType = UNSET
    top_p: _Share | UnsetType = UNSET
    stream: bool = False
    """Left out where it is false: nobody streams unless asked."""


_DECODER = msgspec.json.Decoder(_Plain)
_ENCODER = msgspec.json.Encoder()


class Plain(Mapping[str, Any]):
    """A plain body, its values decoded when somebody first asks for them."""

    __slots__ = ("_body", "_raw", "_values")

    def __init__(self, body: _Plain, raw: bytes) -> None:
        self._body = body
        self._raw = raw
        self._values: dict[str, Any] | None = None

    @property
    def model(self) -> str:
        """The name the client asks for."""
        return self._body.model

    @property
    def max_tokens(self) -> int:
        """Output tokens at most."""
        return self._body.max_tokens

    @property
    def samples(self) -> bool:
        """Whether it says how to sample."""
        return self._body.temperature is not UNSET or self._body.top_p is not UNSET

    def named(self, model: str) -> bytes:
        """Return the whole body as JSON, for a model of this name."""
        body = self._body
        if model != body.model:
            body = msgspec.structs.replace(body, model=model)
        return _ENCODER.encode(body)

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401  # JSON is any value
        """Return a value of the body."""
        return self._body.model if key == "model" else self._decoded()[key]

    def __iter__(self) -> Iterator[str]:
        """Go through its keys."""
        return iter(self._decoded())

    def __len__(self) -> int:
        """Count them."""
        return len(self._decoded())

    def _decoded(self) -> dict[str, Any]:
        if self._values is None:
            self._values = decode_object(self._raw)
        return self._values


def plain(raw: bytes) -> Plain | None:
    """Return a body that is plain; None where only a full check can tell whether it keeps the rules."""
    # the search for one character is far faster than the other
    if len(raw) > INERT_BYTES_MAX or (b"\\" in raw and b"\\u0000" in raw):
        return None
    try:
        body = _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if body.stream or not _is_said(body):
        return None
    return Plain(body, raw)


def _is_said(body: _Plain) -> bool:
    """Tell whether a user begins and ends, and every text has words."""
    messages = body.messages
    if messages[0].role != "user" or messages[-1].role != "user":
        return False
    for message in messages:
        content = message.content
        if content.isspace() if isinstance(content, str) else _is_wordless(content):
            return False
    return not isinstance(body.system, list) or not _is_wordless(body.system)


def _is_wordless(blocks: Iterable[_Text | _Instruction]) -> bool:
    return any(block.text.isspace() for block in blocks)
