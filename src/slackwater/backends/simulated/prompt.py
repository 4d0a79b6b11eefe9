"""Reads a Messages body the way an engine would: rendered to one run of bytes, tools first, then system, then messages.

A token is four bytes of that run, whatever they are. An image counts as 256 tokens and a binary document as its bytes,
at most 4,096 tokens; both are rendered as their digest, so that the same picture is the same prefix.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

TOKEN_BYTES = 4
_IMAGE_TOKENS = 256
_BINARY_TOKENS_MAX = 4_096
_TOOL_RESULT_SHOWN = 200
_ENCODE = msgspec.json.Encoder(order="deterministic").encode
_NOT_PART_OF_THE_QUESTION = frozenset({"model", "stream", "stream_options"})

Json = dict[str, Any]


def tokens_in(byte_count: int) -> int:
    """Return the estimate of tokens in so many bytes."""
    return -(-byte_count // TOKEN_BYTES)


def digest_of(params: Mapping[str, Any]) -> str:
    """Return 16 hex digits that name the question: SHA-256 over sorted JSON without model and stream."""
    question = {key: value for key, value in params.items() if key not in _NOT_PART_OF_THE_QUESTION}
    return sha256(_ENCODE(question)).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A `cache_control` breakpoint (contract §10)."""

    end_bytes: int
    """How much of the rendered prompt lies before it."""
    one_hour: bool
    """Whether its `ttl` is 1h rather than 5m."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A Messages body, read."""

    rendered: bytes
    marks: tuple[Mark, ...]
    """Ascending."""
    last_user_text: str
    """Text blocks of the last user message; empty when it has none, as with tool results alone."""
    seen: tuple[str, ...]
    """One note for each image, document and tool result."""

    @property
    def tokens(self) -> int:
        """Return the estimate of input tokens."""
        return tokens_in(len(self.rendered))


def read_prompt(params: Mapping[str, Any]) -> Prompt:
    """Read a Messages body. Raises ValueError where it cannot be made sense of."""
    messages = params.get("messages")
    if not isinstance(messages, list) or not messages:
        msg = "messages: Field required"
        raise ValueError(msg)
    reader = _Reader()
    try:
        for tool in params.get("tools") or ():
            reader.tool(tool)
        if params.get("system"):
            reader.content(params["system"])
        for message in messages:
            reader.message(message)
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"messages: the simulator cannot read this ({error})"
        raise ValueError(msg) from error
    if params.get("cache_control"):
        reader.mark(params)
    return Prompt(
        rendered=b"".join(reader.parts),
        marks=tuple(reader.marks),
        last_user_text=_last_user_text(messages),
        seen=tuple(reader.seen),
    )


def _last_user_text(messages: list[Json]) -> str:
    content = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


@dataclass(slots=True)
class _Reader:
    """Renders block after block and notes what stands out."""

    parts: list[bytes] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)

    def mark(self, block: Mapping[str, Any]) -> None:
        control = block.get("cache_control")
        if control and not (self.marks and self.marks[-1].end_bytes == self.size):
            self.marks.append(Mark(end_bytes=self.size, one_hour=control.get("ttl") == "1h"))

    def tool(self, tool: Json) -> None:
        self.add(_ENCODE({key: value for key, value in tool.items() if key != "cache_control"}))
        self.mark(tool)

    def message(self, message: Json) -> None:
        self.add(f"\n{message['role']}: ".encode())
        self.content(message["content"])

    def content(self, content: str | list[Json]) -> None:
        if isinstance(content, str):
            self.add(content.encode(errors="surrogatepass"))
            return
        for block in content:
            _RENDERERS.get(block["type"], _render_other)(self, block)
            self.mark(block)


def _render_text(reader: _Reader, block: Json) -> None:
    reader.add(block["text"].encode(errors="surrogatepass"))


def _render_thinking(reader: _Reader, block: Json) -> None:
    reader.add(block["thinking"].encode(errors="surrogatepass"))


def _render_image(reader: _Reader, block: Json) -> None:
    source = block["source"]
    if source["type"] == "base64":
        reader.seen.append(f"[{source['media_type']} {_decoded_bytes(source['data'])} bytes]")
        name = source["data"]
    else:
        name = source.get("url") or source.get("file_id") or ""
        reader.seen.append(f"[image {source['type']} {name}]")
    reader.add(_stand_in(name, _IMAGE_TOKENS))


def _render_document(reader: _Reader, block: Json) -> None:
    source = block["source"]
    kind = source["type"]
    if kind == "text":
        text = source["data"]
        reader.seen.append(f"[document text {len(text)} characters {_short(text)}]")
        reader.add(text.encode(errors="surrogatepass"))
    elif kind == "base64":
        size = _decoded_bytes(source["data"])
        reader.seen.append(f"[{source['media_type']} {size} bytes {_short(source['data'])}]")
        reader.add(_stand_in(source["data"], min(tokens_in(size), _BINARY_TOKENS_MAX)))
    elif kind == "content":
        reader.seen.append("[document content]")
        reader.content(source["content"])
    else:
        name = source.get("url") or source.get("file_id") or ""
        reader.seen.append(f"[document {kind} {name}]")
        reader.add(_stand_in(name, _IMAGE_TOKENS))


def _render_tool_use(reader: _Reader, block: Json) -> None:
    reader.add(block["name"].encode() + _ENCODE(block["input"]))


def _render_tool_result(reader: _Reader, block: Json) -> None:
    content = block.get("content") or ""
    start = len(reader.parts)
    reader.content(content)
    text = b"".join(reader.parts[start:]).decode(errors="replace")[:_TOOL_RESULT_SHOWN]
    failed = " error" if block.get("is_error") else ""
    reader.seen.append(f"[tool_result {block['tool_use_id']}{failed}: {text}]")


def _render_other(reader: _Reader, block: Json) -> None:
    reader.add(_ENCODE({key: value for key, value in block.items() if key != "cache_control"}))


_RENDERERS: dict[str, Callable[[_Reader, Json], None]] = {
    "text": _render_text,
    "thinking": _render_thinking,
    "image": _render_image,
    "document": _render_document,
    "tool_use": _render_tool_use,
    "tool_result": _render_tool_result,
}


def _decoded_bytes(base64_text: str) -> int:
    return len(base64_text) * 3 // 4 - base64_text[-2:].count("=")


def _short(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def _stand_in(name: str, tokens: int) -> bytes:
    run = sha256(name.encode(errors="surrogatepass")).hexdigest().encode()
    return (run * (tokens * TOKEN_BYTES // len(run) + 1))[: tokens * TOKEN_BYTES]
