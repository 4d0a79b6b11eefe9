"""What people write today: `AsyncAnthropic` in a loop with so many calls in flight, answers dropped.

`python sdk.py URL FILE CONCURRENCY` prints a JSON object: `seconds` (wall), `cpu_seconds` (of this process).
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anthropic import AsyncAnthropic


async def _work(client: AsyncAnthropic, bodies: Iterator[dict[str, Any]]) -> None:
    for body in bodies:
        await client.messages.create(**body)


async def _main(url: str, bodies: list[dict[str, Any]], concurrency: int) -> dict[str, float]:
    async with AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        shared = iter(bodies)
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_work(client, shared) for _ in range(concurrency)))
        return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}


if __name__ == "__main__":
    lines = [json.loads(line) for line in Path(sys.argv[2]).read_bytes().splitlines()]
    print(json.dumps(asyncio.run(_main(sys.argv[1], lines, int(sys.argv[3])))))
