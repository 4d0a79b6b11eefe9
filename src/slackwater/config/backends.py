"""What can be said about each kind of backend, and about the engine that comes with slackwater."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from slackwater.config.section import Section, existing

LOCAL = "local"
"""Name of the backend that `[engine] model` stands for."""


class EngineSettings(Section):
    """The engine that comes with slackwater: what all local models share, and a short form for one."""

    model: Path | None = None
    """GGUF file: the short form of one backend called `local`, which serves every model name where nothing else is
    configured. Relative to the configuration file."""
    mmproj: Path | None = None
    """GGUF file of the projector that lets `model` see images."""
    memory_mib: int | None = Field(default=None, ge=64)
    """Memory that all local models may use together, MiB; None: most of what is free. One that nobody uses
    makes room for another."""
    idle_seconds: float = Field(default=300, ge=0)
    """After so long without a request a local model gives its memory back until the next one. 0: never."""

    @field_validator("model", "mmproj")
    @classmethod
    def _there(cls, value: Path | None) -> Path | None:
        return None if value is None else existing(value)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.mmproj is not None and self.model is None:
            raise ValueError("mmproj belongs to a model: set `model` too")
        return self


class _NamedSettings(Section):
    name: str = Field(min_length=1, max_length=64)
    """What models refer to; unique."""
    timeout_seconds: float = Field(default=600, gt=0)
    """Longest time one attempt may take."""


class _BackendSettings(_NamedSettings):
    max_in_flight: int | None = Field(default=None, ge=1)
    """Requests in flight at once at this backend; None: found out by trying, until it refuses some (429, 529)."""


class _RemoteSettings(_BackendSettings):
    url: str
    """Base URL, for example `http://127.0.0.1:8000`."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the backend's key; None: no key is sent."""

    pass_urls: bool = False
    """Let the backend fetch addresses that clients name; only for one outside your network. False: we fetch them."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not re.match(r"https?://[^/\s@]+(/|$)", value):
            raise ValueError('must look like "http://127.0.0.1:8000" and hold no password')
        return value.rstrip("/")


class AnthropicBackendSettings(_RemoteSettings):
    """A server that speaks `/v1/messages`."""

    protocol: Literal["anthropic"]
    """How the backend is spoken to: `anthropic`, `openai`, `llamacpp` or `simulated`."""
    documents: bool | None = None
    """Whether it reads documents and makes citations itself; where not, it gets text. None: it is asked who it is."""


class OpenAIBackendSettings(_RemoteSettings):
    """A server that speaks `/v1/chat/completions`."""

    protocol: Literal["openai"]
    """How the backend is spoken to: `anthropic`, `openai`, `llamacpp` or `simulated`."""
    flavour: Literal["auto", "vllm", "sglang", "llamacpp", "ollama", "openai"] = "auto"
    """Which server it is, for what one takes and another does not; `auto` asks it at the first call."""
    slots: int | None = Field(default=None, ge=1, le=4096)
    """For a llama.cpp server of yours: how many slots it has (`--parallel`), so that requests with a common prefix
    stay together on one. None: a server that shares its prefix cache between all requests."""


class LlamaCppBackendSettings(_NamedSettings):
    """A GGUF model in the engine that comes with slackwater; docs/local-models.md explains."""

    timeout_seconds: float = Field(default=600, gt=0)
    """Longest silence of the engine; as long as it computes it is not silent, and an answer may take any time."""
    protocol: Literal["llamacpp"]
    """How the backend is spoken to: `anthropic`, `openai`, `llamacpp` or `simulated`."""
    model: Path
    """GGUF file; of a model in several files the first one. Relative to the configuration file."""
    mmproj: Path | None = None
    """GGUF file of the projector that lets the model see images; None: it takes none."""
    context_tokens: int | None = Field(default=None, ge=256)
    """Longest prompt and answer together, tokens; None: as the model was trained and the memory allows."""
    slots: int | None = Field(default=None, ge=1, le=255)
    """Requests of batches generated at once; None: from cores and memory, at most 16."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads that compute, of all copies together; None: one less than there are cores."""
    copies: int | None = Field(default=None, ge=1, le=64)
    """Processes with the whole model in each, which share slots and threads; None: one for each thread, at most 4
    (two on two cores), of a model so small (16 MiB) that one process cannot use several, else 1."""
    cache_mib: int | None = Field(default=None, ge=0)
    """Memory for prefixes of prompts that are in no slot any more, MiB; None: 0."""

    @field_validator("model", "mmproj")
    @classmethod
    def _there(cls, value: Path | None) -> Path | None:
        return None if value is None else existing(value)


class SimulatedBackendSettings(_BackendSettings):
    """The declared simulator: no model behind it."""

    protocol: Literal["simulated"]
    """How the backend is spoken to: `anthropic`, `openai`, `llamacpp` or `simulated`."""
    latency_ms: float = Field(default=20, ge=0)
    """Time an answer takes before its tokens, milliseconds."""
    latency_sigma: float = Field(default=0, ge=0)
    """Spread of a log-normal latency around `latency_ms`; 0: always the same."""
    capacity: int = Field(default=64, ge=1)
    """Requests in service at once; the others queue."""
    tokens_per_second: float = Field(default=0, ge=0)
    """Output speed of one request; 0: instant."""
    prefill_tokens_per_second: float = Field(default=0, ge=0)
    """Speed of reading uncached input; 0: instant."""
    cache_tokens: int = Field(default=0, ge=0)
    """Size of the simulated prefix cache; 0: none."""
    seed: int = 0
    """Seed of latencies and faults."""
    faults: str = ""
    """Fault rates, for example `429=0.3,500=0.05,retry-after=1`."""
    witness: Path | None = None
    """File that gets one JSON line for each request that arrives."""
    queue_max: int | None = Field(default=None, ge=0)
    """Queued requests above which 429 is answered; None: no limit."""


BackendSettings = Annotated[
    AnthropicBackendSettings | OpenAIBackendSettings | LlamaCppBackendSettings | SimulatedBackendSettings,
    Field(discriminator="protocol"),
]
