"""Logs and metrics: what a server tells its operator, without ever telling what people asked or with which key (I4).

Logging goes through structlog, foreign loggers (uvicorn, aiohttp, SQLAlchemy) included. Metrics listen to domain
events.
"""

import logging
import re
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from itertools import accumulate
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from slackwater.domain.events import (
    AttemptEnded,
    BatchAdmitted,
    BatchCancelInitiated,
    BatchEnded,
    Event,
    RequestResolved,
)
from slackwater.domain.result import Usage

LogFormat = Literal["auto", "json", "text"]

_SECRET = re.compile(
    r"(slw_[1-9A-HJ-NP-Za-km-z]{8}_)[A-Za-z0-9_-]+|(sk-[A-Za-z]*-?)[A-Za-z0-9_-]{8,}|((?i:bearer\s+))\S+"
    r"|(\w+://[^/\s:@]*:)[^/\s@]+(?=@)"
)
_SECRET_FIELDS = frozenset({"api_key", "authorization", "x-api-key", "key", "secret", "password", "pepper", "database"})
_BODY_FIELDS = frozenset({"params", "body", "messages", "content", "prompt", "system", "line", "message_body"})
_ATTEMPT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


def configure_logging(log_format: LogFormat = "auto", level: str = "info") -> None:
    """Send every log line to stderr, one JSON object or one readable line each."""
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if as_text
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        # Tracebacks are plain text by now, so that redaction sees them too; locals never appear in them.
        *([] if as_text else [structlog.processors.format_exc_info]),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),  # what is not written costs next to nothing
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_Stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if level != "debug":
        logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        bridged = logging.getLogger(name)
        bridged.handlers.clear()
        bridged.propagate = True


class _Stderr:
    """Whatever stderr is at the moment: it may be replaced while the process runs."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask keys and drop bodies, whoever logged them."""
    for name, value in event.items():
        if name.lower() in _SECRET_FIELDS:
            event[name] = "***"
        elif name.lower() in _BODY_FIELDS:
            event[name] = "(not logged)"
        elif not name.startswith("_"):
            event[name] = _redacted(value)
    return event


def _redacted(value: object) -> object:
    if isinstance(value, str):
        return _SECRET.sub(lambda found: next(group for group in found.groups() if group is not None) + "***", value)
    if isinstance(value, Mapping):
        return redact(None, "", dict(value))
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


class Metrics:
    """Counts what happens; labels are bounded by the configuration, never by what clients send."""

    def __init__(
        self,
        *,
        in_flight: Callable[[], float] | None = None,
        queued: Callable[[], float] | None = None,
        disk_free_bytes: Callable[[], float] | None = None,
        disk_low: Callable[[], float] | None = None,
        wall_drift_seconds: Callable[[], float] | None = None,
    ) -> None:
        """Take what is read whenever metrics are: requests in flight and without a result, the disk, the wall clock."""
        self._registry = CollectorRegistry()
        self._untold: dict[tuple[Counter, *tuple[str, ...]], int] = defaultdict(int)
        """What happened since metrics were read: a plain number costs a tenth of what a metric with its lock does."""
        self._admitted = self._counter("batches_admitted", "Batches admitted.")
        self._requests_admitted = self._counter("requests_admitted", "Requests in admitted batches.")
        self._canceled = self._counter("batch_cancels", "Cancels accepted.")
        self._ended = self._counter("batches_ended", "Batches ended.")
        self._resolved = self._counter("requests", "Requests that got their result.", "result")
        self._tokens = self._counter("tokens", "Tokens of requests that succeeded.", "kind")
        self._attempts = self._counter("attempts", "Tries of a request at a backend.", "backend", "outcome")
        self._tries: dict[str, _Durations] = defaultdict(_Durations)
        self._registry.register(_Tries(self._tries))
        self._gauge("in_flight_requests", "Requests in flight at backends.", in_flight)
        self._gauge("queued_requests", "Requests of batches that have no result yet.", queued)
        self._gauge("disk_free_bytes", "Free space on the data directory's file system.", disk_free_bytes)
        self._gauge("disk_low", "1 while there is too little of it to take anything new in.", disk_low)
        self._gauge("wall_clock_drift_seconds", "How far the wall clock is ahead of the server's.", wall_drift_seconds)

    def __call__(self, event: Event) -> None:
        """Count one event (ports.Listener)."""
        match event:
            case AttemptEnded():
                self._untold[self._attempts, event.backend, event.outcome] += 1
                self._tries[event.backend].add(event.seconds)
            case RequestResolved():
                self._untold[self._resolved, event.type] += 1
                self._count_tokens(event.usage)
            case BatchAdmitted():
                self._admitted.inc()
                self._requests_admitted.inc(event.size)
            case BatchCancelInitiated():
                self._canceled.inc()
            case BatchEnded():
                self._ended.inc()

    def render(self) -> bytes:
        """Return everything in the Prometheus text format."""
        for (counter, *labels), number in self._untold.items():
            counter.labels(*labels).inc(number)
        self._untold.clear()
        return generate_latest(self._registry)

    def _count_tokens(self, usage: Usage) -> None:
        untold, tokens = self._untold, self._tokens
        untold[tokens, "input"] += usage.input_tokens
        untold[tokens, "cache_read"] += usage.cache_read_input_tokens
        written = usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens
        untold[tokens, "cache_creation"] += written
        untold[tokens, "output"] += usage.output_tokens

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="slackwater", registry=self._registry)

    def _gauge(self, name: str, text: str, source: Callable[[], float] | None) -> None:
        if source is not None:
            Gauge(name, text, namespace="slackwater", registry=self._registry).set_function(source)


class _Durations:
    """How long tries at one backend took."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_ATTEMPT_BUCKETS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_ATTEMPT_BUCKETS, seconds)] += 1
        self.seconds += seconds


class _Tries(Collector):
    """Their histogram, made when metrics are read."""

    def __init__(self, tries: Mapping[str, _Durations]) -> None:
        self._tries = tries

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily("slackwater_attempt_seconds", "How long a try took.", labels=("backend",))
        bounds = [*(str(float(bound)) for bound in _ATTEMPT_BUCKETS), "+Inf"]
        for backend, seen in self._tries.items():
            buckets = list(zip(bounds, accumulate(seen.counts), strict=True))
            family.add_metric((backend,), buckets, seen.seconds)
        yield family
