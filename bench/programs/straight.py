"""Requests sent to a local model as they arrive, by a few callers at once: what a batch is compared with.

`python straight.py MODEL PARAMS_LINES CALLERS CONTEXT_TOKENS` prints a JSON object: `seconds`, `cpu_seconds`,
`input_tokens` and `cached_tokens` (not among the former). The adapter is ours, the order is that of the file.
"""

import asyncio
import itertools
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slackwater.backends.llamacpp import LocalEngines, LocalModel
from slackwater.backends.llamacpp.backend import LlamaCppBackend
from slackwater.clock import SystemClock
from slackwater.ports import Call
from slackwater.telemetry import configure_logging


async def _main(model: Path, calls: list[Call], callers: int, context_tokens: int) -> dict[str, float]:
    clock, numbers = SystemClock(), itertools.count()
    engines = LocalEngines(clock=clock)
    copies = engines.add_copies(LocalModel(name="local", path=model, slots=callers, context_tokens=context_tokens))
    backend = LlamaCppBackend(engines=copies, new_id=lambda prefix: f"{prefix}_{next(numbers)}", clock=clock)
    used: Counter[str] = Counter()
    try:
        await backend.infer(_call({"max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}))
        started, waiting = time.perf_counter(), iter(calls)
        await asyncio.gather(*(_call_one_after_the_other(backend, waiting, used) for _ in range(callers)))
        seconds = time.perf_counter() - started
    finally:
        await backend.close()
        await engines.close()
    return {
        "seconds": seconds,
        "cpu_seconds": sum(resource.getrusage(of)[0] for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)),
        "input_tokens": used["input_tokens"],
        "cached_tokens": used["cache_read_input_tokens"],
    }


async def _call_one_after_the_other(backend: LlamaCppBackend, calls: Iterator[Call], used: Counter[str]) -> None:
    for call in calls:
        usage = (await backend.infer(call))["usage"]
        used.update({name: usage.get(name) or 0 for name in ("input_tokens", "cache_read_input_tokens")})


def _call(params: dict[str, Any]) -> Call:
    return Call(params={"model": "local", **params}, upstream="local", version="2023-06-01")


if __name__ == "__main__":
    model, lines, callers, context_tokens = sys.argv[1:]
    configure_logging()
    calls = [_call(json.loads(line)) for line in Path(lines).read_text("utf-8").splitlines()]
    print(json.dumps(asyncio.run(_main(Path(model), calls, int(callers), int(context_tokens)))))
