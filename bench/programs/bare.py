"""The bare loop: what is left of a batch when nothing is promised. Sends every line of a file and drops the answers.

`python bare.py URL FILE CONCURRENCY` prints a JSON object: `seconds` (wall), `cpu_seconds` (of this process).
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import uvloop


async def _work(session: aiohttp.ClientSession, url: str, bodies: Iterator[bytes]) -> None:
    for body in bodies:
        async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
            response.raise_for_status()
            await response.read()


async def _main(url: str, bodies: list[bytes], concurrency: int) -> dict[str, float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        shared = iter(bodies)
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_work(session, url, shared) for _ in range(concurrency)))
        return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_bytes().splitlines()
    print(json.dumps(uvloop.run(_main(f"{sys.argv[1]}/v1/messages", lines, int(sys.argv[3])))))
