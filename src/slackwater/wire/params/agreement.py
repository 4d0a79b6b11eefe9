"""Fields of a body that have to agree with each other: tools with tool_choice, thinking with the rest (contract §7)."""

from typing import Any

from slackwater.wire.params.failure import ParamsError

_TOP_P_WITH_THINKING_MIN = 0.95
_INTERLEAVED = "interleaved-thinking"
"""Start of the beta under which the budget spans several answers of a turn and may exceed `max_tokens`."""


def check_tools(body: dict[str, Any]) -> None:
    """Raise `ParamsError` for two tools of one name, or a choice among tools that are not there."""
    tools: list[dict[str, Any]] = body.get("tools") or []
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(set(names)) != len(names):
        message = "tools: Tool names must be unique."
        raise ParamsError(message)
    choice = body.get("tool_choice")
    if choice is None or choice["type"] == "none":
        return
    if not tools and not body.get("mcp_servers"):
        message = "tool_choice: tool_choice may only be specified while providing tools."
        raise ParamsError(message)
    # a toolset brings tools whose names are not in the body
    if choice["type"] == "tool" and choice["name"] not in names and len(names) == len(tools):
        message = f"tool_choice: Tool '{choice['name'][:200]}' not found in provided tools"
        raise ParamsError(message)


def check_thinking(body: dict[str, Any], betas: tuple[str, ...]) -> None:
    """Raise `ParamsError` for what cannot go together with a thinking budget."""
    thinking = body.get("thinking")
    if thinking is None or thinking["type"] != "enabled":
        return
    for broken, message in (
        (
            body.get("max_tokens", thinking["budget_tokens"] + 1) <= thinking["budget_tokens"]
            and not any(beta.startswith(_INTERLEAVED) for beta in betas),
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (body.get("temperature", 1) != 1, "`temperature` may only be set to 1 when thinking is enabled."),
        (
            body.get("top_p", 1) < _TOP_P_WITH_THINKING_MIN,
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
        ),
        ("top_k" in body, "`top_k` must be unset when thinking is enabled."),
        (
            body.get("tool_choice", {}).get("type") in {"any", "tool"},
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
    ):
        if broken:
            raise ParamsError(message)
