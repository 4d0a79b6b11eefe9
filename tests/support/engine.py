"""The engine in the box with models made for a test: random ones, and parrots that say what the test wants."""

import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from struct import pack
from typing import Any, Final

from slackwater.backends.llamacpp import LocalEngines, LocalModel
from slackwater.backends.llamacpp.backend import LlamaCppBackend
from slackwater.clock import SystemClock
from slackwater.domain.errors import AttemptFailedError, WireError
from slackwater.ports import Call
from support.gguf import CHAT_TEMPLATE, tiny_model, tiny_projector

WEATHER: Final = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TIME: Final = {
    "name": "get_time",
    "description": "Tells the time.",
    "input_schema": {
        "type": "object",
        "properties": {"zone": {"$ref": "#/$defs/Zone"}},
        "required": ["zone"],
        "additionalProperties": False,
        "$defs": {"Zone": {"enum": ["UTC", "CET"]}},
    },
}
WEATHER_CALL: Final = (
    "<tool_call>",
    '\n{"name": "get_weather", ',
    '"arguments": {"city": ',
    '"Paris"}}',
    "\n</tool_call>",
)
"""What a model that calls the tool says, in tokens."""


THINKING_TEMPLATE: Final = CHAT_TEMPLATE.replace(
    "{%- if message.content %}",
    "{%- if message.reasoning_content %}"
    "{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}"
    "{%- if message.content %}",
).replace(
    "<|im_start|>assistant\\n' }}{%- endif %}\n",
    "<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}\n",
)
"""As Qwen3's: the model begins to think by itself, unless the template has done it for it."""


@asynccontextmanager
async def local(
    directory: Path,
    *,
    says: Sequence[str | bytes] = (),
    sees: bool = False,
    template: str = CHAT_TEMPLATE,
    context_tokens: int = 1024,
    slots: int = 2,
    copies: int = 1,
    timeout_seconds: float = 30,
) -> AsyncIterator[LlamaCppBackend]:
    """Run a backend over a new model; a child process comes and goes with it."""
    path = tiny_model(
        directory / "tiny.gguf", says=says, chat_template=template, context_length=max(2048, context_tokens)
    )
    mmproj = tiny_projector(directory / "mmproj.gguf") if sees else None
    clock = SystemClock()
    engines = LocalEngines(clock=clock)
    model = LocalModel(
        name="tiny", path=path, mmproj=mmproj, context_tokens=context_tokens, slots=slots, threads=1, copies=copies
    )
    numbers = count(1)
    backend = LlamaCppBackend(
        engines=engines.add_copies(model),
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        clock=clock,
        timeout_seconds=timeout_seconds,
    )
    try:
        yield backend
    finally:
        await backend.close()
        await engines.close()


def asked(content: Any = "hello", **params: Any) -> Call:
    """Make a call with one user's turn, deterministic unless told otherwise."""
    body = {"model": "tiny", "max_tokens": 32, "temperature": 0, "messages": [{"role": "user", "content": content}]}
    return Call(params=body | params, upstream="tiny", version="2023-06-01")


async def infer(backend: LlamaCppBackend, call: Call) -> dict[str, Any]:
    """Return what a call gives, or raise it: the same as a person's call and, not streamed, as one of a batch."""
    alone, of_batch = [await _outcome(backend, call._replace(custom_id=custom_id)) for custom_id in (None, "r1")]
    told, expected = _comparable(of_batch), _comparable(alone)
    assert told == expected, f"{told} != {expected}"  # pytest shows no values here
    if isinstance(alone, Exception):
        raise alone
    return alone


async def _outcome(backend: LlamaCppBackend, call: Call) -> dict[str, Any] | Exception:
    try:
        return await backend.infer(call)
    except (AttemptFailedError, WireError) as error:
        return error


def _comparable(outcome: dict[str, Any] | Exception) -> object:
    """Leave out ids and where the prompt was read from."""
    if isinstance(outcome, Exception):
        return type(outcome), str(outcome)
    usage = outcome["usage"]
    content = [block | {"id": None} for block in outcome["content"]]
    prompt_tokens = usage["input_tokens"] + usage["cache_read_input_tokens"]
    return content, outcome["stop_reason"], outcome["stop_sequence"], prompt_tokens, usage["output_tokens"]


def said(message: dict[str, Any]) -> str:
    """Return the text of a Message."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


async def events_of(backend: LlamaCppBackend, call: Call) -> list[dict[str, Any]]:
    """Return a whole stream."""
    return [event async for event in backend.stream(call)]


def image(*, width: int = 32, color: tuple[int, int, int] = (200, 30, 40)) -> dict[str, Any]:
    """Make an image block: a small square of one color."""
    row = b"\0" + bytes(color) * width
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(kind + body))
        for kind, body in (
            (b"IHDR", pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(row * width)),
            (b"IEND", b""),
        )
    )
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64encode(data).decode()}}
