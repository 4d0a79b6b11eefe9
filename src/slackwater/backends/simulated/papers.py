"""Which documents a request carries, as the witness notes them: the text of each, whichever protocol brought it."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

Json = dict[str, Any]

_BETWEEN_BLOCKS = "\n\n"
_ENCLOSED = re.compile(
    r"<document>\s*(?:<title>.*?</title>\s*)?(?:<context>.*?</context>\s*)?(.*?)\s*</document>", re.DOTALL
)
"""How those who translate write a document for a model that knows only text."""


def documents_in(params: Mapping[str, Any]) -> list[Json]:
    """Return characters and digest of every document's text, in order; a binary document has no characters."""
    found: list[Json] = []
    for message in params.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        found += map(_note, _texts(content))
    return found


def _texts(content: Any) -> Iterator[str]:  # noqa: ANN401  # whatever arrived
    if isinstance(content, str):
        yield from _enclosed(content)
        return
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    for block in blocks:
        if block.get("type") == "document":
            yield _text_of(block.get("source"))
        elif block.get("type") == "tool_result":
            yield from _texts(block.get("content"))
    yield from _enclosed(_joined(blocks))


def _enclosed(text: str) -> Iterator[str]:
    if "</document>" in text:
        yield from (match.group(1) for match in _ENCLOSED.finditer(text))


def _text_of(source: Any) -> str:  # noqa: ANN401
    if not isinstance(source, dict):
        return ""
    inner = source.get("data" if source.get("type") == "text" else "content")
    if isinstance(inner, list):
        return _joined([block for block in inner if isinstance(block, dict)])
    return inner if isinstance(inner, str) else ""


def _joined(blocks: list[Json]) -> str:
    return _BETWEEN_BLOCKS.join(
        str(block["text"]) for block in blocks if block.get("type") == "text" and "text" in block
    )


def _note(text: str) -> Json:
    text = text.strip()
    return {"characters": len(text), "sha256": sha256(text.encode(errors="surrogatepass")).hexdigest()}
