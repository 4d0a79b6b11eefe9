"""Fairness: how long a few requests of other workspaces take while a batch has the whole backend, and without it."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from context import BATCHES, Context, Row, config, create, wait_until_ended, warm_up
from processes import Program, administered, simulator, slackwater
from workload import batch_body

LATENCY_MS, CAPACITY = 400, 256
"""Of the backend. Both are such that it is the bottleneck, not a core, and that what the others send fits into it."""
UNTOLD_LATENCY_MS, UNTOLD_CAPACITY = 200, 64
"""Of one whose limit has to be found out: without that, three times as much would wait in its queue as it computes."""
LOOKS = 4
"""So often in a row, half a second apart, its queue is short when the limit was found."""
OTHERS = 10
"""Workspaces besides the one of the large batch."""
REQUESTS = 10
"""Of each of their batches."""
REPEATS = 9
"""The median counts."""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    with _served(context, LATENCY_MS, CAPACITY, max_in_flight=CAPACITY) as (_, server, keys, small):
        alone, ten_alone = _one(small, keys), _together(small, keys)
        with _running(server, context.body, CAPACITY):
            beside, ten_beside = _one(small, keys), _together(small, keys)
    with _served(context, UNTOLD_LATENCY_MS, UNTOLD_CAPACITY, max_in_flight=None) as (backend, server, keys, small):
        untold_alone = _one(small, keys)
        with _running(server, context.body, UNTOLD_CAPACITY):
            _wait_for_a_short_queue(backend)
            untold = _one(small, keys)
    what = f"a batch of {REQUESTS} requests of another workspace"
    large = f"{context.scale.requests:,} requests"
    how = (
        f"create call to the end of the batch, median of {REPEATS}; against the same batch alone; a call to the backend"
    )
    return [
        Row(
            figure=f"{what} while {large} run",
            ours=1e3 * beside,
            unit="ms",
            yardstick=1e3 * alone,
            meaning=f"{how} takes {LATENCY_MS} ms, and the large batch keeps all {CAPACITY} places busy",
        ),
        Row(
            figure=f"{what}, {OTHERS} such workspaces at once, while {large} run",
            ours=1e3 * ten_beside,
            unit="ms",
            yardstick=1e3 * alone,
            meaning=(
                f"the slowest of the {OTHERS}, against one such batch alone;"
                f" {OTHERS} at once without the large batch: {1e3 * ten_alone:,.0f} ms"
            ),
        ),
        Row(
            figure=f"{what} while {large} run, limit found out",
            ours=1e3 * untold,
            unit="ms",
            yardstick=1e3 * untold_alone,
            meaning=f"{how} takes {UNTOLD_LATENCY_MS} ms, and nobody told that it has {UNTOLD_CAPACITY} places",
        ),
    ]


@contextmanager
def _served(
    context: Context, latency_ms: int, capacity: int, *, max_in_flight: int | None
) -> Iterator[tuple[Program, Program, list[str], Callable[[str], float]]]:
    """Run a backend and our server; further, keys of the other workspaces, and what times a batch of one."""
    directory = context.directory / f"fairness-{capacity}"
    options = ("--latency-ms", str(latency_ms), "--capacity", str(capacity))
    with (
        simulator(context.directory / f"shared-{capacity}", *options) as backend,
        slackwater(directory, config(backend, max_in_flight=max_in_flight)) as server,
    ):
        warm_up(server)
        keys, body = [_key(directory, f"other-{number}") for number in range(OTHERS)], batch_body(REQUESTS)
        yield backend, server, keys, lambda key: _seconds(server, key, body, latency_ms)


def _key(directory: Path, workspace: str) -> str:
    administered(directory, "workspaces", "create", workspace)
    return str(administered(directory, "keys", "create", "--workspace", workspace)["key"])


def _one(small: Callable[[str], float], keys: list[str]) -> float:
    return median(small(keys[number % len(keys)]) for number in range(REPEATS))


def _together(small: Callable[[str], float], keys: list[str]) -> float:
    """Return the seconds of the slowest batch where every workspace has one at the same time."""
    with ThreadPoolExecutor(len(keys)) as threads:
        return median(max(threads.map(small, keys)) for _ in range(REPEATS))


def _seconds(server: Program, key: str, body: bytes, latency_ms: int) -> float:
    """Return how long a batch takes; the server says when it ended, since asking often would be work of its own."""
    started_at = time.time()
    batch = create(server, body, key=key).batch
    ended = wait_until_ended(server, batch["id"], first_seconds=latency_ms / 1e3, every_seconds=0.1, key=key)
    if ended["request_counts"]["succeeded"] != REQUESTS:
        raise RuntimeError(f"not every request succeeded: {ended['request_counts']}")
    return datetime.fromisoformat(ended["ended_at"]).timestamp() - started_at


def _wait_for_a_short_queue(backend: Program) -> None:
    """Wait until the limit was found, which takes a few thousand answers."""
    short, deadline = 0, time.monotonic() + 60
    while short < LOOKS:
        if time.monotonic() > deadline:
            raise RuntimeError("the limit was not found in a minute")
        with urlopen(f"{backend.url}/stats") as answer:  # noqa: S310  # our own simulator
            short = short + 1 if json.load(answer)["queued"] < UNTOLD_CAPACITY else 0
        time.sleep(0.5)


@contextmanager
def _running(server: Program, body: bytes, capacity: int) -> Iterator[None]:
    """Have a large batch keep the backend busy meanwhile, from its first results on."""
    path = f"{BATCHES}/{create(server, body).batch['id']}"
    while not server.get(f"{path}/progress")["progress"]["succeeded"]:
        time.sleep(0.05)
    yield
    if server.get(f"{path}/progress")["progress"]["processing"] < capacity:
        raise RuntimeError("the large batch was done before the small ones were: the backend was not busy")
    create(server, b"{}", f"{path}/cancel")
    wait_until_ended(server, path.rpartition("/")[2])
