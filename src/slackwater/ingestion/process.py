"""The server's side: what is ingested here, and what by a child."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from slackwater.domain.batch import Ingested
from slackwater.domain.errors import APIError
from slackwater.ingestion.ingest import ingest_file

INLINE_BYTES_MAX: Final = 256 * 1024
"""Bodies up to this size take about a millisecond and are not worth a process."""
AHEAD_MAX: Final = 4
"""Bodies that are read while they arrive; more are read when they are there."""

_COMMAND: Final = (sys.executable, "-m", "slackwater.ingestion")
_ANSWER: Final = msgspec.msgpack.Decoder(Ingested)


class Child:
    """Satisfies `ports.Ingesting`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def grown(self, length: int) -> None:
        """Tell the child; one that is gone says why by its exit status."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(b"%d\n" % length)

    async def ingested(self) -> Ingested:
        """Return the child's answer. Raises OSError when its disk was full, APIError for any other end."""
        answer, _ = await self._process.communicate()
        status = self._process.returncode
        if status in {errno.ENOSPC, errno.EDQUOT}:
            raise OSError(status, os.strerror(status))
        if status != 0:
            raise APIError("The batch could not be read. Try again.") from ChildProcessError(status)
        return _ANSWER.decode(answer)


class Ingestion:
    """Satisfies `ports.Ingestion`."""

    def __init__(self) -> None:
        self._ahead = 0

    async def __call__(self, spool: Path) -> Ingested:
        """Ingest a body that is there."""
        length = (await asyncio.to_thread(spool.stat)).st_size
        if length <= INLINE_BYTES_MAX:
            return await asyncio.to_thread(ingest_file, spool)
        async with _child(spool) as child:
            child.grown(length)
            return await child.ingested()

    @asynccontextmanager
    async def ahead(self, spool: Path, length: int) -> AsyncIterator[Child | None]:
        """Begin to read a body that arrives."""
        if length <= INLINE_BYTES_MAX or self._ahead >= AHEAD_MAX:
            yield None
            return
        self._ahead += 1
        try:
            async with _child(spool) as child:
                yield child
        finally:
            self._ahead -= 1


@asynccontextmanager
async def _child(spool: Path) -> AsyncIterator[Child]:
    """Start a child; it and its hands are killed, and it is gone, when the context is left before it has ended."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *_COMMAND, str(spool), stdin=pipe, stdout=pipe, start_new_session=True
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
