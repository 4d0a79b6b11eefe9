"""Chat Completions, as vLLM and its kind speak it: read into a Messages body, written from a Message."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from slackwater.backends.simulated.dialects import Dialect, Frames, encode
from slackwater.backends.simulated.prompt import Json, tokens_in
from slackwater.domain.errors import WireError

_PIECE_CHARACTERS = 32
_FINISH = {"max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
_CHOICES = {"required": "any"}
_CREATED = 1_767_225_600
"""2026-01-01; a fixed instant, so that the same question has the same answer."""


def params_of(body: Json) -> Json:
    """Return the Messages body that a Chat Completions body means. Raises ValueError where it means nothing."""
    try:
        return _params_of(body)
    except (KeyError, TypeError, AttributeError, msgspec.DecodeError) as error:
        msg = f"the simulator cannot read this ({error})"
        raise ValueError(msg) from error


def _params_of(body: Json) -> Json:
    system: list[Json] = []
    messages: list[Json] = []
    for message in body["messages"]:
        if message["role"] in {"system", "developer"}:
            system.extend(_blocks(message["content"]))
        else:
            messages.append(_READERS[message["role"]](message))
    params: Json = {"model": body.get("model"), "messages": messages, "system": system}
    params["max_tokens"] = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop") or []
    params["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if body.get("tools"):
        params["tools"] = [_tool(tool["function"]) for tool in body["tools"]]
        params["tool_choice"] = _tool_choice(body.get("tool_choice") or "auto")
    if _thinks(body):
        params["thinking"] = {"type": "enabled"}
    if body.get("response_format"):
        params["output_config"] = {"format": _format(body["response_format"])}
    return params


def _user(message: Json) -> Json:
    return {"role": "user", "content": _blocks(message["content"])}


def _assistant(message: Json) -> Json:
    blocks = _blocks(message.get("content") or "")
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = msgspec.json.decode(function["arguments"])
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments})
    return {"role": "assistant", "content": blocks}


def _tool_message(message: Json) -> Json:
    result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": _blocks(message["content"])}
    return {"role": "user", "content": [result]}


_READERS: dict[str, Callable[[Json], Json]] = {"user": _user, "assistant": _assistant, "tool": _tool_message}


def _blocks(content: str | list[Json]) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [_block(part) for part in content]


def _block(part: Json) -> Json:
    if part["type"] != "image_url":
        return part
    url: str = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _tool(function: Json) -> Json:
    schema = function.get("parameters") or {"type": "object"}
    return {"name": function["name"], "description": function.get("description", ""), "input_schema": schema}


def _tool_choice(choice: str | Json) -> Json:
    if isinstance(choice, str):
        return {"type": _CHOICES.get(choice, choice)}
    return {"type": "tool", "name": choice["function"]["name"]}


def _thinks(body: Json) -> bool:
    template: Mapping[str, Any] = body.get("chat_template_kwargs") or {}
    return bool(template.get("enable_thinking")) or body.get("reasoning_effort") not in {None, "none"}


def _format(wanted: Json) -> Json:
    if wanted["type"] == "json_schema":
        return {"type": "json_schema", "schema": wanted["json_schema"]["schema"]}
    if wanted["type"] == "json_object":
        return {"type": "json_schema", "schema": {"type": "object", "properties": {"answer": {"type": "string"}}}}
    return {}


def completion(message: Json) -> Json:
    """Return a `chat.completion` object."""
    said: Json = {"role": "assistant", "content": _text(message)}
    thinking = _thinking(message)
    if thinking:
        said["reasoning_content"] = thinking
    calls = _calls(message)
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": _finish_reason(message)}
    return {**_head(message, "chat.completion"), "choices": [choice], "usage": _usage(message)}


def frames(message: Json, body: Json) -> Frames:
    """Yield the `chat.completion.chunk` events, up to `[DONE]`."""
    head = _head(message, "chat.completion.chunk")

    def frame(delta: Json, finish_reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
        return b"data: %s\n\n" % encode({**head, "choices": choices})

    yield frame({"role": "assistant", "content": ""}), 0
    for key, text in (("reasoning_content", _thinking(message)), ("content", _text(message) or "")):
        for piece in _pieces(text):
            yield frame({key: piece}), tokens_in(len(piece.encode()))
    for index, call in enumerate(_calls(message)):
        function = call["function"]
        yield frame({"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]}), 0
        for piece in _pieces(function["arguments"]):
            yield frame({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), tokens_in(len(piece))
    yield frame({}, _finish_reason(message)), 0
    if (body.get("stream_options") or {}).get("include_usage"):
        yield b"data: %s\n\n" % encode({**head, "choices": [], "usage": _usage(message)}), 0
    yield b"data: [DONE]\n\n", 0


def _head(message: Json, kind: str) -> Json:
    name = message["id"].removeprefix("msg_")
    return {"id": f"chatcmpl-{name}", "object": kind, "created": _CREATED, "model": message["model"]}


def _text(message: Json) -> str | None:
    texts = [block["text"] for block in message["content"] if block["type"] == "text"]
    return "".join(texts) if texts else None


def _thinking(message: Json) -> str:
    return "".join(block["thinking"] for block in message["content"] if block["type"] == "thinking")


def _calls(message: Json) -> list[Json]:
    return [
        {
            "id": block["id"].replace("toolu_", "call_"),
            "type": "function",
            "function": {"name": block["name"], "arguments": encode(block["input"]).decode()},
        }
        for block in message["content"]
        if block["type"] == "tool_use"
    ]


def _finish_reason(message: Json) -> str:
    return _FINISH.get(message["stop_reason"], "stop")


def _usage(message: Json) -> Json:
    usage = message["usage"]
    cached = usage["cache_read_input_tokens"]
    prompt = usage["input_tokens"] + usage["cache_creation_input_tokens"] + cached
    thought = tokens_in(len(_thinking(message).encode()))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage["output_tokens"],
        "total_tokens": prompt + usage["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _pieces(text: str) -> list[str]:
    return [text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS)]


def _error(error: WireError, status: int, _request_id: str) -> bytes:
    return encode({"error": {"message": error.message, "type": error.type, "param": None, "code": status}})


CHAT = Dialect(
    name="openai",
    params_of=params_of,
    whole=completion,
    frames=frames,
    error=_error,
    error_frame=lambda body: b"data: %s\n\n" % body,
    ping=b": ping\n\n",
    queue_full_status=429,
)
