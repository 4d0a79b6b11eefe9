"""Tools and tool choice, as chat completions say them."""

from collections.abc import Mapping
from typing import Any

from slackwater.backends.openai.blocks import unsupported
from slackwater.backends.openai.options import Options
from slackwater.domain.errors import InvalidRequestError


def tool_fields(params: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Return `tools`, `tool_choice` and `parallel_tool_calls`; empty when the request offers no tools."""
    tools = [_function(tool, f"tools.{index}") for index, tool in enumerate(params.get("tools") or ())]
    choice = params.get("tool_choice") or {"type": "auto"}
    if not tools:
        return {}
    fields = _chosen(tools, choice, options)
    if fields and choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    return fields


def _function(tool: Mapping[str, Any], path: str) -> dict[str, Any]:
    kind = tool.get("type") or "custom"
    if kind != "custom":
        message = f"{path}: {kind} tools are not supported by this backend"
        raise InvalidRequestError(message)
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    if tool.get("description"):
        function["description"] = tool["description"]
    if tool.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _chosen(tools: list[dict[str, Any]], choice: Mapping[str, Any], options: Options) -> dict[str, Any]:
    match choice.get("type"):
        case "auto":
            return {"tools": tools}
        case "none":
            return {"tools": tools, "tool_choice": "none"} if options.tool_choice == "full" else {}
        case "any":
            _check_forcing(options)
            return {"tools": tools, "tool_choice": "required"}
        case "tool":
            _check_forcing(options)
            return _named(tools, choice.get("name"), options)
        case kind:
            raise unsupported(f"tool_choice.{kind}")


def _check_forcing(options: Options) -> None:
    if options.tool_choice == "auto":
        message = "tool_choice: this backend cannot be made to use a tool; only auto and none are supported"
        raise InvalidRequestError(message)


def _named(tools: list[dict[str, Any]], name: object, options: Options) -> dict[str, Any]:
    named = [tool for tool in tools if tool["function"]["name"] == name]
    if not named:
        message = f"tool_choice: Tool '{name}' not found in provided tools"
        raise InvalidRequestError(message)
    if options.tool_choice == "any":
        return {"tools": named, "tool_choice": "required"}
    return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": name}}}
