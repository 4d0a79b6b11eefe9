"""Chat completion chunks as the events of a Messages stream, in exactly the API's order (contract §7.1).

Thinking, text and the first tool call pass on as they come. What would break into an open tool call (a parallel call,
or text after it) waits until the answer is over: the API's blocks never interleave, and servers may.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from slackwater.backends.openai.response import (
    Asked,
    first_choice,
    stop_of,
    stopping_word,
    text_of,
    thinking_of,
    tool_id,
    usage_of,
)
from slackwater.backends.refusals import broken, cut
from slackwater.domain.errors import AttemptFailedError

Event = dict[str, Any]

_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


@dataclass(kw_only=True, slots=True)
class _ToolCall:
    """A tool call as far as it has come."""

    id: str
    given_id: str
    """The server's own, to tell two calls under one index apart."""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    """Pieces not passed on yet."""


@dataclass(kw_only=True, slots=True)
class ChunkReader:
    """Turns one stream's chunks into events: `feed` each chunk, then `end`."""

    asked: Asked
    _started: bool = False
    _index: int = -1
    """Of the last block started."""
    _open: str | None = None
    """The kind of the open block."""
    _space: str = ""
    """White space at the start of a text: a block only if nothing else comes."""
    _unmatched: str = ""
    """Text that may still turn out to be the repeated prefill."""
    _calls: list[_ToolCall] = field(default_factory=list)
    """In the order in which they began; the first is passed on as it comes, the others wait."""
    _at: dict[int, int] = field(default_factory=dict)
    """Where the call with the server's index stands in `_calls`."""
    _late: list[tuple[str, str]] = field(default_factory=list)
    """Kind and text of what came after the first tool call."""
    _stopping_word: dict[str, str] = field(default_factory=dict)
    _refused: bool = False
    _choice: dict[str, Any] | None = None
    """The choice that told the finish_reason."""
    _usage: Any = None
    _prompt: dict[str, Any] | None = None
    """What llama.cpp says of the prompt before it answers, as a usage."""
    _pieces: int = 0
    """Chunks with something in them: about as many as tokens."""
    _prefill_done: bool = False

    def feed(self, chunk: Any) -> Iterator[Event]:  # noqa: ANN401  # whatever the backend sent
        """Yield the events that a chunk gives. Raises AttemptFailedError for a wrong shape (S7)."""
        choice = first_choice(chunk)
        self._usage = chunk.get("usage") or self._usage
        self._stopping_word = stopping_word(chunk) or self._stopping_word
        if not self._started:
            self._started = True
            self._prompt = _prompt_usage(chunk.get("prompt_progress"))
            yield self._message_start()
        if choice is None:
            return
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            reason = "a chunk's delta is not an object"
            raise broken(reason)
        yield from self._say(delta)
        yield from self._tools(delta)
        if choice.get("finish_reason") is not None:
            self._choice = choice

    def end(self, *, done: bool) -> Iterator[Event]:
        """Yield the events that close the message; `done` tells whether the server's own end mark was seen.

        Raises AttemptFailedError when the stream was cut: no finish_reason, or neither an end mark nor usage after it.
        """
        if self._choice is None or not (done or self._usage):
            reason = "the stream ended before it was complete"
            raise cut(reason)
        usage = usage_of(self._usage, required=self.asked.options.usage_required)
        yield from self._leftovers()
        yield from self._close()
        stop_reason, stop_sequence = stop_of(
            self._choice | self._stopping_word,
            called=bool(self._calls),
            refused=self._refused,
            output_tokens=usage["output_tokens"],
            asked=self.asked,
        )
        delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
        yield {"type": "message_delta", "delta": delta, "usage": usage}
        yield {"type": "message_stop"}

    def abandoned(self, error: AttemptFailedError) -> Iterator[Event]:
        """Yield the events that close a text whose server failed only after all of it had come.

        Raises the error again where there is a tool call, which must be whole.
        """
        if self._calls:
            raise error
        usage = {**(self._prompt or {}), "completion_tokens": self._pieces}
        yield from self.feed({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})
        yield from self.end(done=True)

    @property
    def told(self) -> bool:
        """Whether anything of the answer itself has been passed on."""
        return self._index >= 0

    def _message_start(self) -> Event:
        usage = usage_of(self._usage or self._prompt, required=False)
        message: dict[str, Any] = {
            "id": self.asked.new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": self.asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return {"type": "message_start", "message": message}

    def _say(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        thinking, refused = thinking_of(delta), text_of(delta.get("refusal"))
        text = text_of(delta.get("content")) + refused
        self._pieces += bool(thinking or text)
        self._refused = self._refused or bool(refused)
        if self._calls:
            self._late.extend((kind, piece) for kind, piece in (("thinking", thinking), ("text", text)) if piece)
            return
        yield from self._grow("thinking", thinking)
        if text:
            yield from self._text(self._without_prefill(text))

    def _text(self, text: str) -> Iterator[Event]:
        if self._open != "text":
            self._space += text
            text, self._space = (self._space, "") if self._space.strip() else ("", self._space)
        yield from self._grow("text", text)

    def _without_prefill(self, text: str) -> str:
        """Hold text back while it repeats the prefill; let go of it where it turns out to differ."""
        if self._prefill_done:
            return text
        self._unmatched += text
        prefill = self.asked.prefill
        if len(self._unmatched) < len(prefill) and prefill.startswith(self._unmatched):
            return ""
        self._prefill_done = True
        text, self._unmatched = self._unmatched.removeprefix(prefill), ""
        return text

    def _grow(self, kind: str, text: str) -> Iterator[Event]:
        if not text:
            return
        if self._open != kind:
            yield from self._start(kind, _EMPTY[kind])
        yield self._delta({"type": f"{kind}_delta", kind: text})

    def _tools(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        calls = delta.get("tool_calls") or []
        if delta.get("function_call"):
            calls = [{"index": 0, "function": delta["function_call"]}]
        if not isinstance(calls, list):
            reason = "the tool calls are not a list"
            raise broken(reason)
        for call in calls:
            self._hear(call)
        if not self._calls or not self._calls[0].name:
            return
        if self._open != "tool_use":
            yield from self._flush()
            yield from self._start("tool_use", _tool_block(self._calls[0]))
        yield from self._pass_on(self._calls[0])

    def _hear(self, piece: Any) -> None:  # noqa: ANN401
        function = piece.get("function") if isinstance(piece, dict) else None
        if not isinstance(function, dict):
            reason = "a tool call's chunk is not one"
            raise broken(reason)
        call = self._call_of(piece, name := text_of(function.get("name")))
        call.name = call.name or name
        call.arguments.append(text_of(function.get("arguments")))

    def _call_of(self, piece: Mapping[str, Any], name: str) -> _ToolCall:
        """Find the call a piece belongs to; a new id and name under an old index is another call (Ollama's way)."""
        index, given = piece.get("index"), text_of(piece.get("id"))
        index = index if isinstance(index, int) else len(self._calls)
        at = self._at.get(index)
        if at is not None and not (given and name and given != self._calls[at].given_id):
            return self._calls[at]
        self._at[index] = len(self._calls)
        call = _ToolCall(id=tool_id(given, self.asked.new_id), given_id=given)
        self._calls.append(call)
        return call

    def _pass_on(self, call: _ToolCall) -> Iterator[Event]:
        pieces, call.arguments = "".join(call.arguments), []
        if pieces:
            yield self._delta({"type": "input_json_delta", "partial_json": pieces})

    def _leftovers(self) -> Iterator[Event]:
        yield from self._flush()
        wanted = self._calls[: self.asked.calls_max]
        for call in wanted[1:] if self._open == "tool_use" else wanted:
            yield from self._start("tool_use", _tool_block(call))
            yield from self._pass_on(call)
        for kind, pieces in groupby(self._late, key=itemgetter(0)):
            text = "".join(piece for _, piece in pieces)
            if text.strip():
                yield from self._grow(kind, text)

    def _flush(self) -> Iterator[Event]:
        """Let go of text that was held back; white space alone stands only where nothing else does."""
        text, self._unmatched, self._space = self._unmatched + self._space, "", ""
        if text.strip() or (self._index < 0 and not self._calls):
            yield from self._grow("text", text)

    def _start(self, kind: str, block: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._close()
        self._index += 1
        self._open = kind
        yield {"type": "content_block_start", "index": self._index, "content_block": dict(block)}

    def _close(self) -> Iterator[Event]:
        if self._open is not None:
            yield {"type": "content_block_stop", "index": self._index}
            self._open = None

    def _delta(self, delta: Mapping[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": self._index, "delta": dict(delta)}


def _tool_block(call: _ToolCall) -> dict[str, Any]:
    if not call.name:
        reason = "a tool call has no name"
        raise broken(reason)
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}


def _prompt_usage(progress: Any) -> dict[str, Any] | None:  # noqa: ANN401
    if not isinstance(progress, dict):
        return None
    return {"prompt_tokens": progress.get("total"), "prompt_tokens_details": {"cached_tokens": progress.get("cache")}}
