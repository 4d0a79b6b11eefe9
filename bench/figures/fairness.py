"""Fairness: how long a few requests of other workspaces take while a batch has the whole backend, and without it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median

from context import BATCHES, Context, Row, config, create, wait_until_ended, warm_up
from processes import Program, administered, simulator, slackwater
from workload import batch_body

LATENCY_MS, CAPACITY = 400, 256
"""Of the backend. Both are such that it is the bottleneck, not a core, and that what the others send fits into it."""
OTHERS = 10
"""Workspaces besides the one of the large batch."""
REQUESTS = 10
"""Of each of their batches."""
REPEATS = 9
"""The median counts."""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    directory = context.directory / "fairness"
    options = ("--latency-ms", str(LATENCY_MS), "--capacity", str(CAPACITY))
    with (
        simulator(context.directory / "shared", *options) as backend,
        slackwater(directory, config(backend, max_in_flight=CAPACITY)) as server,
    ):
        warm_up(server)
        keys, body = [_key(directory, f"other-{number}") for number in range(OTHERS)], batch_body(REQUESTS)

        def small(key: str) -> float:
            return _seconds(server, key, body)

        alone, ten_alone = _one(small, keys), _together(small, keys)
        with _running(server, context.body):
            beside, ten_beside = _one(small, keys), _together(small, keys)
    what = f"a batch of {REQUESTS} requests of another workspace"
    large = f"{context.scale.requests:,} requests"
    return [
        Row(
            figure=f"{what} while {large} run",
            ours=1e3 * beside,
            unit="ms",
            yardstick=1e3 * alone,
            meaning=(
                f"create call to the end of the batch, median of {REPEATS}; against the same batch alone; a call to the"
                f" backend takes {LATENCY_MS} ms, and the large batch keeps all {CAPACITY} places busy"
            ),
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
    ]


def _key(directory: Path, workspace: str) -> str:
    administered(directory, "workspaces", "create", workspace)
    return str(administered(directory, "keys", "create", "--workspace", workspace)["key"])


def _one(small: Callable[[str], float], keys: list[str]) -> float:
    return median(small(keys[number % len(keys)]) for number in range(REPEATS))


def _together(small: Callable[[str], float], keys: list[str]) -> float:
    """Return the seconds of the slowest batch where every workspace has one at the same time."""
    with ThreadPoolExecutor(len(keys)) as threads:
        return median(max(threads.map(small, keys)) for _ in range(REPEATS))


def _seconds(server: Program, key: str, body: bytes) -> float:
    """Return how long a batch takes; the server says when it ended, since asking often would be work of its own."""
    started_at = time.time()
    batch = create(server, body, key=key).batch
    ended = wait_until_ended(server, batch["id"], first_seconds=LATENCY_MS / 1e3, every_seconds=0.1, key=key)
    if ended["request_counts"]["succeeded"] != REQUESTS:
        raise RuntimeError(f"not every request succeeded: {ended['request_counts']}")
    return datetime.fromisoformat(ended["ended_at"]).timestamp() - started_at


@contextmanager
def _running(server: Program, body: bytes) -> Iterator[None]:
    """Have a large batch keep the backend busy meanwhile, from its first results on."""
    path = f"{BATCHES}/{create(server, body).batch['id']}"
    while not server.get(f"{path}/progress")["progress"]["succeeded"]:
        time.sleep(0.05)
    yield
    if server.get(f"{path}/progress")["progress"]["processing"] < CAPACITY:
        raise RuntimeError("the large batch was done before the small ones were: the backend was not busy")
    create(server, b"{}", f"{path}/cancel")
    wait_until_ended(server, path.rpartition("/")[2])
