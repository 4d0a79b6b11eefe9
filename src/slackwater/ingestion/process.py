"""The server's side: what is ingested here, and what by a child."""

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self, cast

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

    def __init__(self, process: asyncio.subprocess.Process, spool: Path) -> None:
        self._process = process
        self._tell(json.dumps(str(spool)).encode())

    def grown(self, length: int) -> None:
        """Tell the child."""
        self._tell(b"%d" % length)

    def _tell(self, line: bytes) -> None:
        """Write a line; a child that is gone says why by its exit status."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line + b"\n")

    async def ingested(self) -> Ingested:
        """Return the child's answer. Raises OSError when its disk was full, APIError for any other end."""
        stdout = cast("asyncio.StreamReader", self._process.stdout)
        with suppress(msgspec.DecodeError):  # none, or half of one
            return _ANSWER.decode(await stdout.read())
        status = await self._process.wait()
        if status in {errno.ENOSPC, errno.EDQUOT}:
            raise OSError(status, os.strerror(status))
        raise APIError("The batch could not be read. Try again.") from ChildProcessError(status)


class Ingestion:
    """Satisfies `ports.Ingestion`. Entered as a context, it keeps a child in waiting once one has been needed."""

    def __init__(self) -> None:
        self._ahead = 0
        self._open = False
        self._waiting: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._ending: set[asyncio.Task[int]] = set()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the child in waiting, and wait for all that were ended."""
        self._open = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            with suppress(OSError):
                self._end(await waiting)
        await asyncio.gather(*self._ending)

    async def __call__(self, spool: Path) -> Ingested:
        """Ingest a body that is there."""
        length = (await asyncio.to_thread(spool.stat)).st_size
        if length <= INLINE_BYTES_MAX:
            return await asyncio.to_thread(ingest_file, spool)
        async with self._child(spool) as child:
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
            async with self._child(spool) as child:
                yield child
        finally:
            self._ahead -= 1

    @asynccontextmanager
    async def _child(self, spool: Path) -> AsyncIterator[Child]:
        """Take a child; it and its hands are killed if the context is left before it has ended."""
        process = await self._taken()
        try:
            yield Child(process, spool)
        finally:
            self._end(process)
            if self._open and self._waiting is None:
                self._waiting = asyncio.create_task(_started())

    async def _taken(self) -> asyncio.subprocess.Process:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            with suppress(OSError):
                process = await waiting
                if process.returncode is None:
                    return process
        return await _started()

    def _end(self, process: asyncio.subprocess.Process) -> None:
        """Kill; what it takes the system to be done with a large child nobody waits for."""
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            ending = asyncio.create_task(process.wait())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


async def _started() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*_COMMAND, stdin=pipe, stdout=pipe, start_new_session=True)
