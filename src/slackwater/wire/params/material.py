"""What blocks carry: encoded images and PDFs, citations, and what a newer API version refuses (contract §1.2, §12)."""

import binascii
from collections.abc import Iterator
from typing import Any

from slackwater.wire.params.failure import ParamsError

BASE64_SAMPLE_CHARACTERS = 4096
"""How much of each end of encoded data is decoded: cutting and wrong encoders show there, and 32 MB cost nothing."""

CARRIERS = frozenset({"image", "document", "search_result"})
"""Blocks that carry more than words."""

_HOLDERS = CARRIERS | {"tool_result"}

Block = dict[str, Any]
Placed = tuple[str, Block]
"""The path of a block, and the block."""


def check_material(body: dict[str, Any]) -> None:
    """Raise `ParamsError` for data that is not base64, or citations that not everybody can give."""
    cited: set[bool] = set()
    searched = False
    for path, block in _carriers(body["messages"]):
        kind = block["type"]
        if kind in {"image", "document"}:
            source = block["source"]
            if source["type"] == "base64":
                _check_base64(f"{path}.{kind}.source.base64.data", source["data"])
        enabled = bool((block.get("citations") or {}).get("enabled"))
        if kind == "document":
            cited.add(enabled)
        searched = searched or (kind == "search_result" and enabled)
    if len(cited) > 1:
        message = "messages: citations must be enabled on all documents of a request or on none"
        raise ParamsError(message)
    if (searched or True in cited) and _structured(body):
        message = "output_config.format: structured outputs cannot be combined with citations"
        raise ParamsError(message)


def check_newer_version(messages: list[dict[str, Any]]) -> None:
    """Raise `ParamsError` for what `2026-10-21` no longer takes (contract §1.2)."""
    for index, message in enumerate(messages):
        content = message["content"]
        if type(content) is str:
            continue
        if message["role"] == "assistant":
            for position, block in enumerate(content):
                if block["type"] == "document":
                    failure = f"messages.{index}.content.{position}: `document` blocks can only be in `user` messages"
                    raise ParamsError(failure)
        else:
            _check_uncited(f"messages.{index}.content", content)


def _check_uncited(path: str, blocks: list[Block]) -> None:
    for position, block in enumerate(blocks):
        kind = block["type"]
        if kind == "text":
            if block.get("citations"):
                message = f"{path}.{position}.text.citations: citations are not permitted on text blocks of a user turn"
                raise ParamsError(message)
        elif kind in {"search_result", "tool_result"} and type(block.get("content")) is list:
            _check_uncited(f"{path}.{position}.{kind}.content", block["content"])


def _structured(body: dict[str, Any]) -> bool:
    return bool(body.get("output_format") or body.get("output_config", {}).get("format"))


def _carriers(messages: list[dict[str, Any]]) -> Iterator[Placed]:
    for index, message in enumerate(messages):
        content = message["content"]
        if type(content) is list:
            for position, block in enumerate(content):
                if block["type"] in _HOLDERS:
                    yield from _inside(f"messages.{index}.content.{position}", block)


def _inside(path: str, block: Block) -> Iterator[Placed]:
    """Yield the block, and the carriers inside it."""
    yield path, block
    kind = block["type"]
    if kind == "tool_result":
        inner, inner_path = block.get("content"), f"{path}.tool_result.content"
    elif kind == "document" and block["source"]["type"] == "content":
        inner, inner_path = block["source"]["content"], f"{path}.document.source.content.content"
    else:
        return
    if type(inner) is list:
        for position, below in enumerate(inner):
            if below["type"] in _HOLDERS:
                yield from _inside(f"{inner_path}.{position}", below)


def _check_base64(path: str, data: str) -> None:
    """Check the length, the alphabet's width and both ends; a full decode is the business of whoever reads the data."""
    sound = bool(data) and data.isascii() and len(data) % 4 == 0 and "\n" not in data
    if sound:
        head, tail = data[:BASE64_SAMPLE_CHARACTERS], data[-BASE64_SAMPLE_CHARACTERS:]
        try:
            binascii.a2b_base64(head, strict_mode=True)
            binascii.a2b_base64(tail, strict_mode=True)
        except binascii.Error:
            sound = False
    if not sound:
        message = f"{path}: Invalid base64 data"
        raise ParamsError(message)
