"""A chat completion as a Message: thinking, text and tool calls in that order, why it stopped, and what it used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slackwater.backends.events import tool_input, whole_blocks
from slackwater.backends.message import NewId, checked_message
from slackwater.backends.openai.options import Options
from slackwater.backends.refusals import broken

_STOPPED = frozenset({"stop", "eos", "stop_sequence"})
_CALLED = frozenset({"tool_calls", "function_call"})
_TOOL_ID = re.compile(r"toolu_[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the answer's reading depends on."""

    model: str
    """The name the client sent."""
    max_tokens: int | None
    stop_sequences: frozenset[str]
    prefill: str
    """Text of a final assistant message; empty when there is none or it is not repeated by the server."""
    options: Options
    new_id: NewId
    calls_max: int | None = None
    """Calls beyond these are left out, for servers that cannot be kept from making them; None: as many as come."""


def message_of(completion: Any, asked: Asked) -> dict[str, Any]:  # noqa: ANN401  # whatever the backend sent
    """Return the whole Message of a completion. Raises AttemptFailedError for a wrong shape (S7)."""
    choice = first_choice(completion)
    said = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(said, dict):
        reason = "the completion has no choice with a message"
        raise broken(reason)
    choice = choice | stopping_word(completion)
    usage = usage_of(completion.get("usage"), required=asked.options.usage_required)
    calls = _calls(said, asked.new_id)[: asked.calls_max]
    refused = text_of(said.get("refusal"))
    stop = stop_of(choice, called=bool(calls), refused=bool(refused), output_tokens=usage["output_tokens"], asked=asked)
    text = (text_of(said.get("content")) + refused).removeprefix(asked.prefill)
    content = arranged(thinking=thinking_of(said), text=text, calls=calls)
    content = whole_blocks(content, stop_reason=stop[0])
    message = {"type": "message", "role": "assistant", "model": asked.model, "content": content, "usage": usage}
    return checked_message(message | {"stop_reason": stop[0], "stop_sequence": stop[1]}, new_id=asked.new_id)


def first_choice(completion: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Return the first choice of a completion or chunk, None when it has none; raises AttemptFailedError otherwise."""
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list) or any(not isinstance(choice, dict) for choice in choices):
        reason = "the answer is not a chat completion"
        raise broken(reason)
    return choices[0] if choices else None


def stopping_word(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return what a verbose llama.cpp adds to an answer or chunk about the stop sequence it met, for its choice."""
    verbose = answer.get("__verbose")
    word = verbose.get("stopping_word") if isinstance(verbose, dict) else None
    return {"stopping_word": word} if isinstance(word, str) and word else {}


def text_of(content: Any) -> str:  # noqa: ANN401
    """Return text that came as a string, as null, or as a list of text parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part_text(part) for part in content)
    reason = "the content is neither text nor parts"
    raise broken(reason)


def _part_text(part: Any) -> str:  # noqa: ANN401
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        reason = "the content holds a part that is not text"
        raise broken(reason)
    return text


def thinking_of(said: Mapping[str, Any]) -> str:
    """Return the reasoning, under either of the names in use."""
    return text_of(said.get("reasoning_content")) or text_of(said.get("reasoning"))


def arranged(*, thinking: str, text: str, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the blocks in the API's order; text that is only white space stands only where it is alone."""
    blocks: list[dict[str, Any]] = []
    if thinking:
        blocks.append({"type": "thinking", "thinking": thinking, "signature": ""})
    if text.strip() or (text and not thinking and not calls):
        blocks.append({"type": "text", "text": text})
    return blocks + calls


def _calls(said: Mapping[str, Any], new_id: NewId) -> list[dict[str, Any]]:
    """Return tool_use blocks; `input` is None where the arguments are not a JSON object."""
    calls = said.get("tool_calls") or []
    if said.get("function_call"):
        calls = [{"function": said["function_call"]}]
    if not isinstance(calls, list):
        reason = "the tool calls are not a list"
        raise broken(reason)
    blocks = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            reason = "a tool call has no function with a name"
            raise broken(reason)
        blocks.append(
            {
                "type": "tool_use",
                "id": tool_id(call.get("id"), new_id),
                "name": function["name"],
                "input": _arguments(function.get("arguments")),
            }
        )
    return blocks


def _arguments(arguments: Any) -> dict[str, Any] | None:  # noqa: ANN401
    if isinstance(arguments, dict):
        return arguments
    return tool_input(arguments) if isinstance(arguments, str) else {} if arguments is None else None


def tool_id(given: Any, new_id: NewId) -> str:  # noqa: ANN401
    """Keep an id of the API's own shape; make one otherwise, since some engines number calls anew in every answer."""
    return given if isinstance(given, str) and _TOOL_ID.fullmatch(given) else new_id("toolu")


def stop_of(
    choice: Mapping[str, Any], *, called: bool, refused: bool, output_tokens: int, asked: Asked
) -> tuple[str, str | None]:
    """Return `stop_reason` and `stop_sequence`. Raises AttemptFailedError when the server does not say why (S7)."""
    told = choice.get("finish_reason")
    finish = told if isinstance(told, str) else ""
    if finish == "length":
        full = asked.options.length_may_be_context and 0 < output_tokens < (asked.max_tokens or 0)
        return ("model_context_window_exceeded" if full else "max_tokens"), None
    if finish == "content_filter" or (refused and finish in _STOPPED):
        return "refusal", None
    if finish in _STOPPED or finish in _CALLED:
        matched = _matched(choice, asked.stop_sequences)
        if matched is not None:
            return "stop_sequence", matched
        return ("tool_use" if called else "end_turn"), None
    reason = f"the finish_reason is {str(told)[:40]!r}"
    raise broken(reason)


def _matched(choice: Mapping[str, Any], stop_sequences: frozenset[str]) -> str | None:
    """Find the stop sequence that was met, where the server reports it: vLLM, SGLang, llama.cpp in this order."""
    told = (choice.get("stop_reason"), choice.get("matched_stop"), choice.get("stopping_word"))
    return next((stop for stop in told if isinstance(stop, str) and stop in stop_sequences), None)


def usage_of(usage: Any, *, required: bool) -> dict[str, Any]:  # noqa: ANN401
    """Return the API's usage: `input_tokens` without the cached ones (contract §7).

    A server that reports nothing gives zeros, or AttemptFailedError when usage is `required`.
    """
    if usage is None and not required:
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
    if not isinstance(usage, dict):
        reason = "the usage is missing"
        raise broken(reason)
    prompt = _count(usage, "prompt_tokens")
    cached = min(_count(_details(usage, "prompt_tokens_details"), "cached_tokens"), prompt)
    thought = _count(_details(usage, "completion_tokens_details"), "reasoning_tokens")
    counted: dict[str, Any] = {
        "input_tokens": prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": _count(usage, "completion_tokens"),
    }
    return counted | ({"output_tokens_details": {"thinking_tokens": thought}} if thought else {})


def _details(usage: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    details = usage.get(key)
    return details if isinstance(details, dict) else {}


def _count(counts: Mapping[str, Any], key: str) -> int:
    value = counts.get(key, 0)
    value = 0 if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        reason = f"the usage's {key} is not a count"
        raise broken(reason)
    return value
