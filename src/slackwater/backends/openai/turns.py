"""Turns of a conversation as chat messages, tool calls and their results included."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from slackwater.backends.openai.blocks import (
    BETWEEN_BLOCKS,
    BlockReader,
    Part,
    as_content,
    joined,
    text_part,
    unsupported,
)
from slackwater.backends.openai.options import Options

Message = dict[str, Any]

_COMBINED = frozenset({"user", "assistant"})
_DROPPED = frozenset({"redacted_thinking"})
"""Encrypted by and for another server: nobody else can read it."""


def chat_messages(params: Mapping[str, Any], options: Options) -> list[Message]:
    """Return the system prompt and every turn. Raises InvalidRequestError naming what cannot be said."""
    reader = BlockReader(pass_urls=options.pass_urls, vision=options.vision)
    messages: list[Message] = []
    system = reader.text(params.get("system"), "system")
    if system:
        messages.append({"role": "system", "content": system})
    for index, turn in enumerate(params["messages"]):
        path = f"messages.{index}.content"
        for message in _turn(turn, path, reader, options):
            if messages and messages[-1]["role"] == message["role"] and message["role"] in _COMBINED:
                messages[-1] = _combined(messages[-1], message)
            else:
                messages.append(message)
    return messages


def _turn(turn: Mapping[str, Any], path: str, reader: BlockReader, options: Options) -> list[Message]:
    match turn["role"]:
        case "assistant":
            return [_assistant(turn["content"], path, options)]
        case "system":
            return [{"role": "system", "content": reader.text(turn["content"], path)}]
        case _:
            return _user(turn["content"], path, reader, options)


def _combined(first: Message, second: Message) -> Message:
    """Make one turn of two by the same speaker, as the API does: many chat templates insist on taking turns."""
    shared = first.keys() & second.keys() - {"role"}
    return first | second | {key: _both(first[key], second[key]) for key in shared}


def _both(first: Any, second: Any) -> Any:  # noqa: ANN401  # text, parts, calls or nothing
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}{BETWEEN_BLOCKS}{second}"
    return [*_as_list(first), *_as_list(second)]


def _as_list(content: Any) -> list[Any]:  # noqa: ANN401
    return [text_part(content)] if isinstance(content, str) else content


def _assistant(content: Any, path: str, options: Options) -> Message:  # noqa: ANN401  # a string or a list of blocks
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    kept: dict[str, list[Mapping[str, Any]]] = {"text": [], "thinking": [], "tool_use": []}
    for index, block in enumerate(content):
        kind = block.get("type")
        if kind in kept:
            kept[kind].append(block)
        elif kind not in _DROPPED:
            raise unsupported(f"{path}.{index}.{kind}")
    text = "".join(block["text"] for block in kept["text"])
    calls = [_call(block, options) for block in kept["tool_use"]]
    message: Message = {"role": "assistant", "content": text if text or not calls else None}
    if kept["thinking"] and options.history_field:
        message[options.history_field] = "".join(block["thinking"] for block in kept["thinking"])
    if calls:
        message["tool_calls"] = calls
    return message


def _call_id(given: str, options: Options) -> str:
    return sha256(given.encode()).hexdigest()[:9] if options.short_ids else given


def _call(block: Mapping[str, Any], options: Options) -> dict[str, Any]:
    arguments = msgspec.json.encode(block["input"]).decode()
    call_id = _call_id(block["id"], options)
    return {"id": call_id, "type": "function", "function": {"name": block["name"], "arguments": arguments}}


def _user(content: Any, path: str, reader: BlockReader, options: Options) -> list[Message]:  # noqa: ANN401  # likewise
    """Return tool results first, since they must follow the calls at once, then one user message with the rest."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[Message] = []
    moved: list[Part] = []
    rest: list[Part] = []
    for index, block in enumerate(content):
        if block.get("type") == "tool_result":
            result, images = _result(block, f"{path}.{index}.tool_result.content", reader)
            results.append(result | {"tool_call_id": _call_id(block["tool_use_id"], options)})
            moved.extend(images)
        else:
            # One block at a time, so that the path names its place in the whole turn.
            rest.extend(reader.block_parts(block, f"{path}.{index}"))
    parts = [*moved, *rest]
    return [*results, {"role": "user", "content": as_content(parts)}] if parts or not results else results


def _result(block: Mapping[str, Any], path: str, reader: BlockReader) -> tuple[Message, list[Part]]:
    """Return the tool's message, and its images with a line that says whose they are: tool messages carry only text."""
    parts = reader.parts(block.get("content"), path)
    images = [part for part in parts if part["type"] != "text"]
    text = joined(parts)
    if block.get("is_error"):
        text = f"Error: {text}"
    name = block["tool_use_id"]
    if images:
        text = text or "The result is the image in the next message."
        images = [text_part(f"Image in the result of tool call {name}:"), *images]
    return {"role": "tool", "tool_call_id": name, "content": text}, images
