"""Sources in the form in which a backend takes them: read and converted once, and kept for the next request."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from sys import getsizeof
from typing import Any, Final

from slackwater.documents.fetch import check_length
from slackwater.documents.pool import Documents
from slackwater.documents.shelf import Shelf
from slackwater.domain.document import (
    IMAGE_BYTES_MAX,
    PDF,
    DocumentError,
    Fetched,
    Form,
    ImageFacts,
    Ready,
)
from slackwater.domain.file import File
from slackwater.domain.limits import MESSAGE_BODY_BYTES_MAX
from slackwater.ports import Clock
from slackwater.wire.pages import decoded, drawn_source, encoded, text_source

HEAD_CHARACTERS: Final = 64 * 1024
"""How much of an encoded image is decoded to read its header; all of it where that is not enough."""
URL_SECONDS: Final = 600.0
"""How long what was found at a URL is the answer for one workspace's batch, or its synchronous calls."""
_PDF: Final = "application/pdf"
_TYPES: Final = {
    "image": ("image/jpeg", "image/png", "image/gif", "image/webp"),
    "document": (_PDF, "text/plain"),
}


class Sources:
    """Satisfies `ports.Sources`."""

    def __init__(self, *, documents: Documents, clock: Clock, shelf: Shelf | None = None) -> None:
        self._documents = documents
        self._shelf = shelf or Shelf(clock=clock)

    def room(self, place: Hashable, size_bytes: int) -> AbstractAsyncContextManager[Callable[[int], None]]:
        """Hold the room for a request."""
        return self._shelf.room(place, size_bytes)

    async def look(self, source: Mapping[str, Any], pixels_max: int) -> None:
        """Read the header of an image that came with the request, and of nothing else (C6)."""
        text, media_type = source["data"], source["media_type"]
        _check_image_bytes(len(text) // 4 * 3 - text[-2:].count("="))
        head = await _decoded(text[:HEAD_CHARACTERS])
        try:
            facts = self._documents.look_at_image(head, media_type=media_type)
        except DocumentError as error:
            if error.error_code is not None or len(text) <= HEAD_CHARACTERS:
                raise
            facts = self._documents.look_at_image(await _decoded(text), media_type=media_type)
        facts.check_size(pixels_max)

    async def of_file(self, file: File, form: Form, read: Callable[[], Awaitable[bytes]]) -> Ready:
        """Return a file as a source."""
        _check_pairing(file.mime_type, form, f"File `{file.id}`")
        if form.kind == "image":
            _check_image_bytes(file.size_bytes)
        elif file.size_bytes > MESSAGE_BODY_BYTES_MAX:
            has = f"File `{file.id}` has {file.size_bytes:,} bytes"
            raise DocumentError(f"{has}; a document may have {MESSAGE_BODY_BYTES_MAX:,}")

        async def make() -> Ready:
            return await self._prepared(Fetched(data=await read(), media_type=file.mime_type), form)

        return _checked(await self._shelf.get(("file", file.blob_key, file.mime_type, _key(form)), make), form)

    async def of_url(self, url: str, form: Form, scope: Hashable) -> Ready:
        """Return what is at a URL as a source."""
        check_length(url)  # before anything is remembered under it

        async def make() -> Ready:
            fetched = await self._documents.fetch(url, urgent=form.urgent)
            _check_pairing(fetched.media_type, form, "The URL's content")
            return await self._prepared(fetched, form)

        key = ("url", scope, url, _key(form))
        return _checked(await self._shelf.get(key, make, keep_seconds=URL_SECONDS), form)

    async def of_base64(self, source: Mapping[str, Any], form: Form, scope: Hashable) -> Ready:
        """Return a PDF that came with the request as a source for those who do not read PDFs."""
        text = source["data"]
        digest = await asyncio.to_thread(lambda: sha256(text.encode()).digest())

        async def make() -> Ready:
            return await self._prepared(Fetched(data=await _decoded(text), media_type=_PDF), form)

        return await self._shelf.get(("base64", scope, digest, _key(form)), make)

    async def close(self) -> None:
        """Let go of processes and connections."""
        await self._documents.close()

    async def _prepared(self, fetched: Fetched, form: Form) -> Ready:
        if form.kind == "image":
            _check_image_bytes(len(fetched.data))
            facts = self._documents.look_at_image(fetched.data, media_type=fetched.media_type)
            return await _encoded(fetched, facts)
        if fetched.media_type != _PDF:
            text = await self._documents.read_text(fetched.data, charset=fetched.charset)
            source = {"type": "text", "media_type": "text/plain", "data": text}
            return Ready(source=source, size_bytes=getsizeof(text), parts=(text,), text_bytes=len(fetched.data))
        if form.native:
            return await _encoded(fetched)
        pdf = await self._documents.read_pdf(fetched.data, images=form.drawn, urgent=form.urgent)
        return await asyncio.to_thread(_converted, pdf, form)


def _key(form: Form) -> Hashable:
    return form.kind if form.kind == "image" else (form.native, form.drawn)


def _checked(ready: Ready, form: Form) -> Ready:
    if ready.facts is not None:
        ready.facts.check_size(form.pixels_max)
    return ready


async def _encoded(fetched: Fetched, facts: ImageFacts | None = None) -> Ready:
    text = await asyncio.to_thread(encoded, fetched.data)
    source = {"type": "base64", "media_type": fetched.media_type, "data": text}
    return Ready(source=source, size_bytes=len(text), facts=facts)


def _converted(pdf: PDF, form: Form) -> Ready:
    if not form.drawn and not any(page.text.strip() for page in pdf.pages):
        raise DocumentError("The PDF's pages hold no text, only pictures, and this model is given text alone")
    parts = tuple(page.text for page in pdf.pages)
    images = sum(len(page.image or b"") for page in pdf.pages) * 4 // 3
    return Ready(
        source=drawn_source(pdf) if form.drawn else text_source(pdf),
        size_bytes=2 * sum(map(getsizeof, parts)) + images,
        parts=parts,
        pages=True,
        text_bytes=sum(len(part.encode()) for part in parts),
    )


async def _decoded(text: str) -> bytes:
    try:
        return decoded(text) if len(text) <= HEAD_CHARACTERS else await asyncio.to_thread(decoded, text)
    except ValueError as error:
        raise DocumentError("Invalid base64 data") from error


def _check_pairing(media_type: str, form: Form, what: str) -> None:
    takes = _TYPES[form.kind]
    if media_type not in takes:
        raise DocumentError(f"{what} is {media_type[:80]}; {form.kind} blocks take {', '.join(takes)}")


def _check_image_bytes(size: int) -> None:
    if size > IMAGE_BYTES_MAX:
        raise DocumentError(f"The image exceeds 10 MB: {size} bytes > {IMAGE_BYTES_MAX} bytes")
