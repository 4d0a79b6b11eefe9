"""A load generator that is much cheaper than the servers it asks: one GET again and again on kept connections.

`python hammer.py PORT PATH KEY CONNECTIONS SECONDS` prints a JSON object: `requests`, `seconds`.
"""

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Asker(asyncio.Protocol):
    """Asks, waits for the whole answer, asks again."""

    def __init__(self, question: bytes) -> None:
        self.answers = 0
        self.failure: str | None = None
        self._question = question
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._question)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.failure = head.decode("latin-1")
        self._received = b""
        self.answers += 1
        if self._transport is not None:
            self._transport.write(self._question)


async def _main(port: int, path: str, key: str, connections: int, seconds: float) -> dict[str, float]:
    head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n\r\n"
    loop = asyncio.get_running_loop()
    askers = [_Asker(head.encode()) for _ in range(connections)]
    for asker in askers:
        await loop.create_connection(lambda asker=asker: asker, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.sleep(0.3)
    before, started = sum(asker.answers for asker in askers), time.perf_counter()
    await asyncio.sleep(seconds)
    answers, took = sum(asker.answers for asker in askers) - before, time.perf_counter() - started
    failures = [asker.failure for asker in askers if asker.failure]
    if failures or not answers:
        sys.exit(f"the server gave no usable answer: {failures[:1]}")
    return {"requests": answers, "seconds": took}


if __name__ == "__main__":
    port, path, key, connections, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(_main(int(port), path, key, int(connections), float(seconds)))))
