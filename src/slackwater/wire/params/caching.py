"""Cache breakpoints: at most four, longer lifetimes first (contract §10)."""

from collections.abc import Iterable
from typing import Any

from slackwater.wire.params.failure import ParamsError

BREAKPOINTS_MAX = 4
_ORDER = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
_NESTED = frozenset({"tool_result", "document", "search_result"})

Marked = tuple[str, dict[str, Any]]
"""Path of a block that carries a breakpoint, and its `cache_control`."""


def check_breakpoints(body: dict[str, Any], *, in_messages: bool) -> None:
    """Raise `ParamsError` for too many breakpoints, or a one-hour one after a five-minute one.

    `in_messages` tells whether any block of the messages may carry one; if not, they are not walked.
    """
    marked = _marked(body, in_messages=in_messages)
    if not marked and "cache_control" not in body:
        return
    _add_automatic(body, marked)
    if len(marked) > BREAKPOINTS_MAX:
        message = f"A maximum of {BREAKPOINTS_MAX} blocks with cache_control may be provided. Found {len(marked)}."
        raise ParamsError(message)
    short_seen = False
    for path, control in marked:
        if _ttl(control) == "5m":
            short_seen = True
        elif short_seen:
            where = path if path == "cache_control" else f"{path}.cache_control"
            message = f"{where}.ttl: {_ORDER}"
            raise ParamsError(message)


def _add_automatic(body: dict[str, Any], marked: list[Marked]) -> None:
    """Count the top-level breakpoint, unless the last block has the same one already (contract §10)."""
    automatic = body.get("cache_control")
    if automatic is None:
        return
    last = _last_block(body)
    explicit = last.get("cache_control") if last is not None else None
    if explicit is None:
        marked.append(("cache_control", automatic))
    elif _ttl(explicit) != _ttl(automatic):
        message = "cache_control.ttl: the last block already has a cache_control block with a different ttl"
        raise ParamsError(message)


def _ttl(control: dict[str, Any]) -> str:
    ttl: str = control.get("ttl", "5m")
    return ttl


def _marked(body: dict[str, Any], *, in_messages: bool) -> list[Marked]:
    """Every explicit breakpoint, in the order in which the prompt is laid out."""
    marked: list[Marked] = []
    _gather("tools", body.get("tools", ()), marked)
    system = body.get("system")
    if type(system) is list:
        _gather("system", system, marked)
    if in_messages:
        for index, message in enumerate(body["messages"]):
            content = message["content"]
            if type(content) is list:
                _gather(f"messages.{index}.content", content, marked)
    return marked


def _gather(path: str, blocks: Iterable[dict[str, Any]], marked: list[Marked]) -> None:
    for index, block in enumerate(blocks):
        if block.get("type") in _NESTED:
            _gather(f"{path}.{index}.content", _inside(block), marked)
        control = block.get("cache_control")
        if control is not None:
            marked.append((f"{path}.{index}", control))


def _inside(block: dict[str, Any]) -> list[dict[str, Any]]:
    """List the blocks inside a block: a tool's result, a search result, a document made of blocks."""
    inside = block["source"].get("content") if block["type"] == "document" else block.get("content")
    return inside if type(inside) is list else []


def _last_block(body: dict[str, Any]) -> dict[str, Any] | None:
    content = body["messages"][-1]["content"]
    if type(content) is list and content:
        block: dict[str, Any] = content[-1]
        return block
    return None
