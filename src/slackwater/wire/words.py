"""What there is to count in a Messages body: its texts, however deep they are, its images, its messages."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_ENCODE = msgspec.json.Encoder().encode
_NO_WORDS = frozenset({"type", "cache_control", "citations", "id", "tool_use_id", "is_error", "signature"})


def texts(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of the prompt: tools as JSON, `system`, messages, titles and texts of documents."""
    for tool in params.get("tools") or ():
        yield _json(tool)
    yield from _texts_in(params.get("system") or "")
    for message in params["messages"]:
        yield from _texts_in(message["content"])


def images(params: Mapping[str, Any]) -> int:
    """Return how many images there are, page images included."""
    return sum(_images_in(message["content"]) for message in params["messages"])


def _texts_in(content: str | list[dict[str, Any]]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content:
        match block["type"]:
            case "text" | "thinking" as kind:
                yield block[kind]
            case "image":
                pass
            case "document":
                yield from (block[key] for key in ("title", "context") if block.get(key))
                source = block["source"]
                yield from _texts_in(source["data"] if source["type"] == "text" else source.get("content") or "")
            case "search_result":
                yield from (block["title"], block["source"])
                yield from _texts_in(block["content"])
            case "tool_result":
                yield from _texts_in(block.get("content") or "")
            case _:
                yield _json(block)


def _images_in(content: str | list[dict[str, Any]]) -> int:
    if isinstance(content, str):
        return 0
    found = 0
    for block in content:
        source = block.get("source")
        inner = source.get("content") if isinstance(source, dict) else block.get("content")
        found += block["type"] == "image"
        found += _images_in(inner) if isinstance(inner, list) else 0
    return found


def _json(block: Mapping[str, Any]) -> str:
    return _ENCODE({key: value for key, value in block.items() if key not in _NO_WORDS}).decode()
