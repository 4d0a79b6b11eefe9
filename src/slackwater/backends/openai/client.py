"""Any server that speaks `/v1/chat/completions`: vLLM, SGLang, llama.cpp, Ollama, LM Studio, a hosted API."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any

from slackwater.backends.events import assembled
from slackwater.backends.http import HTTPClient
from slackwater.backends.listing import listed_models, owner_of_models
from slackwater.backends.message import NewId
from slackwater.backends.openai.chunks import COMPLETIONS, Chunks, chat_chunks, check_error
from slackwater.backends.openai.llamacpp import LlamaCpp, is_unparsed
from slackwater.backends.openai.options import Options, options_by_owner
from slackwater.backends.openai.request import chat_request, ends_with_assistant
from slackwater.backends.openai.response import Asked, message_of
from slackwater.backends.openai.slots import Slots
from slackwater.backends.openai.stream import ChunkReader
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, WireError
from slackwater.ports import Call

_ASKING_SECONDS_MAX = 5.0
"""Patience for the question who the server is; a server that does not answer it gets cautious defaults."""
_NO_SUCH_ENDPOINT = frozenset({404, 405, 501})
_WAYS = (False, False, True)
"""How often an answer that the server could not parse is asked for; the last time past its parser."""


class OpenAIBackend:
    """A Backend over chat completions, translated both ways."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        new_id: NewId,
        wall: Callable[[], datetime],
        api_key: str | None = None,
        timeout_seconds: float = 600.0,
        options: Options | None = None,
        patient: bool = False,
    ) -> None:
        """Take the base `url`, with or without `/v1`; without `options` the server is asked who it is.

        With `patient` the time bounds how long the server may be silent, and not the whole answer.
        """
        self._name = name
        self._new_id = new_id
        self._options = options or Options()
        self._settled = self._options.flavour != "auto"
        self._asking = asyncio.Lock()
        self._http = HTTPClient(
            name=name,
            url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout_seconds=timeout_seconds,
            wall=wall,
            keepalive=self._settled and self._options.keepalive,
            patient=patient,
        )
        self._llamacpp = LlamaCpp(self._http)
        self._slots = Slots(self._options.slots or 0)

    @property
    def name(self) -> str:
        """The configured name."""
        return self._name

    @property
    def slots(self) -> Slots:
        """Those among which we choose."""
        return self._slots

    @property
    def asks_for_counts(self) -> bool:
        """True where the server has a tokenizer to ask, or has not said yet who it is."""
        return not self._settled or self._options.tokenize is not None

    async def reads(self) -> frozenset[str]:
        """Take text and images: chat completions know no documents."""
        return frozenset()

    async def infer(self, call: Call) -> dict[str, Any]:
        """Return the whole Message (S7). Raises what a Backend may raise."""
        options = await self._known_options()
        if options.always_stream:
            return await self._whole(call, options)
        asked = self._asked(call, options)
        body = chat_request(call.params, upstream=call.upstream, options=options)
        completion = await self._http.post(COMPLETIONS, body, model=asked.model)
        check_error(completion, model=asked.model)
        return message_of(completion, asked)

    async def stream(self, call: Call) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events from `message_start` to `message_stop`."""
        options = await self._known_options()
        reader = ChunkReader(asked=self._asked(call, options))
        for last_way in _WAYS:
            try:
                async with aclosing(self._events(call, options, reader, last_way=last_way)) as events:
                    async for event in events:
                        yield event
            except AttemptFailedError as error:
                if last_way or not is_unparsed(error):
                    raise
                if reader.told:
                    for event in reader.abandoned(error):
                        yield event
                    return
            else:
                return

    async def _whole(self, call: Call, options: Options) -> dict[str, Any]:
        """Put a stream together; nobody has seen any of it where it has to be begun again."""
        streamed = not _in_one_piece(call, options)
        for last_way in _WAYS:
            reader = ChunkReader(asked=self._asked(call, options))
            try:
                way = self._events(call, options, reader, last_way=last_way, streamed=streamed)
                async with aclosing(way) as events:
                    return await assembled(events, new_id=self._new_id)
            except AttemptFailedError as error:
                if last_way or not is_unparsed(error):
                    raise
        raise AssertionError

    async def _events(
        self, call: Call, options: Options, reader: ChunkReader, *, last_way: bool, streamed: bool = True
    ) -> AsyncGenerator[dict[str, Any], None]:
        done = False
        body = chat_request(call.params, upstream=call.upstream, options=options)
        body |= _streaming(body, options) if streamed else _verbose(body, options)
        try:
            with self._slots.taken(call.params, person=call.custom_id is None) as slot:
                placed = body if slot is None else body | {"id_slot": slot}
                async with aclosing(self._chunks(call, placed, options, last_way=last_way)) as chunks:
                    async for chunk in chunks:
                        if chunk is None:
                            done = True
                            break
                        for event in reader.feed(chunk):
                            yield event
        except BackendAwayError:
            self._llamacpp.forget()
            raise
        for event in reader.end(done=done):
            yield event

    def _chunks(self, call: Call, body: dict[str, Any], options: Options, *, last_way: bool) -> Chunks:
        model = _client_model(call)
        if not options.guided:
            return chat_chunks(self._http, body, model=model)
        if last_way:
            return self._llamacpp.past_the_parser(body, model=model)
        return self._llamacpp.chunks(call.params, body, options, model=model)

    async def count_tokens(self, call: Call) -> int | None:
        """Ask the server's tokenizer; None where it has none to ask, or where images would go uncounted."""
        options = await self._known_options()
        if options.tokenize is None:
            return None
        body = chat_request(call.params, upstream=call.upstream, options=options)
        if options.guided:
            counted = await self._llamacpp.count(call.params, body, options, model=_client_model(call))
            if counted is not None:
                return counted
        if any(isinstance(message["content"], list) for message in body["messages"]):
            return None
        kept: dict[str, Any] = {
            key: body[key] for key in ("model", "messages", "tools", "chat_template_kwargs") if key in body
        }
        if options.tokenize == "messages":
            return _counted(await self._ask("/tokenize", kept | {"add_generation_prompt": True}, call), "count")
        applied = await self._ask("/apply-template", kept, call)
        prompt = applied.get("prompt") if isinstance(applied, dict) else None
        if not isinstance(prompt, str):
            return None
        asked = {"content": prompt, "add_special": True, "parse_special": True}
        return _counted(await self._ask("/tokenize", asked, call), "tokens")

    async def models(self) -> list[str]:
        """Return the model names of `/v1/models`."""
        return listed_models(await self._http.get("/v1/models"))

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.close()

    async def _known_options(self) -> Options:
        """Return the options, asking the server who it is once; one that has no list of models gets cautious ones."""
        if self._settled:
            return self._options
        async with self._asking:
            if not self._settled:
                try:
                    async with asyncio.timeout(_ASKING_SECONDS_MAX):
                        owner = owner_of_models(await self._http.get("/v1/models"))
                except (AttemptFailedError, WireError, TimeoutError):
                    owner = ""
                self._options = options_by_owner(owner, pass_urls=self._options.pass_urls)
                await self._http.reopen(keepalive=self._options.keepalive)
                self._settled = True
        return self._options

    async def _ask(self, path: str, body: dict[str, Any], call: Call) -> Any:  # noqa: ANN401  # JSON is any value
        answer = await self._http.exchange("POST", path, body)
        if answer.status in _NO_SUCH_ENDPOINT:
            return None
        return self._http.accept(answer, model=_client_model(call))

    def _asked(self, call: Call, options: Options) -> Asked:
        repeated = options.prefill_repeated and ends_with_assistant(call.params)
        return Asked(
            model=_client_model(call),
            max_tokens=call.params.get("max_tokens"),
            stop_sequences=frozenset(call.params.get("stop_sequences") or ()),
            prefill=_text(call.params["messages"][-1]["content"]) if repeated else "",
            options=options,
            new_id=self._new_id,
            calls_max=1 if (call.params.get("tool_choice") or {}).get("disable_parallel_tool_use") else None,
        )


def _streaming(body: Mapping[str, Any], options: Options) -> dict[str, Any]:
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    if options.guided:
        fields["return_progress"] = True
    return fields | _verbose(body, options)


def _verbose(body: Mapping[str, Any], options: Options) -> dict[str, Any]:
    return {"verbose": True} if options.verbose and "stop" in body else {}  # not always: it repeats the whole prompt


def _in_one_piece(call: Call, options: Options) -> bool:
    """Tell whether an answer need not be streamed.

    A whole answer would repeat what the client began for it, and give the beginning of a call that was cut for text.
    """
    return (
        call.custom_id is not None
        and (call.params.get("max_tokens") or math.inf) <= options.unstreamed_tokens_max
        and not call.params.get("tools")
        and not ends_with_assistant(call.params)
    )


def _counted(answer: Any, key: str) -> int | None:  # noqa: ANN401
    counted = answer.get(key) if isinstance(answer, dict) else None
    if isinstance(counted, list):
        return len(counted)
    return counted if isinstance(counted, int) and not isinstance(counted, bool) and counted >= 0 else None


def _text(content: Any) -> str:  # noqa: ANN401  # a string or a list of blocks
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block.get("type") == "text")


def _client_model(call: Call) -> str:
    return str(call.params.get("model", call.upstream))
