"""Documents and search results between tags, for models that know nothing else: they are used to this form."""

from collections.abc import Iterable, Mapping
from typing import Any

from slackwater.wire.carriers import Carrier, carriers, replaced

Part = dict[str, Any]

BETWEEN_BLOCKS = "\n\n"


def text_part(text: str) -> Part:
    """Make a text part."""
    return {"type": "text", "text": text}


def joined(parts: Iterable[Part]) -> str:
    """Join the text parts; blocks are paragraphs."""
    return BETWEEN_BLOCKS.join(part["text"] for part in parts if part["type"] == "text")


def enclosed(name: str, header: Mapping[str, str | None], inner: list[Part]) -> list[Part]:
    """Put parts between tags, the header's fields first."""
    fields = "".join(f"<{key}>{value}</{key}>\n" for key, value in header.items() if value)
    if all(part["type"] == "text" for part in inner):
        return [text_part(f"<{name}>\n{fields}{joined(inner)}\n</{name}>")]
    return [text_part(f"<{name}>\n{fields}".rstrip()), *inner, text_part(f"</{name}>")]


def without_documents(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Messages body in which documents and search results are text and images.

    Their sources are texts or content by then; a PDF stays as it is, for the server to refuse.
    """
    found = [carrier for carrier in carriers(params) if carrier.kind in {"document", "search_result"}]
    return replaced(params, {id(one.block): _blocks(one) for one in found if _is_text(one)})


def _is_text(carrier: Carrier) -> bool:
    return carrier.kind == "search_result" or carrier.source["type"] in {"text", "content"}


def _blocks(carrier: Carrier) -> list[Part]:
    block = carrier.block
    if carrier.kind == "search_result":
        blocks = enclosed("search_result", {"title": block["title"], "source": block["source"]}, block["content"])
    else:
        header = {"title": block.get("title"), "context": block.get("context")}
        blocks = enclosed("document", header, _inner(carrier.source))
    if block.get("cache_control"):
        blocks[-1] = {**blocks[-1], "cache_control": block["cache_control"]}
    return blocks


def _inner(source: Mapping[str, Any]) -> list[Part]:
    content = source["data"] if source["type"] == "text" else source["content"]
    return [text_part(content)] if isinstance(content, str) else content
