"""Any server that speaks `/v1/messages`: the hosted API, vLLM, llama.cpp, Ollama, LiteLLM.

The body passes through unchanged apart from `model` and `stream`; the answer is checked and filled in.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from slackwater.backends.enclosed import without_documents
from slackwater.backends.events import StreamOrder
from slackwater.backends.http import HTTPClient
from slackwater.backends.listing import listed_models, owner_of_models
from slackwater.backends.message import NewId, checked_message, plain_message
from slackwater.backends.refusals import broken, decode, told
from slackwater.backends.sources import check_sources
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, WireError
from slackwater.ports import Call
from slackwater.wire.params import Plain

_COUNTED = frozenset(
    {
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "cache_control",
        "context_management",
        "mcp_servers",
    }
)
"""What of a Messages body `count_tokens` takes (contract §7.2)."""
_HOSTED = "api.anthropic.com"
_OK = 200
_NO_SUCH_ENDPOINT = frozenset({404, 405, 501})
_WITHOUT_DOCUMENTS = frozenset({"vllm", "sglang", "llamacpp", "library"})
"""By `owned_by` in their lists of models: engines whose `/v1/messages` reads text and images only."""
_NATIVE = frozenset({"pdf", "citations"})
_OVERLOADED = frozenset({"overloaded_error", "rate_limit_error"})
_STATUS_OF = {"invalid_request_error": 400, "not_found_error": 404, "request_too_large": 413, "timeout_error": 504}


class AnthropicBackend:
    """A Backend over the Messages protocol."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        new_id: NewId,
        wall: Callable[[], datetime],
        api_key: str | None = None,
        timeout_seconds: float = 600.0,
        pass_urls: bool = False,
        documents: bool | None = None,
    ) -> None:
        """Take the base `url`, with or without `/v1`; without `documents` the server is asked who it is.

        `pass_urls` lets the backend fetch addresses that clients name: only for a hosted API outside one's own network.
        """
        self._name = name
        self._new_id = new_id
        self._pass_urls = pass_urls
        self._documents = True if urlsplit(url).hostname == _HOSTED else documents
        self._http = HTTPClient(
            name=name, url=url, headers=_key_headers(url, api_key), timeout_seconds=timeout_seconds, wall=wall
        )

    @property
    def name(self) -> str:
        """The configured name."""
        return self._name

    @property
    def asks_for_counts(self) -> bool:
        """True: whether there is such an endpoint only the server knows."""
        return True

    async def reads(self) -> frozenset[str]:
        """Take documents as they are, unless it is one of the engines that would drop them without a word."""
        if self._documents is None:
            try:
                owner = owner_of_models(await self._http.get("/v1/models"))
            except (AttemptFailedError, WireError):
                owner = ""
            self._documents = owner not in _WITHOUT_DOCUMENTS
        return _NATIVE if self._documents else frozenset()

    async def infer(self, call: Call) -> dict[str, Any]:
        """Return the whole Message (S7). Raises what a Backend may raise."""
        body: Mapping[str, Any] | bytes
        if isinstance(call.params, Plain):
            body = call.params.named(call.upstream)
        else:
            body = {key: value for key, value in self._body(call).items() if key != "stream"}
        answer = await self._http.exchange("POST", "/v1/messages", body, headers=_headers(call))
        if answer.status == _OK and (message := plain_message(answer.body, new_id=self._new_id)) is not None:
            return message
        return checked_message(self._http.accept(answer, model=_client_model(call)), new_id=self._new_id)

    async def stream(self, call: Call) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events from `message_start` to `message_stop`, their order checked."""
        model = _client_model(call)
        order = StreamOrder(new_id=self._new_id)
        body = {**self._body(call), "stream": True}
        async with aclosing(self._http.events("/v1/messages", body, model=model, headers=_headers(call))) as received:
            async for sent in received:
                if sent.data == "[DONE]":
                    continue
                event = decode(sent.data)
                if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                    reason = "a stream event has no type"
                    raise broken(reason)
                if event["type"] == "error":
                    raise stream_error(event, model=model)
                yield order.passed(event)
                if order.finished:
                    return
        order.end()

    async def count_tokens(self, call: Call) -> int | None:
        """Ask `/v1/messages/count_tokens`; None where there is no such endpoint."""
        body = {key: value for key, value in self._body(call).items() if key in _COUNTED or key == "model"}
        answer = await self._http.exchange("POST", "/v1/messages/count_tokens", body, headers=_headers(call))
        if answer.status in _NO_SUCH_ENDPOINT:
            return None
        counted = self._http.accept(answer, model=_client_model(call))
        tokens = counted.get("input_tokens") if isinstance(counted, dict) else None
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            reason = "the count of tokens is not a count"
            raise broken(reason)
        return tokens

    async def models(self) -> list[str]:
        """Return the model names of `/v1/models`."""
        return listed_models(await self._http.get("/v1/models?limit=1000"))

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.close()

    def _body(self, call: Call) -> dict[str, Any]:
        check_sources(call.params, pass_urls=self._pass_urls)
        params = without_documents(call.params) if self._documents is False else call.params
        return {**params, "model": call.upstream}


def _key_headers(url: str, api_key: str | None) -> dict[str, str]:
    """Return the key as the hosted API wants it; for other servers also as vLLM and most proxies want it."""
    if not api_key:
        return {}
    bearer = {} if urlsplit(url).hostname == _HOSTED else {"Authorization": f"Bearer {api_key}"}
    return {"x-api-key": api_key, **bearer}


def _headers(call: Call) -> dict[str, str]:
    headers = {"anthropic-version": call.version}
    if call.betas:
        headers["anthropic-beta"] = ",".join(call.betas)
    return headers


def _client_model(call: Call) -> str:
    return str(call.params.get("model", call.upstream))


def stream_error(event: dict[str, Any], *, model: str) -> Exception:
    """Return the exception for an `error` event after a 200: overload before any answer is the backend being full."""
    error = event.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    if str(kind) in _OVERLOADED:
        return BackendAwayError(f"the stream reported {kind}", full=True)
    return told(_STATUS_OF.get(str(kind), 500), event, model=model)
