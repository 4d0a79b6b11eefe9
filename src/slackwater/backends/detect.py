"""Finds inference engines that are already running on this machine: only 127.0.0.1, only their usual ports."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from slackwater.backends.http import ERROR_BYTES_MAX
from slackwater.backends.listing import listed_models, owner_of_models
from slackwater.backends.refusals import decode
from slackwater.domain.errors import AttemptFailedError

Kind = Literal["ollama", "llamacpp", "vllm", "sglang", "lmstudio", "litellm"]

_HOST = "127.0.0.1"
SLOTS_MAX = 4096
"""More than this is no number of slots."""
PORTS: tuple[tuple[Kind, int], ...] = (
    ("ollama", 11434),
    ("llamacpp", 8080),
    ("vllm", 8000),
    ("sglang", 30000),
    ("lmstudio", 1234),
    ("litellm", 4000),
)
"""Each engine's default port, in the order in which they are reported."""

_BY_OWNER: dict[str, Kind] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp"}
_NEEDS_KEY = frozenset({401, 403})
_OK = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An engine that answered."""

    kind: Kind
    """What it says it is, else what usually listens on its port."""
    url: str
    """For the `url` of a backend."""
    protocol: Literal["openai"] = "openai"
    """All of these are best spoken to by chat completions."""
    models: tuple[str, ...] = ()
    needs_key: bool = False
    """It refused to list its models without a key; `models` is empty then."""
    slots: int | None = None
    """Requests it generates at once, each with a prompt cache of its own; None where it does not say."""


async def detect(timeout_seconds: float = 0.3, *, ports: Sequence[tuple[Kind, int]] = PORTS) -> list[Found]:
    """Ask every port at once and return the engines that answer in time, in the order of `ports`."""
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
        probed = await asyncio.gather(*(_probe(session, kind, port) for kind, port in ports))
    return [found for found in probed if found is not None]


async def _probe(session: aiohttp.ClientSession, kind: Kind, port: int) -> Found | None:
    url = f"http://{_HOST}:{port}"
    try:
        if kind == "ollama" and (await _get(session, f"{url}/api/version"))[0] != _OK:
            return None
        status, listing = await _get(session, f"{url}/v1/models")
        if status in _NEEDS_KEY:
            return Found(kind=kind, url=url, needs_key=True)
        if status != _OK:
            return None
        kind = _BY_OWNER.get(owner_of_models(listing), kind)
        slots = await _slots(session, url) if kind == "llamacpp" else None
        return Found(kind=kind, url=url, models=tuple(listed_models(listing)), slots=slots)
    except (aiohttp.ClientError, TimeoutError, OSError, AttemptFailedError):
        return None


async def _slots(session: aiohttp.ClientSession, url: str) -> int | None:
    """Ask a llama.cpp server how many slots it has."""
    try:
        status, facts = await _get(session, f"{url}/props")
    except (aiohttp.ClientError, TimeoutError, OSError, AttemptFailedError):
        return None
    slots = facts.get("total_slots") if status == _OK and isinstance(facts, dict) else None
    return slots if isinstance(slots, int) and 0 < slots <= SLOTS_MAX else None


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with session.get(url, allow_redirects=False) as response:
        if response.status != _OK:
            return response.status, None
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > ERROR_BYTES_MAX * 16:
                break
        return response.status, decode(body)
