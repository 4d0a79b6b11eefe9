"""Material: what a request's sources stand for, put in their place before it is sent (contract §6.6, §12).

Files are found here, for the workspace and batch that name them; how their bytes become what a backend takes, and how
much of that is kept, is the business of the port. No more than there is room for is in flight at once.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from slackwater.domain.document import DocumentError, Form, Ready
from slackwater.domain.errors import APIError, AttemptFailedError, InvalidRequestError, WireError
from slackwater.domain.file import File, missing
from slackwater.domain.limits import MESSAGE_BODY_BYTES_MAX, MIB
from slackwater.domain.model import Route
from slackwater.flow.content import Content
from slackwater.ports import Blobs, Clock, FileStore, Sources
from slackwater.wire.carriers import Carrier, carriers
from slackwater.wire.citing import Citing, Naming
from slackwater.wire.filling import added_tokens, check_length, image_pixels_max, put_together

URL_BYTES_EXPECTED = 8 * MIB
COPIES = 2
"""How often a text that is put into a request is in memory while it is sent, at least for a moment; base64 only once
more than it is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Whose request it is and where it goes."""

    workspace_id: str
    batch_id: str | None
    """None: a synchronous call."""
    route: Route
    reads: frozenset[str]
    """What the backend takes as it is (ports.Backend)."""

    def form(self, carrier: Carrier, pixels_max: int) -> Form:
        """Return what a source is to become."""
        return Form(
            kind="image" if carrier.kind == "image" else "document",
            native="pdf" in self.reads,
            drawn=self.route.page_images,
            pixels_max=pixels_max,
            urgent=self.batch_id is None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A request that can be sent, and what becomes of its answer."""

    params: Mapping[str, Any]
    citing: Citing | Naming | None = None
    added_tokens: int = 0
    """An estimate of how many tokens more the input has than its body looks like; may be less than 0."""

    async def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the answer with its citations."""
        return message if self.citing is None else await asyncio.to_thread(self.citing.cited, message)

    def events(self, events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """Return an answer's events with its citations."""
        return events if self.citing is None else _cited(events, self.citing)


async def _cited(events: AsyncIterator[dict[str, Any]], citing: Citing | Naming) -> AsyncIterator[dict[str, Any]]:
    stream, beside = citing.stream(), citing.long
    async for event in events:
        for told in await asyncio.to_thread(stream.feed, event) if beside else stream.feed(event):
            yield told


class Material:
    """Fills requests in."""

    def __init__(self, *, files: FileStore, blobs: Blobs, sources: Sources, clock: Clock) -> None:
        self._files = files
        self._blobs = blobs
        self._sources = sources
        self._clock = clock

    @asynccontextmanager
    async def filled(self, params: Mapping[str, Any], job: Job) -> AsyncIterator[Filled]:
        """Fill a request in, and hold the room that it takes.

        Raises NotFoundError, InvalidRequestError with the JSON path, or AttemptFailedError for what is our own fault.
        """
        found = carriers(params)
        pixels_max = image_pixels_max(found, job.route.max_input_tokens)
        files = await self._find(found, job)
        for carrier in found:
            if carrier.source_type == "url":  # whoever waits for a slow server keeps nobody out of the room
                await self._told(carrier, files, job, pixels_max)
        place = (job.route.backend, job.batch_id is None)
        async with self._sources.room(place, _expected(found, files, job)) as settle:
            ready: dict[int, Ready] = {}
            for carrier in found:
                one = await self._told(carrier, files, job, pixels_max)
                if one is not None:
                    ready[id(carrier.block)] = one
            settle(sum((COPIES if one.parts else 1) * one.size_bytes for one in ready.values()))
            check_length(found, ready, job.route.max_input_tokens)
            told, citing = put_together(params, found, ready, cites="citations" in job.reads)
            yield Filled(params=told, citing=citing, added_tokens=added_tokens(found, ready))

    async def _find(self, found: Sequence[Carrier], job: Job) -> dict[str, File]:
        """Return the files that a request names, which are those of its workspace (W3)."""
        files: dict[str, File] = {}
        for carrier in found:
            if carrier.kind == "container_upload":
                raise InvalidRequestError(f"{carrier.path}: not supported by this server")
            file_id = carrier.file_id
            if file_id is None or file_id in files:
                continue
            file = await self._files.find_file(job.workspace_id, file_id, batch_id=job.batch_id)
            if file is None:
                raise missing(file_id)
            if file.expired(self._clock.now()):
                raise InvalidRequestError(f"{carrier.source_path}: File `{file_id}` has expired.")
            files[file_id] = file
        return files

    async def _told(self, carrier: Carrier, files: Mapping[str, File], job: Job, pixels_max: int) -> Ready | None:
        """Return what to put in a source's place, or None where it stays."""
        try:
            return await self._ready(carrier, files, job, pixels_max)
        except DocumentError as error:
            told = carrier.refused(error)
            passing = error.retry_after_seconds is not None
            raise (AttemptFailedError(error.reason, told, parks=False) if passing else told) from error
        except OSError as error:
            raise AttemptFailedError(f"{carrier.source_path}: {error}", APIError("A file could not be read")) from error
        except WireError as error:
            raise AttemptFailedError(error.message, error) from error

    async def _ready(self, carrier: Carrier, files: Mapping[str, File], job: Job, pixels_max: int) -> Ready | None:
        if carrier.kind == "search_result":
            return None
        source, form = carrier.source, job.form(carrier, pixels_max)
        match source["type"]:
            case "file":
                file = files[source["file_id"]]
                return await self._sources.of_file(file, form, Content(file=file, blobs=self._blobs).read)
            case "url" if not (job.route.pass_urls and (form.kind == "image" or form.native)):
                return await self._sources.of_url(source["url"], form, (job.workspace_id, job.batch_id))
            case "base64" if form.kind == "image":
                await self._sources.look(source, pixels_max)
            case "base64" if not form.native:
                return await self._sources.of_base64(source, form, job.workspace_id)
        return None


def _expected(found: Sequence[Carrier], files: Mapping[str, File], job: Job) -> int:
    """Return about how many bytes it takes to fill a request in."""
    total = 0
    for carrier in found:
        if carrier.file_id is not None:
            total += COPIES * min(files[carrier.file_id].size_bytes, MESSAGE_BODY_BYTES_MAX)
        elif carrier.kind == "document" and carrier.encoded and "pdf" not in job.reads:
            total += COPIES * len(carrier.encoded)
        elif carrier.source_type == "url":
            total += URL_BYTES_EXPECTED
    return total
