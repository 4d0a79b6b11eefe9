"""One llama.cpp server, asked by the way that can honour the request.

Free text and tools that may be used go to the chat endpoint, whose parser knows the model's template. What must be
JSON, or must be a call, goes to `/completion` (see guided.py). Either of them, text by a schema or a call, is asked for
as a call first and by the schema once it turns out to be text. An answer that the chat endpoint's parser gives up on is
a known fault of the server: the same prompt past that parser is the way out.
"""

import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import Any

import msgspec

from slackwater.backends.http import HTTPClient
from slackwater.backends.openai.chunks import COMPLETIONS, Chunk, Chunks, chat_chunks, decoded
from slackwater.backends.openai.completion import as_chunks, chunk_of, completion_body, count_of
from slackwater.backends.openai.control import broken_up
from slackwater.backends.openai.guided import (
    PROBE_TOOL,
    PROBE_TURNS,
    Guide,
    GuidedReader,
    Template,
    call_guide,
    split_calls,
    split_thinking,
    template_of,
    text_guide,
)
from slackwater.backends.openai.options import Options
from slackwater.backends.openai.request import ends_with_assistant, wanted_schema
from slackwater.backends.openai.tools import tool_fields
from slackwater.backends.refusals import broken
from slackwater.domain.errors import AttemptFailedError, InvalidRequestError, WireError

REMEMBERED_MAX = 256
"""Schemas, openings and models (a client may name any) that are not asked about again."""
_TEMPLATE_FIELDS = ("messages", "tools", "chat_template_kwargs")
_NOT_JSON = "!"
"""No JSON begins with it."""
_CERTAIN = 1000.0
"""A bias that no logit withstands."""
_NO_SUCH_ENDPOINT = frozenset({404, 405, 501})
_THINKING_OPEN = re.compile(r"<think>\s*\Z")
_UNPARSED = re.compile(r"does not match the expected|failed to parse (?:input|tool call)", re.IGNORECASE)
_SCHEMA_ERROR = re.compile(r"JSON schema error.*")
_TEMPLATE_ERROR = re.compile(r"Jinja Exception: (.*)")
_UNREADABLE = "Failed to load image"


def is_unparsed(error: AttemptFailedError) -> bool:
    """Tell whether the server's own parser gave up on an answer that was complete."""
    return _UNPARSED.search(error.reason) is not None


class LlamaCpp:
    """Asks one server. Every call may raise what a Backend may raise; `model` is the client's name for error texts."""

    def __init__(self, http: HTTPClient) -> None:
        """Take the client of the server."""
        self._http = http
        self._templates: dict[str, Template] = {}
        self._compiled: dict[tuple[str, bytes], bool] = {}
        self._lengths: dict[tuple[str, str], int] = {}
        self._biases: dict[str, list[list[float]]] = {}

    def forget(self) -> None:
        """Ask everything anew: the server was away, and may have come back with another model."""
        for known in (self._templates, self._compiled, self._lengths, self._biases):
            known.clear()

    def chunks(self, params: Mapping[str, Any], body: Mapping[str, Any], options: Options, *, model: str) -> Chunks:
        """Yield the chunks of the answer; `body` is the chat request, with what streaming needs."""
        schema = wanted_schema(params)
        if schema is not None and ends_with_assistant(params):
            message = "output_config.format: cannot be combined with a prefilled answer"
            raise InvalidRequestError(message)
        guide = None if schema is None else text_guide(schema)
        if body.get("tools"):
            name = (params.get("tool_choice") or {}).get("name")
            return self._tooled(body, _demanded(params, options), name, guide, model=model)
        return self._chat(body, model=model) if guide is None else self._guided(body, guide, model=model)

    async def past_the_parser(self, body: Mapping[str, Any], *, model: str) -> Chunks:
        """Yield the answer to a chat request in one piece, read here and not by the server."""
        prompt = await self._prompt(body, model=model)
        style = (await self._template(body)).style
        pieces: list[str] = []
        last: Chunk = {}
        async with aclosing(self._completed(body, prompt, None, model=model)) as chunks:
            async for chunk in chunks:
                if chunk is not None:
                    delta = chunk["choices"][0]["delta"]
                    pieces.append(delta.get("content", ""))
                    last = chunk
        thinking, text = split_thinking("".join(pieces), open_already=_THINKING_OPEN.search(prompt) is not None)
        text, calls = split_calls(text, style) if style else (text, [])
        numbered = [{"index": index, **call} for index, call in enumerate(calls)]
        yield chunk_of({"reasoning_content": thinking, "content": text, "tool_calls": numbered})
        yield last
        yield None

    async def count(
        self, params: Mapping[str, Any], body: Mapping[str, Any], options: Options, *, model: str
    ) -> int | None:
        """Return how many tokens the prompt will have, images counted; None where the server cannot say."""
        style = (await self._template(body)).style
        demanded = _demanded(params, options) if style is not None and body.get("tools") else []
        if demanded:
            body = {**body, "tools": demanded}
        if demanded or wanted_schema(params) is not None:
            body = _without_thinking(body)
        asked = {key: body[key] for key in ("model", *_TEMPLATE_FIELDS) if key in body}
        answer = await self._http.exchange("POST", f"{COMPLETIONS}/input_tokens", asked)
        if answer.status in _NO_SUCH_ENDPOINT:
            return None
        if answer.status >= 500 and _UNREADABLE.encode() in answer.body:  # noqa: PLR2004  # a 400, told as a 500
            raise _unreadable()
        counted = self._http.accept(answer, model=model)
        return count_of(counted.get("input_tokens")) if isinstance(counted, dict) else None

    async def _chat(self, body: Mapping[str, Any], *, model: str) -> Chunks:
        """Ask the chat endpoint."""
        try:
            async with aclosing(chat_chunks(self._http, body, model=model)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except InvalidRequestError as error:
            raise _placed(error) from error

    async def _tooled(
        self,
        body: Mapping[str, Any],
        demanded: list[dict[str, Any]],
        name: str | None,
        guide: Guide | None,
        *,
        model: str,
    ) -> Chunks:
        """Let the model use tools, or make it use one of those that are demanded.

        Where the style of its calls is not known, demanding is left to the server, as far as it goes.
        """
        style = (await self._template(body)).style
        if demanded and style is not None:
            way = self._guided({**body, "tools": demanded}, call_guide(demanded, name, style), model=model)
        elif demanded or guide is None:
            way = self._chat({key: value for key, value in body.items() if key != "response_format"}, model=model)
        else:
            way = self._either(body, guide, model=model)
        async with aclosing(way) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _either(self, body: Mapping[str, Any], guide: Guide, *, model: str) -> Chunks:
        """Pass a call on; throw away the beginning of a text and have it written by the schema."""
        free = {key: value for key, value in body.items() if key != "response_format"}
        held: list[Chunk] = []
        calling = False
        async with aclosing(self._chat(_without_thinking(free), model=model)) as chunks:
            async for chunk in chunks:
                if calling or chunk is None:
                    yield chunk
                    continue
                held.append(chunk)
                said, calling = _beginning(chunk)
                if calling:
                    for earlier in held:
                        yield earlier
                elif said:
                    break
        if not calling:
            async with aclosing(self._guided(body, guide, model=model)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _guided(self, body: Mapping[str, Any], guide: Guide, *, model: str) -> Chunks:
        """Have an answer written by a schema: without thinking, which would have to be JSON too."""
        prompt = await self._prompt(_without_thinking(body), model=model)
        if _THINKING_OPEN.search(prompt):
            guide = replace(guide, opening=f"\n</think>\n\n{guide.opening}")
        await self._check_schema(body, prompt, guide, model=model)
        async with aclosing(self._completed(body, prompt, guide, model=model)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _completed(self, body: Mapping[str, Any], prompt: str, guide: Guide | None, *, model: str) -> Chunks:
        """Ask `/completion` and yield its answer as the chat endpoint would say it."""
        opening = guide.opening if guide else ""
        own_tokens = await self._length(str(body["model"]), opening, model=model) if opening else 0
        sent = completion_body(body, prompt + opening)
        sent |= {key: body[key] for key in ("stream", "return_progress") if key in body}
        if guide is not None:
            sent["json_schema"] = guide.schema
            if guide.is_call:
                sent.pop("stop", None)
        reader = guide.reader() if guide else GuidedReader()
        async with aclosing(decoded(self._http, "/completion", sent, model=model)) as answers:
            async for answer in answers:
                for chunk in as_chunks(answer, reader, own_tokens):
                    yield chunk
                if answer is not None and answer.get("stop") is True:
                    yield None
                    return

    async def _check_schema(self, body: Mapping[str, Any], prompt: str, guide: Guide, *, model: str) -> None:
        """Refuse a schema that does not bind the server: it would drop one that it cannot compile without a word.

        Told to begin with what no JSON begins with, it must be unable to. The prompt is the request's own, which
        only warms the cache for it.
        """
        upstream = str(body["model"])
        key = (upstream, sha256(msgspec.json.encode(guide.schema)).digest())
        if key not in self._compiled:
            sent = completion_body(body, prompt + guide.opening) | {"json_schema": guide.schema, "n_predict": 1}
            sent |= {"logit_bias": await self._not_json(upstream, model=model), "stream": True, "return_progress": True}
            sent.pop("stop", None)
            text = await self._text(sent, guide, model=model)
            _remember(self._compiled, key, not text.lstrip().startswith(_NOT_JSON))
        if not self._compiled[key]:
            raise _bad_schema(guide, "the engine cannot compile this schema")

    async def _text(self, sent: Mapping[str, Any], guide: Guide, *, model: str) -> str:
        pieces: list[str] = []
        try:
            async with aclosing(decoded(self._http, "/completion", sent, model=model)) as answers:
                pieces = [str(answer.get("content", "")) async for answer in answers if answer is not None]
        except InvalidRequestError as error:
            if re.search(r"schema|grammar", error.message, re.IGNORECASE):
                raise _bad_schema(guide, error.message) from error
            raise
        return "".join(pieces)

    async def _not_json(self, upstream: str, *, model: str) -> list[list[float]]:
        if upstream not in self._biases:
            *_, token = await self._tokens(upstream, _NOT_JSON, model=model)
            _remember(self._biases, upstream, [[token, _CERTAIN]])
        return self._biases[upstream]

    async def _length(self, upstream: str, opening: str, *, model: str) -> int:
        """Return how many tokens we write for the model: they are not the client's."""
        if (upstream, opening) not in self._lengths:
            tokens = await self._tokens(upstream, opening, model=model)
            _remember(self._lengths, (upstream, opening), len(tokens))
        return self._lengths[upstream, opening]

    async def _tokens(self, upstream: str, text: str, *, model: str) -> list[int]:
        asked = {"model": upstream, "content": text, "add_special": False, "parse_special": True}
        found = await self._http.post("/tokenize", asked, model=model)
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, list) or not tokens:
            reason = "the tokenizer's answer has no tokens"
            raise broken(reason)
        return tokens

    async def _prompt(self, body: Mapping[str, Any], *, model: str) -> str:
        asked = {key: body[key] for key in ("model", *_TEMPLATE_FIELDS) if key in body}
        try:
            applied = await self._http.post("/apply-template", asked, model=model)
        except InvalidRequestError as error:
            raise _placed(error) from error
        prompt = applied.get("prompt") if isinstance(applied, dict) else None
        if not isinstance(prompt, str):
            reason = "the template's answer has no prompt"
            raise broken(reason)
        return prompt

    async def _template(self, body: Mapping[str, Any]) -> Template:
        """Ask the template once what it makes of tools, where a request has some; refuse those that it would drop."""
        if not body.get("tools"):
            return Template()
        upstream = str(body["model"])
        if upstream not in self._templates:
            asked = _without_thinking({"model": upstream, "messages": [PROBE_TURNS[0]], "tools": [PROBE_TOOL]})
            try:
                unanswered = await self._prompt(asked, model=upstream)
                called = await self._prompt(asked | {"messages": list(PROBE_TURNS)}, model=upstream)
            except (AttemptFailedError, WireError):
                return Template()
            _remember(self._templates, upstream, template_of(unanswered, called))
        if not self._templates[upstream].tools:
            message = "tools: the chat template of this model knows no tools"
            raise InvalidRequestError(message)
        return self._templates[upstream]


def _demanded(params: Mapping[str, Any], options: Options) -> list[dict[str, Any]]:
    """Return all the tools where one of them must be used: with all of them the prompt is the same for any choice."""
    if (params.get("tool_choice") or {}).get("type") not in ("any", "tool"):
        return []
    tools = tool_fields({**params, "tool_choice": None}, options)["tools"]
    return [{**tool, "function": broken_up(tool["function"], options.control_tokens)} for tool in tools]


def _without_thinking(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = body.get("chat_template_kwargs") or {}
    return {**body, "chat_template_kwargs": {**kept, "enable_thinking": False, "thinking": False}}


def _beginning(chunk: Mapping[str, Any]) -> tuple[bool, bool]:
    """Tell whether a chunk holds text, and whether it holds a call."""
    choices = chunk.get("choices")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if not isinstance(delta, dict):
        return False, False
    content = delta.get("content")
    return isinstance(content, str) and bool(content.strip()), bool(delta.get("tool_calls"))


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    while len(known) >= REMEMBERED_MAX:
        known.pop(next(iter(known)))
    known[key] = value


def _bad_schema(guide: Guide, reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"{guide.path}: {reason}")


def _placed(error: InvalidRequestError) -> InvalidRequestError:
    """Say which part of the request a template or a grammar could not take."""
    schema, turns = _SCHEMA_ERROR.search(error.message), _TEMPLATE_ERROR.search(error.message)
    if schema:
        return InvalidRequestError(f"tools: {schema.group()}")
    return InvalidRequestError(f"messages: the model's chat template refuses them: {turns[1]}") if turns else error


def _unreadable() -> InvalidRequestError:
    return InvalidRequestError("messages: an image could not be read")
