"""Content blocks as parts of a chat message: text, images as data URLs, documents and search results as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slackwater.backends.enclosed import BETWEEN_BLOCKS, Part, enclosed, joined, text_part
from slackwater.backends.sources import check_source
from slackwater.domain.errors import InvalidRequestError

__all__ = ["BETWEEN_BLOCKS", "BlockReader", "Part", "as_content", "joined", "text_part", "unsupported"]

Block = Mapping[str, Any]


def unsupported(path: str) -> InvalidRequestError:
    """Make the refusal of something the backend cannot honour, named by its JSON path."""
    return InvalidRequestError(f"{path}: not supported by this backend")


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockReader:
    """Turns blocks of one kind of message into parts. Raises InvalidRequestError naming what cannot be said."""

    pass_urls: bool
    vision: bool | None = None

    def parts(self, content: Any, path: str) -> list[Part]:  # noqa: ANN401  # a string or a list of blocks
        """Return the parts of `content` in order."""
        if isinstance(content, str):
            return [text_part(content)] if content else []
        return [
            part for index, block in enumerate(content or ()) for part in self.block_parts(block, f"{path}.{index}")
        ]

    def text(self, content: Any, path: str) -> str:  # noqa: ANN401  # likewise
        """Return content that must be text alone."""
        parts = self.parts(content, path)
        if any(part["type"] != "text" for part in parts):
            raise unsupported(f"{path}.image")
        return joined(parts)

    def block_parts(self, block: Block, path: str) -> list[Part]:
        """Return the parts of one block."""
        match block.get("type"):
            case "text":
                return [text_part(block["text"])]
            case "image":
                return [self._image(block, path)]
            case "document":
                return self._document(block, path)
            case "search_result":
                return self._search_result(block, path)
            case kind:
                raise unsupported(f"{path}.{kind}")

    def _image(self, block: Block, path: str) -> Part:
        check_source(block, path, pass_urls=self.pass_urls)
        if self.vision is False:
            message = f"{path}.image: this model cannot see images"
            raise InvalidRequestError(message)
        source = block["source"]
        match source.get("type"):
            case "base64":
                url = f"data:{source['media_type']};base64,{source['data']}"
            case "url":
                url = source["url"]
            case _:
                raise unsupported(f"{path}.image.source")
        return {"type": "image_url", "image_url": {"url": url}}

    def _document(self, block: Block, path: str) -> list[Part]:
        check_source(block, path, pass_urls=False)
        _check_citations(block, f"{path}.document")
        source = block["source"]
        where = f"{path}.document.source"
        match source.get("type"):
            case "text":
                inner = [text_part(source["data"])]
            case "content":
                inner = self.parts(source["content"], f"{where}.content")
            case _:
                message = f"{where}: {source.get('media_type', source.get('type'))} is not supported by this backend"
                raise InvalidRequestError(message)
        return enclosed("document", {"title": block.get("title"), "context": block.get("context")}, inner)

    def _search_result(self, block: Block, path: str) -> list[Part]:
        _check_citations(block, f"{path}.search_result")
        inner = self.parts(block.get("content"), f"{path}.search_result.content")
        return enclosed("search_result", {"title": block.get("title"), "source": block.get("source")}, inner)


def _check_citations(block: Block, path: str) -> None:
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        raise unsupported(f"{path}.citations")


def as_content(parts: list[Part]) -> str | list[Part]:
    """Return plain text where there is only text: every server and every chat template takes that."""
    return joined(parts) if all(part["type"] == "text" for part in parts) else parts
