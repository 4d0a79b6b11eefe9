"""Workers: two `slackwater worker` processes beside a server on one PostgreSQL, against one of them."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from borrowed import PostgresServer
from context import CONCURRENCY, Context, Row, config, create, not_measured, wait_until_ended, warm_up
from processes import Program, simulator, slackwater, worker
from workload import batch_body

FIGURE = "two workers on one PostgreSQL"
CORES_MIN = 5
"""Two workers, the server, PostgreSQL and the backend each keep up to a core busy."""
LATENCY_MS = 100
SERVER = """\
[storage]
database = "{database}"
[worker]
enabled = false
"""


@dataclass(frozen=True, kw_only=True)
class Took:
    """What a batch took."""

    seconds: float
    """From the first byte of the create call until `ended` was seen."""
    cpu_seconds: tuple[float, ...]
    """Of each worker."""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    try:
        postgres = PostgresServer.start(fsync=True)
    except RuntimeError as error:
        return [not_measured(FIGURE, str(error))]
    try:
        return [*_instant(context, postgres.create_database()), _slow(context, postgres.create_database())]
    finally:
        postgres.stop()


def _instant(context: Context, database: str) -> list[Row]:
    directory, requests = context.directory / "workers", context.scale.requests
    text = SERVER.format(database=database) + config(context.backend)
    with slackwater(directory, text) as server:
        # One before and after two: other work on the machine comes and goes.
        before, two, after = (_batch(server, context.body, requests, directory, count) for count in (1, 2, 1))
    one = mean([before.seconds, after.seconds])
    cores = os.cpu_count() or 1
    shares = " and ".join(f"{100 * each / sum(two.cpu_seconds):.0f} %" for each in two.cpu_seconds)
    return [
        Row(
            figure=FIGURE,
            ours=requests / two.seconds,
            unit="requests/s",
            yardstick=requests / one,
            better="higher",
            meaning=(
                f"{requests:,} requests, each worker with {CONCURRENCY} in flight, against one worker; {_note(cores)}"
            ),
        ),
        Row(
            figure=f"{FIGURE}, their processor time for a request",
            ours=1e6 * sum(two.cpu_seconds) / requests,
            unit="µs",
            yardstick=1e6 * mean([before.cpu_seconds[0], after.cpu_seconds[0]]) / requests,
            meaning=f"both together, against one alone: what sharing costs; they did {shares} of the work",
        ),
    ]


def _slow(context: Context, database: str) -> Row:
    """Measure where a worker's places are what is short, not the cores of this machine."""
    directory, requests = context.directory / "slow", context.scale.saturation_requests
    options = ("--latency-ms", str(LATENCY_MS), "--capacity", str(10 * CONCURRENCY))
    with simulator(context.directory / "slow backend", *options) as backend:
        text, body = SERVER.format(database=database) + config(backend), batch_body(requests)
        with slackwater(directory, text) as server:
            one, two = (_batch(server, body, requests, directory, count) for count in (1, 2))
    return Row(
        figure=f"{FIGURE}, at a backend that takes {LATENCY_MS} ms",
        ours=requests / two.seconds,
        unit="requests/s",
        yardstick=requests / one.seconds,
        better="higher",
        meaning=f"{requests:,} requests, each worker with {CONCURRENCY} in flight: its places decide, not the cores",
    )


def _note(cores: int) -> str:
    if cores >= CORES_MIN:
        return f"on {cores} cores"
    return (
        f"this machine has {cores} cores, which one worker, the server, PostgreSQL and the backend share already: what"
        f" a second worker adds cannot be seen on fewer than {CORES_MIN}"
    )


def _batch(server: Program, body: bytes, requests: int, directory: Path, count: int) -> Took:
    """Have a batch worked through by so many workers."""
    with _workers(directory, count) as workers:
        warm_up(server)
        cpu, started = [one.cpu_seconds() for one in workers], time.perf_counter()
        batch = wait_until_ended(server, create(server, body).batch["id"])
        seconds = time.perf_counter() - started
        used = tuple(one.cpu_seconds() - before for one, before in zip(workers, cpu, strict=True))
    if batch["request_counts"]["succeeded"] != requests:
        raise RuntimeError(f"not every request succeeded: {batch['request_counts']}")
    return Took(seconds=seconds, cpu_seconds=used)


@contextmanager
def _workers(directory: Path, count: int) -> Iterator[list[Program]]:
    with ExitStack() as stack:
        yield [stack.enter_context(worker(directory)) for _ in range(count)]
