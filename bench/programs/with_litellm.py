"""`litellm.acompletion` in a loop with so many calls in flight, answers looked at and dropped.

`python with_litellm.py URL FILE CONCURRENCY` prints a JSON object: `seconds` (wall), `cpu_seconds` (of this process),
`succeeded`. It runs in an environment of its own.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices when it is imported

import litellm


async def _work(url: str, bodies: Iterator[dict[str, Any]]) -> int:
    succeeded = 0
    for body in bodies:
        answer = await litellm.acompletion(**body, api_base=url, api_key="none", num_retries=0, max_retries=0)
        succeeded += bool(answer.choices[0].message.content)
    return succeeded


async def _main(url: str, bodies: list[dict[str, Any]], concurrency: int) -> dict[str, float]:
    await _work(url, iter(bodies[:1]))  # what is loaded on first use is there
    shared = iter(bodies)
    started, cpu = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*(_work(url, shared) for _ in range(concurrency)))
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "succeeded": sum(counts),
    }


def _as_chat(params: dict[str, Any]) -> dict[str, Any]:
    system = {"role": "system", "content": params["system"]}
    return {
        "model": f"anthropic/{params['model']}",
        "max_tokens": params["max_tokens"],
        "messages": [system, *params["messages"]],
    }


if __name__ == "__main__":
    lines = [_as_chat(json.loads(line)) for line in Path(sys.argv[2]).read_bytes().splitlines()]
    print(json.dumps(asyncio.run(_main(sys.argv[1], lines, int(sys.argv[3])))))
