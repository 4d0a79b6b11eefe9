"""The shapes of whole Messages bodies, one per API version and purpose (contract §1.2, §7, §7.2)."""

import re
from enum import Enum
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, core_schema

from slackwater.wire.params.blocks import BLOCK, CACHE_CONTROL, TEXT
from slackwater.wire.params.vocabulary import (
    ANY,
    BOOL,
    OBJECT,
    STRING,
    by_type,
    integer,
    items,
    nullable,
    number,
    one_of,
    open_shape,
    shape,
    string_or,
    text,
    typed,
)

MESSAGES_MAX = 100_000  # contract §7
METADATA_USER_ID_LENGTH_MAX = 512  # contract §7
THINKING_BUDGET_TOKENS_MIN = 1024
TOOL_TYPE_UNKNOWN = "tool_type_unknown"
"""pydantic's error type for a tool whose `type` says nothing to us; `explain` words it."""

_DATED_TOOL = re.compile(r"[a-z][a-z0-9_]*_[0-9]{8}\Z|mcp_toolset\Z|tool_search_tool_(?:bm25|regex)\Z")


class Sampling(Enum):
    """Whether `temperature`, `top_p` and `top_k` are parameters (contract §1.2)."""

    PERMITTED = True
    REFUSED = False


SAMPLING = {
    "temperature": number(minimum=0, maximum=1),
    "top_p": number(minimum=0, maximum=1),
    "top_k": integer(),
}

_EFFORT = nullable(one_of("low", "medium", "high", "xhigh", "max"))
_FORMAT = nullable(by_type({"json_schema": typed("json_schema", {"schema": OBJECT}, {"name": STRING})}))

MESSAGE = shape(
    {"role": one_of("user", "assistant", "system"), "content": string_or(items(BLOCK))},
    # only of a `system` message, which `conversation` checks
    {
        "clear_at": nullable(one_of("next_user_message", "never")),
        "output_config": nullable(shape({}, {"effort": _EFFORT})),
    },
)

_CUSTOM_TOOL = shape(
    {
        "name": text(pattern=r"^[a-zA-Z0-9_-]{1,128}$"),
        "input_schema": open_shape({"type": one_of("object")}, {"properties": nullable(OBJECT)}),
    },
    {
        "type": nullable(one_of("custom")),
        "description": STRING,
        "cache_control": CACHE_CONTROL,
        "strict": BOOL,
        "allowed_callers": items(STRING),
        "defer_loading": BOOL,
        "eager_input_streaming": nullable(BOOL),
        "input_examples": items(OBJECT),
    },
)

_DATED_TOOL_SHAPE = open_shape({"type": STRING}, {"name": STRING, "cache_control": CACHE_CONTROL})


def _tool_kind(tool: Any) -> str | None:  # noqa: ANN401  # pydantic hands over whatever stands there
    """Tell a custom tool, whose `type` may be absent, from a dated one."""
    if not isinstance(tool, dict):
        return None
    kind = tool.get("type")
    if kind is None or kind == "custom":
        return "custom"
    return "dated" if isinstance(kind, str) and _DATED_TOOL.match(kind) else None


TOOL = core_schema.tagged_union_schema(
    dict[Any, CoreSchema]({"custom": _CUSTOM_TOOL, "dated": _DATED_TOOL_SHAPE}),
    discriminator=_tool_kind,
    custom_error_type=TOOL_TYPE_UNKNOWN,
    custom_error_message="Unknown tool",
)

_PARALLEL = {"disable_parallel_tool_use": BOOL}
TOOL_CHOICE = by_type(
    {
        "auto": typed("auto", {}, _PARALLEL),
        "any": typed("any", {}, _PARALLEL),
        "tool": typed("tool", {"name": STRING}, _PARALLEL),
        "none": typed("none", {}),
    }
)

_THINKING = {
    "display": nullable(one_of("summarized", "omitted", "updates")),
    "block_binding": nullable(OBJECT),
}
THINKING = by_type(
    {
        "enabled": typed("enabled", {"budget_tokens": integer(minimum=THINKING_BUDGET_TOKENS_MIN)}, _THINKING),
        "disabled": typed("disabled", {}),
        "adaptive": typed("adaptive", {}, _THINKING),
        "between_tools": typed("between_tools", {}),
    }
)

_PROMPT_REQUIRED = {
    "model": text(length_min=1, length_max=256),
    "messages": items(MESSAGE, length_max=MESSAGES_MAX),
}

_PROMPT = {
    "cache_control": CACHE_CONTROL,
    "context_management": nullable(OBJECT),
    "mcp_servers": items(OBJECT),
    "output_config": shape({}, {"effort": _EFFORT, "format": _FORMAT, "task_budget": nullable(OBJECT)}),
    "output_format": _FORMAT,
    "speed": nullable(one_of("standard", "fast")),
    "system": string_or(items(TEXT)),
    "thinking": THINKING,
    "tool_choice": TOOL_CHOICE,
    "tools": items(TOOL),
    "user_profile_id": nullable(STRING),
}
"""What both Messages and token counting know: everything that shapes the prompt (contract §7.2)."""

_GENERATION = {
    "container": nullable(string_or(open_shape({}, {"id": nullable(STRING), "skills": nullable(items(OBJECT))}))),
    "diagnostics": nullable(OBJECT),
    "inference_geo": nullable(STRING),
    "metadata": shape({}, {"user_id": nullable(text(length_max=METADATA_USER_ID_LENGTH_MAX))}),
    "research_preview_2026_02": ANY,
    "service_tier": one_of("auto", "standard_only"),
    "stop_sequences": items(text(length_min=1)),
    "stream": BOOL,
}


def _messages(sampling: Sampling) -> SchemaValidator:
    """Build the shape of `POST /v1/messages` and of a batch request's params."""
    required = {
        "model": _PROMPT_REQUIRED["model"],
        "max_tokens": integer(),
        "messages": _PROMPT_REQUIRED["messages"],
    }
    return SchemaValidator(shape(required, _PROMPT | _GENERATION | (SAMPLING if sampling.value else {})))


MESSAGES = {sampling: _messages(sampling) for sampling in Sampling}
COUNT_TOKENS = SchemaValidator(shape(_PROMPT_REQUIRED, _PROMPT))
