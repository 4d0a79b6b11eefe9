"""What sources hold: PDFs are read in a few processes of ours, images and text are looked at here."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog

from slackwater.documents import images, media_types, text
from slackwater.documents.fetch import Fetcher
from slackwater.documents.process import ReaderFailedError, ReaderProcess, Task
from slackwater.documents.turns import Turns
from slackwater.domain.document import IMAGE_PIXELS_MAX, PDF, DocumentError, Fetched, ImageFacts
from slackwater.domain.errors import WireError
from slackwater.ports import Clock

DRAWING: Final = 3
"""How many times as long a page may take that is drawn, too."""
PATIENCE: Final = 6
"""How many times its processor time a document may take by the clock: on a busy machine it is not to blame."""
DOCUMENTS_MAX: Final = 100
"""After so many a process is replaced, so that what the library does not give back is given back."""
THREAD_BYTES: Final = 2**18
"""Longer texts are decoded beside the loop."""

_log = structlog.get_logger(__name__)


class Documents:
    """Reads. Make it anywhere; processes start when the first PDF comes.

    `seconds_max` is processor time for every 100 pages, and at least once; `memory_bytes_max` is a process's address
    space beside the file. Calls beyond `processes` wait for their turn, urgent ones first, else in the order in which
    they came. Without a `fetcher` no URL is fetched.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        processes: int = 1,
        pages_max: int = 600,
        seconds_max: float = 10.0,
        memory_bytes_max: int = 512 * 2**20,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._clock = clock
        self._limits = (pages_max, seconds_max, memory_bytes_max)
        self._fetcher = fetcher
        self._turns = Turns(processes)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="documents")
        self._idle: list[ReaderProcess] = []
        self._busy: set[ReaderProcess] = set()

    async def read_pdf(self, data: bytes | Path, *, images: bool, urgent: bool = False) -> PDF:
        """Read a PDF. Raises DocumentError, or WireError when there is no process to be had."""
        pages_max, seconds_max, memory_bytes_max = self._limits
        seconds = seconds_max * (DRAWING if images else 1)
        task = Task(images=images, pages_max=pages_max, seconds_max=seconds, memory_bytes_max=memory_bytes_max)
        async with self._turns.turn(urgent=urgent):
            reader = self._next()
            self._busy.add(reader)
            reading = asyncio.get_running_loop().run_in_executor(self._threads, _read, reader, data, task)
            try:
                await self._watch(reader, reading, task)
            finally:
                if not reading.done():
                    reader.kill()
                    await asyncio.wait({reading})
                self._busy.discard(reader)
                if not reader.dead:
                    self._idle.append(reader)
            return _outcome(reader, reading)

    def look_at_image(
        self, data: bytes, *, media_type: str | None = None, side_pixels_max: int = IMAGE_PIXELS_MAX
    ) -> ImageFacts:
        """Read an image's header (C6)."""
        return images.look_at_image(data, media_type=media_type, side_pixels_max=side_pixels_max)

    async def read_text(self, data: bytes, *, charset: str | None = None) -> str:
        """Decode a text document."""
        if len(data) < THREAD_BYTES:
            return text.read_text(data, charset=charset)
        return await asyncio.to_thread(text.read_text, data, charset=charset)

    def sniff(self, head: bytes, filename: str | None) -> str:
        """Return a media type."""
        return media_types.sniff(head, filename)

    async def fetch(self, url: str, *, urgent: bool = False) -> Fetched:
        """Get a URL's bytes."""
        if self._fetcher is None:
            raise DocumentError("URL sources are not enabled on this server")
        return await self._fetcher.fetch(url, urgent=urgent)

    async def close(self) -> None:
        """End the processes and the connections."""
        for reader in self._busy:
            reader.kill()
        loop = asyncio.get_running_loop()
        for reader in self._idle:
            await loop.run_in_executor(self._threads, reader.end)
        self._idle.clear()
        self._threads.shutdown(wait=False)
        if self._fetcher is not None:
            await self._fetcher.close()

    def _next(self) -> ReaderProcess:
        """Return one that waits, unless it has died in the meantime, else a new one."""
        while self._idle:
            reader = self._idle.pop()
            if not reader.dead:
                return reader
            self._threads.submit(reader.end)
        return ReaderProcess()

    async def _watch(self, reader: ReaderProcess, reading: "asyncio.Future[PDF]", task: Task) -> None:
        """Wait for the answer; kill the process when that takes too long."""
        started = self._clock.monotonic()
        while not reading.done():
            left = started + PATIENCE * reader.allowed_seconds(task) - self._clock.monotonic()
            if left <= 0:
                reader.kill()
                await asyncio.wait({reading})
                return
            sleep = asyncio.ensure_future(self._clock.sleep(left))
            waiting: set[asyncio.Future[Any]] = {reading, sleep}
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()


def _read(reader: ReaderProcess, data: bytes | Path, task: Task) -> PDF:
    """Do it, in a thread that lives as long as the processes: the kernel ends those with the thread that made them."""
    if not reader.read:
        reader.start()
    try:
        return reader.answer(data, task)
    finally:
        if reader.dead or reader.read >= DOCUMENTS_MAX:
            reader.end()


def _outcome(reader: ReaderProcess, reading: "asyncio.Future[PDF]") -> PDF:
    try:
        return reading.result()
    except ReaderFailedError as error:
        _log.error("documents.no_reader", reason=str(error))
        raise WireError("PDFs cannot be read at the moment: the process that reads them does not start") from error
    except DocumentError:
        if reader.dead:
            _log.warning("documents.reader_ended", log=reader.log)
        raise
