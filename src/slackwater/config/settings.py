"""Every key that can be configured, with default, unit and range; docs/settings.md is compared with this."""

import difflib
import ipaddress
import re
import typing
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from slackwater.domain.model import Route, Routes
from slackwater.domain.pricing import FREE, Price

_NANOUSD_PER_USD = 10**9


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=False, hide_input_in_errors=True
    )


class ServerSettings(_Section):
    """The HTTP server."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for every network interface."""
    port: int = Field(default=8321, ge=0, le=65535)
    """TCP port; 0 takes a free one and reports it."""
    public_url: str = ""
    """Base URL under which clients reach this server, path prefix included. `results_url` is built from it; empty: from
    the request."""
    cors_origins: tuple[str, ...] = ()
    """Web origins (`https://app.example.com`) whose pages may call the API from a browser."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (`10.0.0.0/8`) whose `X-Forwarded-*` headers are believed."""
    strict_version: bool = True
    """Refuse HTTP requests without a known `anthropic-version` header, as the official API does."""
    strict_betas: bool = False
    """Refuse unknown `anthropic-beta` values instead of ignoring them."""

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str) -> str:
        if value and (not re.match(r"https?://[^/{}\s]+", value) or re.search(r"[{}\s?#]", value)):
            raise ValueError('must look like "https://batches.example.com"')
        return value.rstrip("/")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/\s*]+", origin):
                raise ValueError(f'"{origin}" is not an origin such as "https://app.example.com"')
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f'"{network}" is not an address or a network such as "10.0.0.0/8"') from None
        return value


class StorageSettings(_Section):
    """Where everything is kept."""

    data_dir: Path = Path("slackwater-data")
    """Directory of the database, the blobs, the journals and the control socket; made with mode 0700 when missing."""
    database: str = Field(default="sqlite", repr=False)
    """`sqlite` (one machine, one server) or `postgresql://user:password@host/name`."""
    blobs: str = "local"
    """`local`: below `data_dir`."""
    pepper_file: Path | None = None
    """File whose bytes are mixed into every stored key digest; servers that share a database must share it.
    None: `data_dir/pepper`, made on the first start. `SLACKWATER_PEPPER` (text) wins over both."""

    @field_validator("database")
    @classmethod
    def _database(cls, value: str) -> str:
        if value != "sqlite" and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError('must be "sqlite" or "postgresql://user:password@host/name"')
        return value

    @field_validator("blobs")
    @classmethod
    def _blobs(cls, value: str) -> str:
        if value.startswith(("s3://", "gs://", "az://")):
            raise ValueError('object storage is not available yet; use "local"')
        if value != "local":
            raise ValueError('must be "local"')
        return value

    @field_validator("data_dir", "pepper_file")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()


class WorkerSettings(_Section):
    """How this process works through batches."""

    enabled: bool = True
    """Whether `slackwater serve` also works; false where separate `slackwater worker` processes do."""
    max_in_flight: int = Field(default=256, ge=1)
    """Requests in flight at once at any one backend of this process, where the backend sets no limit of its own."""
    lease_seconds: float = Field(default=30, ge=1, le=3600)
    """How long a worker may hold a shard without renewing; a dead worker's shards are free after this time."""
    grace_seconds: float = Field(default=60, ge=0, le=3600)
    """How long requests already in flight may go on after a cancel or an expiry before they are aborted."""


class BatchSettings(_Section):
    """The life of a batch."""

    expires_after_seconds: float = Field(default=86_400, gt=0, le=86_400 * 30)
    """Age at which what is not done yet is expired; shorter values are for tests and demos."""
    results_kept_days: float = Field(default=29, gt=0, le=3650)
    """Age of a batch at which its results are removed; the batch object stays."""


class _BackendSettings(_Section):
    name: str = Field(min_length=1, max_length=64)
    """What models refer to; unique."""
    max_in_flight: int | None = Field(default=None, ge=1)
    """Requests in flight at once at this backend; None: found out while working, from 429s and latency."""
    timeout_seconds: float = Field(default=600, gt=0)
    """Longest time one attempt may take."""


class _RemoteSettings(_BackendSettings):
    url: str
    """Base URL, for example `http://127.0.0.1:8000`."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the backend's key; None: no key is sent."""

    pass_urls: bool = False
    """Let the backend fetch addresses that clients name; only for one outside your own network. False refuses them."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not re.match(r"https?://[^/\s@]+(/|$)", value):
            raise ValueError('must look like "http://127.0.0.1:8000" and hold no password')
        return value.rstrip("/")


class AnthropicBackendSettings(_RemoteSettings):
    """A server that speaks `/v1/messages`."""

    protocol: Literal["anthropic"]
    """How the backend is spoken to: `anthropic`, `openai` or `simulated`."""


class OpenAIBackendSettings(_RemoteSettings):
    """A server that speaks `/v1/chat/completions`."""

    protocol: Literal["openai"]
    """How the backend is spoken to: `anthropic`, `openai` or `simulated`."""
    flavour: Literal["auto", "vllm", "sglang", "llamacpp", "ollama", "openai"] = "auto"
    """Which server it is, for extensions such as reasoning switches; `auto` sends what all of them take."""


class SimulatedBackendSettings(_BackendSettings):
    """The declared simulator: no model behind it."""

    protocol: Literal["simulated"]
    """How the backend is spoken to: `anthropic`, `openai` or `simulated`."""
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
    AnthropicBackendSettings | OpenAIBackendSettings | SimulatedBackendSettings, Field(discriminator="protocol")
]


class PriceSettings(_Section):
    """USD per million tokens, standard tier; batch work costs half of it."""

    input: Decimal = Field(ge=0, allow_inf_nan=False, decimal_places=9)
    """Input tokens that are not cached."""
    output: Decimal = Field(ge=0, allow_inf_nan=False, decimal_places=9)
    """Output tokens."""

    def price(self) -> Price:
        """Return it in whole nano-dollars; nothing is rounded."""
        return Price(
            input_nanousd_per_mtok=int(self.input * _NANOUSD_PER_USD),
            output_nanousd_per_mtok=int(self.output * _NANOUSD_PER_USD),
        )


class ModelSettings(_Section):
    """A model name clients may send, and what serves it."""

    id: str = Field(min_length=1, max_length=256)
    """The name clients send; may be a glob (`qwen-*`), `*` is the fallback."""
    backend: str
    """`name` of the backend that serves it."""
    upstream: str | None = None
    """The name the backend knows; None: the one the client sent."""
    max_input_tokens: int | None = Field(default=None, ge=1)
    """Shown to clients that list models."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Largest `max_tokens` accepted; None: not limited here."""
    vision: bool = True
    """Whether images are accepted."""
    allow_sampling: bool = False
    """Accept `temperature`, `top_p` and `top_k` under API version 2026-10-21 too."""
    price: PriceSettings | None = None
    """What a message costs on the ledger; None: nothing."""

    def route(self) -> Route:
        """Return it as the steps know it."""
        fields = self.model_dump(exclude={"price"})
        return Route(**fields, price=self.price.price() if self.price else FREE)


class LogSettings(_Section):
    """What is written to stderr while serving."""

    format: Literal["auto", "json", "text"] = "auto"
    """`auto`: text on a terminal, JSON otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message that is written."""


class Engine(Protocol):
    """An inference server that was found running."""

    @property
    def kind(self) -> str:
        """What it is: `vllm`, `ollama`, …."""

    @property
    def url(self) -> str:
        """Its base URL."""

    @property
    def protocol(self) -> str:
        """`anthropic` or `openai`."""

    @property
    def models(self) -> Sequence[str]:
        """The model names it offers."""


class Settings(_Section):
    """Everything that can be configured."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    worker: WorkerSettings = WorkerSettings()
    batches: BatchSettings = BatchSettings()
    backends: tuple[BackendSettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [backend.name for backend in self.backends]
        for kind, values in (("backends", names), ("models", [model.id for model in self.models])):
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f'{kind}: "{value}" is there more than once')
        for model in self.models:
            if model.backend not in names:
                raise ValueError(
                    f'models: "{model.id}" names the backend "{model.backend}", which is not configured'
                    + did_you_mean(model.backend, names)
                )
        if len(names) > 1 and not self.models:
            raise ValueError("models: there are several backends, so [[models]] must say which one serves which model")
        return self

    def routes(self) -> Routes:
        """Return which backend serves which model; a single backend without models serves every name."""
        routes = [model.route() for model in self.models]
        if not routes and self.backends:
            routes = [Route(id="*", backend=self.backends[0].name)]
        fetching = {backend.name for backend in self.backends if getattr(backend, "pass_urls", False)}
        return Routes(routes=tuple(replace(route, pass_urls=route.backend in fetching) for route in routes))

    def with_engines(self, found: Sequence[Engine]) -> Self:
        """Return settings connected to engines that run on this machine, or to the simulator when there are none.

        Every model they offer gets its own name, the first engine's first model also every other name.
        """
        if not found:
            return self.model_copy(
                update={"backends": (SimulatedBackendSettings(name="simulated", protocol="simulated"),)}
            )
        backends: list[AnthropicBackendSettings | OpenAIBackendSettings] = []
        models: dict[str, ModelSettings] = {}
        for number, engine in enumerate(found):
            name = engine.kind if engine.kind not in {one.kind for one in found[:number]} else f"{engine.kind}-{number}"
            backends.append(_backend(name, engine))
            for model in engine.models:
                models.setdefault(model, ModelSettings(id=model, backend=name))
        fallback = next(iter(models), None)
        rest = ModelSettings(id="*", backend=models[fallback].backend if fallback else backends[0].name)
        return self.model_copy(
            update={
                "backends": tuple(backends),
                "models": (*models.values(), rest.model_copy(update={"upstream": fallback})),
            }
        )

    @property
    def control_socket(self) -> Path:
        """Where a running server of this data directory listens for administrative commands."""
        return self.storage.data_dir / "control.sock"


def _backend(name: str, engine: Engine) -> AnthropicBackendSettings | OpenAIBackendSettings:
    if engine.protocol == "anthropic":
        return AnthropicBackendSettings(name=name, protocol="anthropic", url=engine.url)
    known = typing.get_args(OpenAIBackendSettings.model_fields["flavour"].annotation)
    flavour = engine.kind.lower().replace(".", "").replace("_", "")
    return OpenAIBackendSettings(
        name=name, protocol="openai", url=engine.url, flavour=flavour if flavour in known else "auto"
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "…"?)` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""
