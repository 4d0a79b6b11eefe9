"""What the figures share: how much to do, where, and the one batch that several of them look at."""

import http.client
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from memory import Peak
from processes import API_KEY, HEADERS, Program, answered, instant_backend, slackwater
from workload import batch_body, params_lines

T = TypeVar("T")

CONCURRENCY = 64
"""Calls in flight, ours and the yardsticks'."""
BATCHES = "/v1/messages/batches"
BESIDE_REQUESTS = 20_000
"""Of the batch that is measured beside another program."""
LOCAL_SLOTS, LOCAL_CONTEXT_TOKENS = 4, 2_048
"""Of the local model that figures measure."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report."""

    figure: str
    ours: float | None
    """None where it could not be measured; `meaning` says why."""
    unit: str = ""
    yardstick: float | None = None
    """The same unit; None where there is nothing to compare with."""
    better: Literal["lower", "higher"] = "lower"
    meaning: str
    """What was compared with what."""
    bar: str | None = None
    """What the yardstick is called in the plot; None: it is not there."""

    @property
    def ratio(self) -> float | None:
        """Ours over the yardstick's."""
        return self.ours / self.yardstick if self.ours is not None and self.yardstick else None


def not_measured(figure: str, why: str) -> Row:
    """Return the row of what this machine does not allow."""
    return Row(figure=figure, ours=None, meaning=" ".join(why.replace("|", "/").split()))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much work a run does."""

    requests: int
    """Of the create and end-to-end batches."""
    saturation_requests: int
    sdk_requests: int
    local_requests: int
    """Short ones, to the model in the box."""
    kept_batches: int
    """In the store that is listed."""
    repeats: int = 3
    """Of what is short; the median counts."""


DEFAULT = Scale(
    requests=20_000, saturation_requests=2_000, sdk_requests=1_000, local_requests=2_000, kept_batches=5_000
)
FULL = Scale(
    requests=100_000, saturation_requests=10_000, sdk_requests=5_000, local_requests=10_000, kept_batches=100_000
)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A batch that went through a server against the instant backend."""

    server: Program
    directory: Path
    """Of the server; its data is in `data` below."""
    batch_id: str
    seconds: float
    """From the first byte of the create call until `ended` was seen."""
    cpu_seconds: float
    """Of the server and its children, in that time."""
    idle_bytes: int
    """Resident before the batch."""
    peak_bytes: int
    """Resident at most, children included."""


@dataclass(frozen=True, kw_only=True)
class Created:
    """A create call, timed."""

    batch: dict[str, Any]
    whole_seconds: float
    """From before connecting to the end of the answer."""
    after_seconds: float
    """From the last byte handed to the kernel to the end of the answer."""


class Context:
    """Handed to every figure."""

    def __init__(self, directory: Path, scale: Scale, stack: ExitStack, model: Path | None = None) -> None:
        self.directory = directory
        self.scale = scale
        self.model = model
        """For the figures on a local model; None: the one in the box."""
        self._stack = stack

    @cached_property
    def backend(self) -> Program:
        """The instant backend."""
        return self._stack.enter_context(instant_backend(self.directory / "backend"))

    @cached_property
    def body(self) -> bytes:
        """The create call's body."""
        return batch_body(self.scale.requests)

    @cached_property
    def lines(self) -> Path:
        """A file with the params of the same requests, one a line."""
        path = self.directory / "params.jsonl"
        path.write_bytes(params_lines(self.scale.requests))
        return path

    @cached_property
    def finished(self) -> Finished:
        """The batch that has gone through, on a server that still runs."""
        directory = self.directory / "finished"
        server = self._stack.enter_context(slackwater(directory, config(self.backend)))
        warm_up(server)
        body = self.body
        with Peak(server.process.pid) as idle:
            pass
        with Peak(server.process.pid) as peak:
            cpu, started = server.cpu_seconds(), time.perf_counter()
            created = create(server, body)
            batch = wait_until_ended(server, created.batch["id"])
            seconds, cpu = time.perf_counter() - started, server.cpu_seconds() - cpu
        if batch["request_counts"]["succeeded"] != self.scale.requests:
            message = f"not every request succeeded: {batch['request_counts']}"
            raise RuntimeError(message)
        return Finished(
            server=server,
            directory=directory,
            batch_id=batch["id"],
            seconds=seconds,
            cpu_seconds=cpu,
            idle_bytes=idle.resident_bytes,
            peak_bytes=peak.resident_bytes,
        )

    def beside(self, other: Callable[[], T]) -> tuple[float, T]:
        """Return our rate, requests per second, measured right before and after `other`, and what that returns.

        Other work on the machine comes and goes, and may halve both from one minute to the next.
        """
        before, theirs, after = self._seconds(), other(), self._seconds()
        return 2 * BESIDE_REQUESTS / (before + after), theirs

    def _seconds(self) -> float:
        """Return the seconds from create call to `ended` of a batch on the server that still runs."""
        server, body = self.finished.server, batch_body(BESIDE_REQUESTS)
        started = time.perf_counter()
        wait_until_ended(server, create(server, body).batch["id"])
        return time.perf_counter() - started


def config(backend: Program, *, max_in_flight: int | None = CONCURRENCY) -> str:
    """Return the configuration of a server in front of a backend."""
    limit = "" if max_in_flight is None else f"max_in_flight = {max_in_flight}"
    return f"""\
[[backends]]
name = "bench"
protocol = "anthropic"
url = "{backend.url}"
{limit}

[[models]]
id = "*"
backend = "bench"
"""


def local_config(model: Path, *, slots: int | None = LOCAL_SLOTS) -> str:
    """Return the configuration of a server that runs a model itself, for every model name; None: as it sees fit."""
    chosen = "" if slots is None else f"slots = {slots}\ncontext_tokens = {LOCAL_CONTEXT_TOKENS}"
    return f"""\
[[backends]]
name = "local"
protocol = "llamacpp"
model = "{model}"
{chosen}

[[models]]
id = "*"
backend = "local"
"""


def create(server: Program, body: bytes, path: str = BATCHES, *, key: str = API_KEY) -> Created:
    """Make a create call, or any other POST that answers with JSON."""
    connection = server.connect()
    with closing(connection):
        started = time.perf_counter()
        connection.putrequest("POST", path)
        for name, value in {**HEADERS, "x-api-key": key, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.sock.sendall(body)
        sent_at = time.perf_counter()
        batch = answered(connection.getresponse())
        done_at = time.perf_counter()
    return Created(batch=batch, whole_seconds=done_at - started, after_seconds=done_at - sent_at)


def wait_until_ended(
    server: Program, batch_id: str, *, first_seconds: float = 0.0, every_seconds: float = 0.05, key: str = API_KEY
) -> dict[str, Any]:
    """Retrieve a batch until it has ended, the first time after `first_seconds`."""
    time.sleep(first_seconds)
    connection = server.connect()
    with closing(connection):
        while True:
            batch = _retrieved(connection, batch_id, key)
            if batch["processing_status"] == "ended":
                return batch
            time.sleep(every_seconds)


def warm_up(server: Program) -> None:
    """Let a small batch go through, so that what is loaded on first use is there."""
    wait_until_ended(server, create(server, batch_body(200)).batch["id"])


def _retrieved(connection: http.client.HTTPConnection, batch_id: str, key: str) -> dict[str, Any]:
    connection.request("GET", f"{BATCHES}/{batch_id}", headers={**HEADERS, "x-api-key": key})
    batch: dict[str, Any] = answered(connection.getresponse())
    return batch
