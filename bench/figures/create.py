"""Create: what a 200 that can be relied on costs beyond receiving, writing and syncing the same bytes."""

import http.client
import threading
import time
from contextlib import ExitStack, closing
from statistics import median
from typing import Self

from context import BATCHES, Context, Created, Row, create
from memory import Peak
from processes import Program, slackwater, yardstick
from workload import batch_body

POLL_SECONDS = 0.005
SMALL_REQUESTS = 20
SMALL_REPEATS = 30
# No worker: what is measured is admission, not the work that begins at once after it.
CONFIG = """\
[worker]
enabled = false

[[backends]]
name = "nobody"
protocol = "anthropic"
url = "http://127.0.0.1:9"

[[models]]
id = "*"
backend = "nobody"
"""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    body, small, size = context.body, batch_body(SMALL_REQUESTS), f"{context.scale.requests:,} requests"
    with ExitStack() as stack:
        ours = stack.enter_context(slackwater(context.directory / "create", CONFIG))
        plain = stack.enter_context(yardstick(context.directory / "plain"))
        for _ in range(3):
            create(ours, small)
            create(plain, small, "/spool")
        small_pairs = [(create(ours, small), create(plain, small, "/spool")) for _ in range(SMALL_REPEATS)]
        with Peak(ours.process.pid) as our_peak, Peak(plain.process.pid) as plain_peak:
            pairs = [(create(ours, body), create(plain, body, "/spool")) for _ in range(context.scale.repeats)]
        holds = [
            (_longest_answer(ours, body, BATCHES), _longest_answer(plain, body, "/spool"))
            for _ in range(context.scale.repeats)
        ]
    our_hold, plain_hold = (median(side) for side in zip(*holds, strict=True))
    million = len(body) / 1e6
    return [
        _row(
            f"create {size} ({million:,.0f} MB), whole call",
            pairs,
            "whole_seconds",
            meaning="against an application that receives, writes and syncs the same bytes",
        ),
        _row(
            f"create {size}, last byte sent to 200",
            pairs,
            "after_seconds",
            meaning="the same application; what admission adds once the body is there",
        ),
        _row(
            f"create {SMALL_REQUESTS} requests ({len(small) / 1e3:,.0f} kB), whole call",
            small_pairs,
            "whole_seconds",
            meaning="the same application",
        ),
        Row(
            figure=f"longest /health answer during create of {size}",
            ours=our_hold * 1e3,
            unit="ms",
            yardstick=plain_hold * 1e3,
            meaning=f"asked every {POLL_SECONDS * 1e3:.0f} ms: how long the event loop is held, from outside; median",
        ),
        Row(
            figure=f"peak memory, create {size}",
            ours=our_peak.resident_bytes / 1e6,
            unit="MB",
            yardstick=plain_peak.resident_bytes / 1e6,
            meaning=f"resident, children and mapped body included; {our_peak.own_bytes / 1e6:,.0f} MB without files",
        ),
    ]


def _row(figure: str, pairs: list[tuple[Created, Created]], field: str, *, meaning: str) -> Row:
    ours, plain = (median(getattr(one, field) for one in side) for side in zip(*pairs, strict=True))
    return Row(figure=figure, ours=ours * 1e3, unit="ms", yardstick=plain * 1e3, meaning=meaning)


def _longest_answer(server: Program, body: bytes, path: str) -> float:
    with _Poll(server) as poll:
        create(server, body, path)
    return poll.longest_seconds


class _Poll:
    """Asks for /health at short intervals in a thread; one late answer is one long hold of the loop."""

    def __init__(self, server: Program) -> None:
        self.longest_seconds = 0.0
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = self._server.connect()
        with closing(connection):
            while not self._over.wait(POLL_SECONDS):
                self.longest_seconds = max(self.longest_seconds, _seconds_to_answer(connection))


def _seconds_to_answer(connection: http.client.HTTPConnection) -> float:
    started = time.perf_counter()
    connection.request("GET", "/health")
    connection.getresponse().read()
    return time.perf_counter() - started
