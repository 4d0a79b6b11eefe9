"""Saturation: how close the work comes to what the backend could do at best."""

import math
import time
from pathlib import Path

from context import CONCURRENCY, Context, Row, config, create, wait_until_ended, warm_up
from processes import Program, measured_by, simulator, slackwater
from workload import batch_body, params_lines

LATENCY_MS = 50


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    requests = context.scale.saturation_requests
    least = math.ceil(requests / CONCURRENCY) * LATENCY_MS / 1_000
    body, lines = batch_body(requests), context.directory / "saturation.jsonl"
    lines.write_bytes(params_lines(requests))
    options = ("--latency-ms", str(LATENCY_MS), "--capacity", str(CONCURRENCY))
    with simulator(context.directory / "saturated", *options) as backend:
        given = _makespan(context.directory / "given", config(backend), body, least)
        found = _makespan(context.directory / "found", config(backend, max_in_flight=None), body, least)
        bare = _bare(backend, lines)
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
            figure="saturation, bare loop instead of us",
            ours=bare,
            unit="s",
            yardstick=least,
            meaning="what the simulator and a bare aiohttp loop need: the floor of this measurement",
        ),
    ]


def _makespan(directory: Path, text: str, body: bytes, least_seconds: float) -> float:
    """Return the seconds from the create call to `ended`."""
    with slackwater(directory, text) as server:
        warm_up(server)
        started = time.perf_counter()
        created = create(server, body)
        wait_until_ended(server, created.batch["id"], first_seconds=0.9 * least_seconds, every_seconds=0.01)
        return time.perf_counter() - started


def _bare(backend: Program, lines: Path) -> float:
    return measured_by("bare", backend.url, str(lines), str(CONCURRENCY))["seconds"]
