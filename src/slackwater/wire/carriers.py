"""Blocks that carry more than words: where they stand in a Messages body, and a body with others in their place."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slackwater.domain.document import DocumentError
from slackwater.domain.errors import InvalidRequestError

Block = dict[str, Any]

MATERIAL = frozenset({"image", "document", "search_result", "container_upload"})
"""Types of blocks that carry more than words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Carrier:
    """A block and where it stands."""

    block: Block
    path: str
    """JSON path of the block with its type, such as `messages.0.content.1.document`."""

    @property
    def kind(self) -> str:
        """The block's type: image, document, search_result or container_upload."""
        return str(self.block["type"])

    @property
    def source(self) -> dict[str, Any]:
        """What an image or a document is made of."""
        source: dict[str, Any] = self.block["source"]
        return source

    @property
    def source_path(self) -> str:
        """JSON path of the source with its type."""
        return f"{self.path}.source.{self.source['type']}"

    @property
    def source_type(self) -> str:
        """What kind of source it has; none where a search result names a place of its own."""
        source = self.block.get("source")
        return source["type"] if isinstance(source, dict) else ""

    @property
    def file_id(self) -> str | None:
        """The file that it is made of, if it is one."""
        return self.source["file_id"] if self.source_type == "file" else None

    @property
    def encoded(self) -> str:
        """The base64 that came with the request, if it did."""
        return self.source["data"] if self.source_type == "base64" else ""

    @property
    def cited(self) -> bool:
        """Whether answers are to say where in it their words come from."""
        return bool((self.block.get("citations") or {}).get("enabled"))

    def refused(self, error: DocumentError) -> InvalidRequestError:
        """Return what the client is told about its source (contract §2.3)."""
        details = error.details
        if error.error_code is not None:
            details = {**(details or {}), "paths": [self.source_path]}
        return InvalidRequestError(
            f"{self.source_path}: {error.reason}",
            error_code=error.error_code,
            details=details,
            retry_after_seconds=error.retry_after_seconds,
            should_retry=None if error.retry_after_seconds is None else True,
        )


def carriers(params: Mapping[str, Any]) -> list[Carrier]:
    """Return them in the order in which they are read, those inside tool results and documents included."""
    found: list[Carrier] = []
    for index, message in enumerate(params.get("messages") or ()):
        content = message["content"]
        if type(content) is not str:
            for number, block in enumerate(content):
                kind = block["type"]
                if kind in MATERIAL or kind == "tool_result":
                    found.extend(_inside(f"messages.{index}.content.{number}", block))
    return found


def _inside(path: str, block: Block) -> Iterator[Carrier]:
    kind = block["type"]
    here = f"{path}.{kind}"
    if kind in MATERIAL:
        yield Carrier(block=block, path=here)
    if kind == "tool_result":
        inner, below = block.get("content"), f"{here}.content"
    elif kind == "document" and block["source"]["type"] == "content":
        inner, below = block["source"]["content"], f"{here}.source.content.content"
    else:
        return
    if type(inner) is list:
        for number, part in enumerate(inner):
            if part["type"] in MATERIAL:
                yield from _inside(f"{below}.{number}", part)


def replaced(params: Mapping[str, Any], new: Mapping[int, list[Block]]) -> dict[str, Any]:
    """Return a body with other blocks in place of some, named by `id`; everything else is shared with the old one."""
    return {
        **params,
        "messages": [_message(message, lambda block: new.get(id(block))) for message in params["messages"]],
    }


def _message(message: Mapping[str, Any], change: Callable[[Block], list[Block] | None]) -> Mapping[str, Any]:
    content = message["content"]
    if type(content) is str:
        return message
    changed = _blocks(content, change)
    return message if changed is content else {**message, "content": changed}


def _blocks(content: list[Block], change: Callable[[Block], list[Block] | None]) -> list[Block]:
    out: list[Block] = []
    same = True
    for block in content:
        put = [_deeper(one, change) for one in change(block) or (block,)]
        same = same and len(put) == 1 and put[0] is block
        out += put
    return content if same else out


def _deeper(block: Block, change: Callable[[Block], list[Block] | None]) -> Block:
    kind = block["type"]
    if kind == "tool_result" and type(block.get("content")) is list:
        inner = _blocks(block["content"], change)
        return block if inner is block["content"] else {**block, "content": inner}
    if kind == "document" and type(block["source"].get("content")) is list:
        source = block["source"]
        inner = _blocks(source["content"], change)
        return block if inner is source["content"] else {**block, "source": {**source, "content": inner}}
    return block
