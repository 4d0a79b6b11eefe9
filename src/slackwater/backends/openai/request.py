"""A Messages request as a chat completions request: what cannot be said there is refused, never dropped in silence."""

from collections.abc import Callable, Mapping
from typing import Any

from slackwater.backends.openai.blocks import unsupported
from slackwater.backends.openai.control import broken_up
from slackwater.backends.openai.options import Options
from slackwater.backends.openai.tools import tool_fields
from slackwater.backends.openai.turns import chat_messages

_TRANSLATED = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "metadata",
        "output_config",
        "output_format",
    }
)
_WITHOUT_EFFECT = frozenset({"stream", "cache_control", "service_tier", "diagnostics", "user_profile_id"})
"""What changes nothing in the answer here: hints and accounting."""

_BUDGETS: tuple[tuple[int, str], ...] = ((4_096, "low"), (16_384, "medium"))
"""Thinking budgets below these many tokens are this much effort; larger ones are high."""
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def chat_request(params: Mapping[str, Any], *, upstream: str, options: Options) -> dict[str, Any]:
    """Return the body for `/v1/chat/completions`, without `stream`.

    Raises InvalidRequestError, its message starting with the JSON path, for what this backend cannot honour.
    """
    for key, value in params.items():
        if key not in _TRANSLATED and key not in _WITHOUT_EFFECT and value is not None:
            raise unsupported(key)
    body: dict[str, Any] = {"model": upstream, "messages": chat_messages(params, options)}
    for translate in _FIELDS:
        body |= translate(params, options)
    said = {key: broken_up(body[key], options.control_tokens) for key in ("messages", "tools") if key in body}
    return body | said


def _limits(params: Mapping[str, Any], options: Options) -> dict[str, Any]:
    stop = [text for text in params.get("stop_sequences") or () if text]
    fields: dict[str, Any] = {options.max_tokens_field: params.get("max_tokens"), "stop": stop or None}
    return {key: value for key, value in fields.items() if value is not None}


def _sampling(params: Mapping[str, Any], options: Options) -> dict[str, Any]:
    if params.get("top_k") is not None and not options.top_k:
        raise unsupported("top_k")
    return {key: params[key] for key in ("temperature", "top_p", "top_k") if params.get(key) is not None}


def _user(params: Mapping[str, Any], _options: Options) -> dict[str, Any]:
    user = (params.get("metadata") or {}).get("user_id")
    return {"user": user} if user else {}


def _format(params: Mapping[str, Any], _options: Options) -> dict[str, Any]:
    schema = wanted_schema(params)
    if schema is None:
        return {}
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    }


def wanted_schema(params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the JSON schema that the answer's text must follow, if there is one."""
    wanted = (params.get("output_config") or {}).get("format") or params.get("output_format")
    if wanted is None:
        return None
    if wanted.get("type") != "json_schema":
        raise unsupported("output_config.format.type")
    schema: dict[str, Any] = wanted["schema"]
    return schema


def _thinking(params: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Say whether and how hard to think; a request that says nothing leaves it to the model's own default."""
    thinking = params.get("thinking") or {}
    effort = _EFFORTS.get((params.get("output_config") or {}).get("effort") or "")
    template: dict[str, Any] = {}
    field: str | None = None
    if options.thinking == "template" and thinking:
        enabled = thinking["type"] != "disabled"
        template = {"enable_thinking": enabled, "thinking": enabled}
    if options.thinking == "effort" and thinking:
        field = _effort_of(thinking, options)
    if effort and options.effort == "template":
        template["reasoning_effort"] = effort
    if effort and options.effort == "field" and thinking.get("type") != "disabled":
        field = effort
    fields: dict[str, Any] = {"chat_template_kwargs": template} if template else {}
    return fields | ({"reasoning_effort": field} if field else {})


def _effort_of(thinking: Mapping[str, Any], options: Options) -> str | None:
    match thinking.get("type"):
        case "disabled":
            return options.thinking_off
        case "enabled":
            budget = thinking.get("budget_tokens") or 0
            return next((effort for limit, effort in _BUDGETS if budget < limit), "high")
        case _:
            return None


def _prefill(params: Mapping[str, Any], options: Options) -> dict[str, Any]:
    if options.prefill == "continue" and ends_with_assistant(params):
        return {"continue_final_message": True, "add_generation_prompt": False}
    return {}


def ends_with_assistant(params: Mapping[str, Any]) -> bool:
    """Tell whether the last message is the beginning of the answer."""
    messages = params.get("messages") or []
    return bool(messages) and messages[-1].get("role") == "assistant"


_FIELDS: tuple[Callable[[Mapping[str, Any], Options], dict[str, Any]], ...] = (
    _limits,
    _sampling,
    tool_fields,
    _format,
    _thinking,
    _user,
    _prefill,
)
