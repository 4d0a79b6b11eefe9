"""The chunks of a streamed chat completion as they come off the wire, errors inside of them raised."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from slackwater.backends.http import HTTPClient
from slackwater.backends.refusals import broken, complaint_of, decode, told
from slackwater.domain.errors import BackendAwayError

Chunk = dict[str, Any]
Chunks = AsyncGenerator[Chunk | None, None]
"""Chunks, then None where the server's own end mark was seen."""

COMPLETIONS = "/v1/chat/completions"
_OVERLOADED = frozenset({"429", "503", "529"})


async def chat_chunks(http: HTTPClient, body: Mapping[str, Any], *, model: str) -> Chunks:
    """Ask `/v1/chat/completions` for a stream, or for the same in one piece. Raises what a Backend may raise."""
    async with aclosing(decoded(http, COMPLETIONS, body, model=model)) as chunks:
        async for chunk in chunks:
            yield chunk if chunk is None or body.get("stream") else _as_chunk(chunk)


async def decoded(http: HTTPClient, path: str, body: Mapping[str, Any], *, model: str) -> Chunks:
    """Yield the JSON of a stream's events, or the one of an answer that is not asked for as a stream."""
    if not body.get("stream"):
        answer = await http.post(path, body, model=model)
        check_error(answer, model=model)
        yield answer
        yield None
        return
    async with aclosing(http.events(path, body, model=model)) as received:
        async for sent in received:
            if sent.data == "[DONE]":
                yield None
                return
            chunk = decode(sent.data)
            check_error(chunk, model=model)
            yield chunk


def _as_chunk(completion: Any) -> Any:  # noqa: ANN401  # whatever the backend sent
    """Return a whole completion as the only chunk of a stream."""
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list):
        return completion
    return completion | {
        "choices": [
            choice | {"delta": choice.get("message")} if isinstance(choice, dict) else choice for choice in choices
        ]
    }


def check_error(answer: Any, *, model: str) -> None:  # noqa: ANN401  # whatever the backend sent
    """Raise for an error that came with status 200, whole or in a stream: some servers know only then."""
    if not isinstance(answer, dict) or not answer.get("error"):
        return
    complaint = complaint_of(answer)
    error = answer["error"]
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if code in _OVERLOADED:
        raise BackendAwayError(f"answered 200 with error {code}", full=code != "503")
    if code.isdecimal() and 400 <= int(code) < 600:  # noqa: PLR2004  # a status in the body
        raise told(int(code), answer, model=model)
    reason = f"answered 200 with an error inside: {complaint.message}"
    raise broken(reason)
