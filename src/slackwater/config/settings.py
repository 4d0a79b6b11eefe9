"""Every key that can be configured, with default, unit and range; docs/settings.md is compared with this."""

import ipaddress
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from slackwater.config.backends import LOCAL, BackendSettings, EngineSettings, LlamaCppBackendSettings
from slackwater.config.section import Section, did_you_mean
from slackwater.documents.addresses import AllowList
from slackwater.domain.limits import FILE_BYTES_MAX, FILES_BYTES_MAX, MIB
from slackwater.domain.model import Route, Routes
from slackwater.domain.pricing import FREE, Price

_NANOUSD_PER_USD = 10**9


class ServerSettings(Section):
    """The HTTP server."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for every network interface."""
    port: int = Field(default=8321, ge=0, le=65535)
    """TCP port; 0 takes a free one and reports it."""
    reuse_port: bool = False
    """Listen on a port where another server listens that does the same, so that a new one can start before the old one
    stops and no call is refused in between. For servers that share a PostgreSQL database, on Linux."""
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


class StorageSettings(Section):
    """Where everything is kept."""

    data_dir: Path = Path("slackwater-data")
    """Directory of the database, the blobs, the journals and the control socket; made with mode 0700 when missing."""
    database: str = Field(default="sqlite", repr=False)
    """`sqlite` (one machine, one server) or `postgresql://user:password@host/name`."""
    blobs: str = "local"
    """`local`: below `data_dir`."""
    reserve_bytes: int | None = Field(default=None, ge=0)
    """Free space on the file system of `data_dir` below which no batch or file is taken in and no request is begun.
    None: 5 % of it, at least 1 GiB and at most 10 GiB."""
    ballast_bytes: int = Field(default=64 * MIB, ge=0)
    """Size of `data_dir/ballast`, a file that is removed when the disk is full, so that what is in flight can still be
    recorded and things can be deleted. It comes back with the space."""
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


class WorkerSettings(Section):
    """How this process works through batches."""

    enabled: bool = True
    """Whether `slackwater serve` also works; false where separate `slackwater worker` processes do."""
    max_in_flight: int = Field(default=256, ge=1)
    """Requests in flight at once at any one backend of this process, where the backend sets no limit of its own."""
    lease_seconds: float = Field(default=30, ge=1, le=3600)
    """How long a worker may hold a shard without renewing; a dead worker's shards are free after this time."""
    grace_seconds: float = Field(default=60, ge=0, le=3600)
    """How long requests already in flight may go on after a cancel or an expiry before they are aborted."""


class BatchSettings(Section):
    """The life of a batch."""

    expires_after_seconds: float = Field(default=86_400, gt=0, le=86_400 * 30)
    """Age at which what is not done yet is expired; shorter values are for tests and demos."""
    results_kept_days: float = Field(default=29, gt=0, le=3650)
    """Age of a batch at which its results are removed; the batch object stays."""


class FileSettings(Section):
    """Files that clients upload."""

    size_bytes_max: int = Field(default=FILE_BYTES_MAX, ge=1)
    """Largest file, bytes."""
    quota_bytes: int = Field(default=FILES_BYTES_MAX, ge=0)
    """Bytes that the files of all workspaces may take together; equal bytes of one workspace count once."""
    downloadable: bool = False
    """Whether `GET /v1/files/{id}/content` hands out what was uploaded; the official API refuses it."""


class DocumentSettings(Section):
    """PDFs, and what requests refer to by URL."""

    pages_max: int = Field(default=600, ge=1, le=10_000)
    """Pages of the longest PDF that is read."""
    processes: int = Field(default=1, ge=1, le=64)
    """PDFs read at once, each in a process of its own."""
    fetch: bool = True
    """Whether URL sources are fetched; false refuses them."""
    fetch_allow: tuple[str, ...] = ()
    """Hosts (`files.example.com`, `*.example.com`), networks (`10.0.0.0/8`) and origins (`http://10.0.0.5:9000`) to
    fetch from besides public addresses."""

    @field_validator("fetch_allow")
    @classmethod
    def _allowed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowList(value)
        return value


class PriceSettings(Section):
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


class ModelSettings(Section):
    """A model name clients may send, and what serves it."""

    id: str = Field(min_length=1, max_length=256)
    """The name clients send; may be a glob (`qwen-*`), `*` is the fallback."""
    backend: str
    """`name` of the backend that serves it."""
    upstream: str | None = None
    """The name the backend knows; None: the one the client sent."""
    display_name: str | None = Field(default=None, min_length=1, max_length=256)
    """What people read in a list of models; None: `id`."""
    max_input_tokens: int | None = Field(default=None, ge=1)
    """Shown to clients that list models."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Largest `max_tokens` accepted; None: not limited here."""
    vision: bool | None = None
    """Whether the model sees. True: PDFs come with an image of every page where the backend does not read them itself;
    false: images are refused; None: images are passed on, and PDFs come as text."""
    allow_sampling: bool = False
    """Accept `temperature`, `top_p` and `top_k` under API version 2026-10-21 too."""
    tokenizer: Path | None = None
    """The model's `tokenizer.json`, or the directory it is in: counts tokens for `count_tokens` where the backend has
    no count of its own. Relative to the configuration file; takes `pip install 'slackwater[tokenizers]'`."""
    price: PriceSettings | None = None
    """What a message costs on the ledger; None: nothing."""

    @field_validator("tokenizer")
    @classmethod
    def _there(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        value = value.expanduser()
        value = value / "tokenizer.json" if value.is_dir() else value
        if not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    def route(self) -> Route:
        """Return it as the steps know it; whoever opens files adds the tokenizer."""
        fields = self.model_dump(exclude={"price", "vision", "tokenizer"})
        return Route(
            **fields,
            vision=self.vision is not False,
            page_images=self.vision is True,
            price=self.price.price() if self.price else FREE,
        )


class LogSettings(Section):
    """What is written to stderr while serving."""

    format: Literal["auto", "json", "text"] = "auto"
    """`auto`: text on a terminal, JSON otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message that is written."""


class Settings(Section):
    """Everything that can be configured."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    worker: WorkerSettings = WorkerSettings()
    batches: BatchSettings = BatchSettings()
    files: FileSettings = FileSettings()
    documents: DocumentSettings = DocumentSettings()
    engine: EngineSettings = EngineSettings()
    backends: tuple[BackendSettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _long_form(self) -> Self:
        """Write out the backend that `[engine] model` stands for."""
        engine = self.engine
        if engine.model is None:
            return self
        local = LlamaCppBackendSettings(name=LOCAL, protocol="llamacpp", model=engine.model, mmproj=engine.mmproj)
        if local in self.backends:
            return self
        if LOCAL in [backend.name for backend in self.backends]:
            raise ValueError(f'backends: "{LOCAL}" is what [engine] model is called; give this one another name')
        return self.model_copy(update={"backends": (*self.backends, local)})

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
        blind = {one.name for one in self.backends if isinstance(one, LlamaCppBackendSettings) and one.mmproj is None}
        return Routes(
            routes=tuple(
                replace(
                    route,
                    pass_urls=route.backend in fetching,
                    vision=route.vision and route.backend not in blind,
                    page_images=route.page_images and route.backend not in blind,
                )
                for route in routes
            )
        )

    @property
    def spool_dir(self) -> Path:
        """Where bodies lie that are not admitted yet, and results that are being joined."""
        return self.storage.data_dir / "spool"

    @property
    def control_socket(self) -> Path:
        """Where a running server of this data directory listens for administrative commands."""
        return self.storage.data_dir / "control.sock"
