"""llama.cpp's `/completion`: a chat request as its body, and its answers as chunks of a chat completion."""

from collections.abc import Mapping
from typing import Any

from slackwater.backends.openai.chunks import Chunk
from slackwater.backends.openai.guided import GuidedReader
from slackwater.backends.refusals import broken
from slackwater.domain.errors import InvalidRequestError

_SAMPLING = ("temperature", "top_p", "top_k")
_ANSWERED = [
    "content",
    "stop",
    "stop_type",
    "stopping_word",
    "tokens_predicted",
    "tokens_evaluated",
    "timings",
    "prompt_progress",
]
"""What of a chunk is read: the rest would repeat the prompt."""


def completion_body(body: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """Return the body for `/completion`: the sampling of a chat request, its images beside the prompt."""
    images = _images(body["messages"])
    sent = {key: body[key] for key in ("model", "stop", "id_slot", *_SAMPLING) if key in body}
    return sent | {
        "prompt": {"prompt_string": prompt, "multimodal_data": images} if images else prompt,
        "n_predict": body.get("max_tokens", -1),
        "cache_prompt": True,
        "response_fields": _ANSWERED,
    }


def _images(messages: list[dict[str, Any]]) -> list[str]:
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    urls = [str(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
    if not all(url.startswith("data:") for url in urls):
        message = "messages: an image by its address cannot be combined with an answer of a prescribed shape"
        raise InvalidRequestError(message)
    return [url.partition(";base64,")[2] for url in urls]


def as_chunks(answer: Chunk | None, reader: GuidedReader, own_tokens: int) -> list[Chunk]:
    """Return an answer of `/completion` as chunks of a chat completion; our own tokens are not counted."""
    if answer is None:
        return []
    piece = answer.get("content")
    progress = answer.get("prompt_progress")
    if isinstance(progress, dict):
        seen = {name: progress.get(name) for name in ("cache", "processed")}
        return [
            chunk_of({}) | {"prompt_progress": seen | {"total": max(count_of(progress.get("total")) - own_tokens, 0)}}
        ]
    chunks = [chunk_of(delta) for delta in reader.feed(piece if isinstance(piece, str) else "")]
    return [*chunks, _last(answer, own_tokens)] if answer.get("stop") is True else chunks


def _last(answer: Mapping[str, Any], own_tokens: int) -> Chunk:
    told = answer.get("stop_type")
    if told not in ("eos", "word", "limit"):
        reason = f"the stop_type is {str(told)[:40]!r}"
        raise broken(reason)
    timings = answer.get("timings")
    cached = timings.get("cache_n") if isinstance(timings, dict) else 0
    usage = {
        "prompt_tokens": max(count_of(answer.get("tokens_evaluated")) - own_tokens, 0),
        "completion_tokens": count_of(answer.get("tokens_predicted")),
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    finish = "length" if told == "limit" else "stop"
    stopping_word = {"__verbose": {"stopping_word": answer.get("stopping_word")}}
    return chunk_of({}, finish) | {"usage": usage} | stopping_word


def chunk_of(delta: Mapping[str, Any], finish: str | None = None) -> Chunk:
    """Make a chunk of a chat completion."""
    return {"choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish}]}


def count_of(found: Any) -> int:  # noqa: ANN401  # whatever the server sent
    """Return a count of tokens that is one. Raises AttemptFailedError."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        reason = "a count of tokens is not a count"
        raise broken(reason)
    return found
