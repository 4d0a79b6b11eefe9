"""Ray Data's HTTP request processor with so many actors, answers looked at and dropped.

`python with_ray.py URL FILE ACTORS` prints a JSON object: `seconds` (wall), `succeeded`. A few requests go through a
processor of their own and then once more with the others: the difference is what the others take, and leaves out how
long actors take to start. It runs in an environment of its own.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

import ray
from ray.data.llm import HttpRequestProcessorConfig, build_processor

FIRST = 64
"""Requests that only show how long starting takes: as many as an actor gets at once."""


def _seconds(url: str, bodies: list[bytes], actors: int) -> tuple[float, int]:
    """Return how long so many requests take from nothing, and how many were answered with a message."""
    processor = build_processor(
        HttpRequestProcessorConfig(url=f"{url}/v1/messages", concurrency=actors),
        preprocess=lambda row: {"payload": json.loads(row["body"])},
        postprocess=lambda row: {"succeeded": int(_is_message(row["http_response"]))},
    )
    rows = ray.data.from_items([{"body": body} for body in bodies])
    started = time.perf_counter()
    succeeded = sum(row["succeeded"] for row in processor(rows).iter_rows())
    return time.perf_counter() - started, succeeded


def _is_message(answer: dict[str, Any]) -> bool:
    return answer.get("type") == "message" and bool(answer["content"][0]["text"])


def _main(url: str, bodies: list[bytes], actors: int) -> dict[str, float]:
    # The steps before and after the actors' want places too.
    ray.init(num_cpus=max(os.cpu_count() or 1, 2 * actors), include_dashboard=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _seconds(url, bodies[:FIRST], actors)  # what is loaded on first use is there
    starting, first = _seconds(url, bodies[:FIRST], actors)
    seconds, succeeded = _seconds(url, bodies[:FIRST] + bodies, actors)
    return {"seconds": seconds - starting, "succeeded": succeeded - first}


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_bytes().splitlines()
    print(json.dumps(_main(sys.argv[1], lines, int(sys.argv[3]))))
