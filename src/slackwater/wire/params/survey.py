"""One look over a body of known shape, which tells what the rules have to look at more closely.

Most bodies carry no documents, no citations and no odd numbers; finding that out once lets each rule be skipped
instead of walking the conversation again.
"""

from typing import Any

import msgspec

Block = dict[str, Any]

_BOUNDED = frozenset({"text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_result"})
"""Blocks whose shape leaves no room for a value that nothing has checked."""
_PLAIN = frozenset({"messages", "system", "model", "max_tokens", "stream"})
"""Fields of the body of which the same holds."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What stands somewhere in a body."""

    kinds: frozenset[str]
    """The `type` of every block of the messages, those inside tool results included."""
    keys: frozenset[str]
    """Every field name of those blocks."""
    unchecked: list[Any]
    """Values that hold any JSON, such as a tool's input: the shape says nothing about their inside."""


def survey(body: dict[str, Any]) -> Survey:
    """Look over a body whose shape has been checked."""
    lists = [message["content"] for message in body["messages"] if type(message["content"]) is list]
    blocks: list[Block] = [block for content in lists for block in content]
    for block in blocks[:]:
        if block["type"] == "tool_result" and type(block.get("content")) is list:
            blocks += block["content"]
    kinds = frozenset([block["type"] for block in blocks])
    unchecked: list[Any] = [value for key, value in body.items() if key not in _PLAIN]
    if not kinds <= _BOUNDED:
        # a tool_use is nearly always its input alone, so the walk can begin one level further down
        unchecked += [
            block["input"] if block["type"] == "tool_use" and "caller" not in block else block
            for block in blocks
            if block["type"] not in _BOUNDED
        ]
    return Survey(kinds=kinds, keys=frozenset().union(*blocks), unchecked=unchecked)
