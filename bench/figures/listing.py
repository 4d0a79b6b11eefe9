"""List and retrieve in a store of many batches, beside the same in a store of few: neither may grow with it."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median, quantiles

from context import BATCHES, Context, Row, config, create, wait_until_ended
from filling import fill
from processes import HEADERS, Program, answered, slackwater
from workload import batch_body

FEW = 1_000
LIMIT = 20
CALLS = 500
"""Of each kind. No batch is retrieved twice: a second look at it would cost less."""
LIST_MS_MAX = 20
"""What a list may take at the 99th percentile, however many there are."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """What calls of one kind took, in milliseconds."""

    ninety_ninth: float
    median: float


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    many = context.scale.kept_batches
    few_times, many_times = (_times(context, count) for count in (FEW, many))
    return [
        Row(
            figure=f"{what}, {many:,} batches in the store, 99th percentile",
            ours=found.ninety_ninth,
            unit="ms",
            yardstick=few_times[what].ninety_ninth,
            meaning=(
                f"beside {FEW:,} batches; {found.median:.2f} ms and {few_times[what].median:.2f} ms in the middle"
                + (f"; above {LIST_MS_MAX} ms is too much" if what.startswith("list") else "")
            ),
        )
        for what, found in many_times.items()
    ]


def _times(context: Context, count: int) -> dict[str, Times]:
    with _filled(context, context.directory / f"kept-{count}", count) as (server, ids):
        pages = {
            "first": f"{BATCHES}?limit={LIMIT}",
            "middle": f"{BATCHES}?limit={LIMIT}&after_id={ids[count // 2]}",
            "last": f"{BATCHES}?limit={LIMIT}&after_id={ids[LIMIT]}",
        }
        _check(server, pages, ids)
        dice = random.Random(7)  # noqa: S311  # a choice, not a secret
        paths: dict[str, Iterable[str]] = {f"list, {name} page": repeat(path, CALLS) for name, path in pages.items()}
        paths["retrieve"] = (f"{BATCHES}/{one}" for one in dice.sample(ids, CALLS))
        return {what: _asked(server, some) for what, some in paths.items()}


@contextmanager
def _filled(context: Context, directory: Path, count: int) -> Iterator[tuple[Program, Sequence[str]]]:
    """Run a server that has so many batches, and one."""
    text = config(context.backend)
    with slackwater(directory, text) as server:
        wait_until_ended(server, create(server, batch_body(1)).batch["id"])
    ids = fill(directory / "data", count)
    with slackwater(directory, text) as server:
        yield server, ids


def _check(server: Program, pages: dict[str, str], ids: Sequence[str]) -> None:
    """See that the pages are where they should be."""
    found = {name: server.get(path) for name, path in pages.items()}
    newest_first = [one["id"] for one in found["middle"]["data"]]
    middle = len(ids) // 2
    if newest_first != list(reversed(ids[middle - LIMIT : middle])):
        raise RuntimeError("the page in the middle is another one")
    if found["last"]["data"][-1]["id"] != ids[0] or not found["first"]["has_more"]:
        raise RuntimeError("the list does not end where it should")


def _asked(server: Program, paths: Iterable[str]) -> Times:
    """Ask one after the other on a kept connection."""
    seconds = []
    with closing(server.connect()) as connection:
        for path in paths:
            started = time.perf_counter()
            connection.request("GET", path, headers=HEADERS)
            answered(connection.getresponse())
            seconds.append(time.perf_counter() - started)
    return Times(ninety_ninth=1e3 * quantiles(seconds, n=100)[-1], median=1e3 * median(seconds))
