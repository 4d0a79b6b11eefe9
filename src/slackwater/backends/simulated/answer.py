"""Composes the answer: a function of the request alone, so that the same question always has the same answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from slackwater.backends.simulated.cache import InputUsage
from slackwater.backends.simulated.faults import Directives
from slackwater.backends.simulated.prompt import TOKEN_BYTES, Json, Prompt, tokens_in
from slackwater.backends.simulated.schema import instance_of

_ECHOED_CHARACTERS_MAX = 2_000
_USE_TOOL = re.compile(r"\buse tool ([A-Za-z0-9_-]{1,128})")
_ENCODE = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the simulated model says."""

    content: tuple[Json, ...]
    """Messages content blocks."""
    stop_reason: str
    stop_sequence: str | None
    output_tokens: int
    thinking_tokens: int
    """The part of `output_tokens` spent on thinking."""


def compose(params: Mapping[str, Any], prompt: Prompt, digest: str, orders: Directives) -> Answer:
    """Return the answer to a Messages body. Raises ValueError when its output schema cannot be satisfied."""
    tokens_left = _max_tokens(params)
    thinking = _cut(f"Simulated thinking about {digest}.", tokens_left) if _thinks(params) else ""
    thinking_tokens = tokens_in(len(thinking))
    tokens_left -= thinking_tokens
    text, stop_sequence = _until_stop(_text(params, prompt, digest, orders), params.get("stop_sequences") or ())
    tool = None if orders.text is not None or stop_sequence is not None else _tool_use(params, prompt, digest)
    said = _cut(text, tokens_left)
    cut = len(said) < len(text)
    text_tokens = tokens_in(len(said.encode(errors="surrogatepass")))
    tool_tokens = tokens_in(len(_ENCODE(tool["input"]))) if tool else 0
    if tool_tokens > tokens_left - text_tokens:
        tool, tool_tokens, cut = None, 0, True
    content: list[Json] = []
    if thinking:
        content.append({"type": "thinking", "thinking": thinking, "signature": f"simulated{digest}"})
    if said or not cut:
        content.append({"type": "text", "text": said})
    if tool:
        content.append(tool)
    return Answer(
        content=tuple(content),
        stop_reason=orders.stop_reason or _stop_reason(cut=cut, stopped=stop_sequence is not None, tool=bool(tool)),
        stop_sequence=None if cut else stop_sequence,
        output_tokens=thinking_tokens + text_tokens + tool_tokens,
        thinking_tokens=thinking_tokens,
    )


def message(answer: Answer, usage: InputUsage, *, message_id: str, model: str) -> Json:
    """Return the Message object (contract §7)."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(answer.content),
        "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence,
        "usage": {
            "input_tokens": usage.uncached,
            "cache_creation_input_tokens": usage.created_5m + usage.created_1h,
            "cache_read_input_tokens": usage.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.created_5m,
                "ephemeral_1h_input_tokens": usage.created_1h,
            },
            "output_tokens": answer.output_tokens,
            "service_tier": "standard",
        },
    }


def _max_tokens(params: Mapping[str, Any]) -> int:
    wanted = params.get("max_tokens")
    if wanted is None:
        return 1 << 30
    if not isinstance(wanted, int) or wanted < 0:
        msg = "max_tokens: Input should be a valid integer"
        raise ValueError(msg)
    return wanted


def _thinks(params: Mapping[str, Any]) -> bool:
    return (params.get("thinking") or {}).get("type") in {"enabled", "adaptive"}


def _text(params: Mapping[str, Any], prompt: Prompt, digest: str, orders: Directives) -> str:
    schema = _schema(params)
    if orders.text is not None:
        text = orders.text
    elif schema is not None:
        text = _ENCODE(instance_of(schema, f"simulated {digest}")).decode()
    else:
        echo = prompt.last_user_text
        if len(echo) > _ECHOED_CHARACTERS_MAX:
            echo = "…" + echo[-_ECHOED_CHARACTERS_MAX:]
        text = " ".join(part for part in (f"[simulated {digest}]", *prompt.seen, echo) if part)
    if orders.output_tokens is None:
        return text
    missing = orders.output_tokens - tokens_in(len(text.encode(errors="surrogatepass")))
    return text + " sim" * missing if missing >= 0 else _cut(text, orders.output_tokens)


def _schema(params: Mapping[str, Any]) -> Json | bool | None:
    wanted = (params.get("output_config") or {}).get("format") or params.get("output_format") or {}
    return wanted.get("schema") if wanted.get("type") == "json_schema" else None


def _until_stop(text: str, stop_sequences: list[str] | tuple[str, ...]) -> tuple[str, str | None]:
    found = [(text.find(stop), stop) for stop in stop_sequences if stop and stop in text]
    if not found:
        return text, None
    end, stop = min(found)
    return text[:end], stop


def _cut(text: str, tokens: int) -> str:
    size = max(tokens, 0) * TOKEN_BYTES
    if len(text) * TOKEN_BYTES <= size:
        return text
    data = text.encode(errors="surrogatepass")
    return text if len(data) <= size else data[:size].decode(errors="ignore")


def _tool_use(params: Mapping[str, Any], prompt: Prompt, digest: str) -> Json | None:
    tools = {tool["name"]: tool for tool in params.get("tools") or () if "name" in tool}
    choice = params.get("tool_choice") or {"type": "auto"}
    name: str | None = None
    if choice["type"] == "tool":
        name = choice["name"]
    elif choice["type"] == "any":
        name = next(iter(tools), None)
    elif choice["type"] == "auto" and (asked := _USE_TOOL.search(prompt.last_user_text)):
        name = asked.group(1)
    if name not in tools:
        return None
    schema = tools[name].get("input_schema") or {"type": "object"}
    value = instance_of(schema, f"simulated {digest}")
    return {"type": "tool_use", "id": f"toolu_sim{digest}", "name": name, "input": value}


def _stop_reason(*, cut: bool, stopped: bool, tool: bool) -> str:
    if cut:
        return "max_tokens"
    if tool:
        return "tool_use"
    return "stop_sequence" if stopped else "end_turn"
