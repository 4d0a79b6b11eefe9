"""Peers: what else people send many requests with, to the same backend in the same run."""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import closing

from context import BATCHES, CONCURRENCY, Context, Row, create, not_measured, wait_until_ended
from peers import MissingError, install, ogx, program, version
from processes import HEADERS, Program, measured_by
from workload import batch_body, params_lines

LITELLM_REQUESTS = 1_500
RAY_REQUESTS = 5_000
RAY_ACTORS = 2
OGX_REQUESTS = 1_000
"""It takes no more in one batch."""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    install()
    return [
        _row(
            context,
            "litellm.acompletion",
            _litellm,
            LITELLM_REQUESTS,
            f"{version('litellm')} sends {LITELLM_REQUESTS:,} with {CONCURRENCY} in flight and keeps nothing",
        ),
        _row(
            context,
            f"Ray Data, {RAY_ACTORS} actors",
            _ray,
            RAY_REQUESTS,
            (
                f"the HTTP request processor of {version('ray')} with {RAY_ACTORS} actors sends {RAY_REQUESTS:,} and"
                " keeps nothing; the time in which its actors start does not count"
            ),
        ),
        _row(
            context,
            "ogx",
            _ogx,
            OGX_REQUESTS,
            (
                f"the batches of {version('ogx')}, {OGX_REQUESTS:,} requests, which is its limit, with {CONCURRENCY}"
                " in flight; create call to `ended`; results are in its memory until then"
            ),
        ),
    ]


def _row(context: Context, name: str, peer: Callable[[Context], float], requests: int, meaning: str) -> Row:
    figure = f"rate beside {name}"
    try:
        rate, seconds = context.beside(lambda: peer(context))
    except subprocess.CalledProcessError as error:
        return not_measured(figure, f"its program ended with status {error.returncode}")
    except (MissingError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return not_measured(figure, f"it could not be run: {error}")
    return Row(
        figure=figure,
        ours=rate,
        unit="requests/s",
        yardstick=requests / seconds,
        better="higher",
        meaning=meaning,
        bar=name,
    )


def _litellm(context: Context) -> float:
    arguments = (_first_lines(context, LITELLM_REQUESTS), str(CONCURRENCY))
    took = measured_by("with_litellm", context.backend.url, *arguments, python=program("litellm"))
    return _checked(took, LITELLM_REQUESTS)


def _ray(context: Context) -> float:
    arguments = (_first_lines(context, RAY_REQUESTS), str(RAY_ACTORS))
    return _checked(measured_by("with_ray", context.backend.url, *arguments, python=program("ray")), RAY_REQUESTS)


def _ogx(context: Context) -> float:
    with ogx(context.directory / "ogx", context.backend) as server:
        _batch(server, CONCURRENCY)  # what is loaded on first use is there
        return _batch(server, OGX_REQUESTS)


def _batch(server: Program, requests: int) -> float:
    """Return the seconds from the create call until `ended` is seen."""
    body = batch_body(requests)
    started = time.perf_counter()
    batch_id = create(server, body).batch["id"]
    wait_until_ended(server, batch_id)
    seconds = time.perf_counter() - started
    with closing(server.connect()) as connection:
        connection.request("GET", f"{BATCHES}/{batch_id}/results", headers=HEADERS)
        results = [json.loads(line)["result"] for line in connection.getresponse()]
    succeeded = sum(result["type"] == "succeeded" and bool(result["message"]["content"]) for result in results)
    return _checked({"seconds": seconds, "succeeded": succeeded}, requests)


def _checked(took: dict[str, float], requests: int) -> float:
    """Return the seconds. Raises RuntimeError where not every request succeeded: failing is fast."""
    if took["succeeded"] != requests:
        raise RuntimeError(f"{took['succeeded']:,.0f} of {requests:,} requests succeeded")
    return took["seconds"]


def _first_lines(context: Context, count: int) -> str:
    """Return the path of a file with the params of so many of the requests."""
    path = context.directory / f"params-{count}.jsonl"
    path.write_bytes(params_lines(count))
    return str(path)
