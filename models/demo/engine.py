"""The real engine with the demo model in it, for scoring: llama.cpp's own server, asked over HTTP."""

import http.client
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import xllamacpp
from examples import Example, Message


class Engine:
    """A server on a port of its own; a context manager."""

    def __init__(self, model: Path, *, slots: int = 8, context: int = 2048) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_parallel = slots
        params.n_ctx = context * slots
        params.kv_unified = False
        params.n_batch = params.n_ubatch = 512
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
        params.n_threads_http = slots + 8
        params.cache_ram_mib = 0
        params.fit_params = False
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.verbosity = 0
        self.slots = slots
        self._server = xllamacpp.Server(params)
        self._address = urlsplit(self._server.listening_address)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        del self._server

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and return the answer's JSON."""
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=120)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer

    def answer(self, messages: Sequence[Message], tools: Sequence[Message] = (), tokens_max: int = 160) -> Message:
        """Ask as a client of chat completions does and return the assistant's message, or `{"error": ...}`."""
        body: dict[str, Any] = {"messages": [_wire(message) for message in messages]}
        body |= {"temperature": 0, "max_tokens": tokens_max, **({"tools": list(tools)} if tools else {})}
        replied = self.post("/v1/chat/completions", body)
        return replied["choices"][0]["message"] if "choices" in replied else {"error": replied}

    def answers(self, examples: Sequence[Example]) -> list[Message]:
        """Ask many at once, in order."""
        with ThreadPoolExecutor(self.slots) as pool:
            return list(pool.map(lambda example: self.answer(example.messages, example.tools), examples))

    def ids(self, messages: Sequence[Message], tools: Sequence[Message] = ()) -> list[int]:
        """Return the tokens of the prompt that the engine makes of a conversation."""
        body = {"messages": [_wire(message) for message in messages], **({"tools": list(tools)} if tools else {})}
        prompt = self.post("/apply-template", body)["prompt"]
        tokens: list[int] = self.post("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})[
            "tokens"
        ]
        return tokens


def _wire(message: Message) -> dict[str, Any]:
    """Write a message as chat completions have it, with the arguments of calls as text."""
    out = dict(message)
    if message.get("tool_calls"):
        out["tool_calls"] = [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
                },
            }
            for index, call in enumerate(message["tool_calls"])
        ]
    return out
