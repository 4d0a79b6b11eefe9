"""Saturation: how close the work comes to what the backend could do at best.

The makespan is the batch's own: from `created_at`, when all of it is durable and nothing is sent yet, to `ended_at`.
"""

import json
import math
import time
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

from context import CONCURRENCY, Context, Row, config, create, wait_until_ended, warm_up
from processes import Program, measured_by, simulator, slackwater
from workload import batch_body, params_lines

from slackwater.backends.simulated import SimulatedOptions
from slackwater.backends.simulated.engine import Engine
from slackwater.clock import SystemClock

LATENCY_MS = 50
SIGMA = 0.5
"""Of the logarithm of uneven latencies: one in twenty takes more than twice as long as the median."""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    requests = context.scale.saturation_requests
    least = math.ceil(requests / CONCURRENCY) * LATENCY_MS / 1_000
    body, lines = batch_body(requests), context.directory / "saturation.jsonl"
    lines.write_bytes(params_lines(requests))
    options = ("--latency-ms", str(LATENCY_MS), "--capacity", str(CONCURRENCY))
    with simulator(context.directory / "saturated", *options) as backend:
        given, _ = _makespan(context.directory / "given", config(backend), body, least)
        found, whole = _makespan(context.directory / "found", config(backend, max_in_flight=None), body, least)
        bare = _bare(backend, lines)
    with simulator(context.directory / "uneven", *options, "--latency-sigma", str(SIGMA)) as backend:
        uneven, least_uneven = _uneven(context.directory / "skewed", backend, body, requests)
    bound = f"{requests:,} requests, {LATENCY_MS} ms each, {CONCURRENCY} at once: {least:.2f} s at best"
    return [
        Row(figure="saturation, limit configured", ours=given, unit="s", yardstick=least, meaning=bound),
        Row(
            figure="saturation, limit found out",
            ours=found,
            unit="s",
            yardstick=least,
            meaning="the same without `max_in_flight` in the configuration",
        ),
        Row(
            figure="saturation, limit found out, create call included",
            ours=whole,
            unit="s",
            yardstick=least,
            meaning="the same from the first byte of the create call until `ended` was seen",
        ),
        Row(
            figure="saturation, log-normal latencies",
            ours=uneven,
            unit="s",
            yardstick=least_uneven,
            meaning=f"the same with a sigma of {SIGMA}: against the sum of all latencies, divided by {CONCURRENCY}",
        ),
        Row(
            figure="saturation, bare loop instead of us",
            ours=bare,
            unit="s",
            yardstick=least,
            meaning="what the simulator and a bare aiohttp loop need: the floor of this measurement",
        ),
    ]


def _makespan(directory: Path, text: str, body: bytes, least_seconds: float) -> tuple[float, float]:
    """Return the seconds that the batch took, and those from the create call until its end was seen."""
    with slackwater(directory, text) as server:
        warm_up(server)
        started = time.perf_counter()
        created = create(server, body)
        batch = wait_until_ended(server, created.batch["id"], first_seconds=0.9 * least_seconds, every_seconds=0.01)
        whole = time.perf_counter() - started
    began, ended = (datetime.fromisoformat(batch[instant]) for instant in ("created_at", "ended_at"))
    return (ended - began).total_seconds(), whole


def _uneven(directory: Path, backend: Program, body: bytes, requests: int) -> tuple[float, float]:
    """Return the makespan and its lower bound: which latency an arrival gets follows from its number."""
    engine = Engine(SimulatedOptions(latency_ms=LATENCY_MS, latency_sigma=SIGMA, capacity=CONCURRENCY), SystemClock())
    roughly = requests * LATENCY_MS / 1_000 / CONCURRENCY
    took, _ = _makespan(directory, config(backend, max_in_flight=None), body, roughly)
    with urlopen(f"{backend.url}/stats") as answer:  # noqa: S310  # our own simulator
        arrived = json.load(answer)["arrived"]
    return took, sum(map(engine.latency_seconds, range(arrived - requests + 1, arrived + 1))) / CONCURRENCY


def _bare(backend: Program, lines: Path) -> float:
    return measured_by("bare", backend.url, str(lines), str(CONCURRENCY))["seconds"]
