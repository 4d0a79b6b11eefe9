"""The steps behind the file endpoints, over a real store and real blobs."""

import asyncio
import errno
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from slackwater.blobs import LocalBlobs
from slackwater.clock import SystemClock
from slackwater.domain.errors import InvalidRequestError, NotFoundError, StoreUnavailableError
from slackwater.domain.file import METADATA_KEPT, File
from slackwater.domain.ids import IdSource
from slackwater.flow.content import Content
from slackwater.flow.files import Files
from slackwater.flow.sweep import ORPHAN_LOOKS, ORPHAN_ROUND_SECONDS
from support.worker import WORKSPACE, Worker, working

THEIRS = "wrkspc_theirs"


def sniffed(head: bytes, filename: str | None) -> str:
    """Tell a PDF by its first bytes, a text by its name."""
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    return "text/plain" if (filename or "").endswith(".txt") else "application/octet-stream"


class MovedClock(SystemClock):
    """A clock that can be put forward."""

    ahead = timedelta()

    def now(self) -> datetime:
        """Return the instant that the test wants."""
        return super().now() + self.ahead

    def monotonic(self) -> float:
        """Return seconds that move along."""
        return super().monotonic() + self.ahead.total_seconds()


@dataclass
class Place:
    """Files and what is under them."""

    worker: Worker
    files: Files
    clock: MovedClock
    downloads: Files = field(init=False)

    def __post_init__(self) -> None:
        """Make a second one that hands bytes out."""
        self.downloads = made(self.worker, self.clock, downloadable=True)

    def spooled(self, data: bytes) -> Path:
        """Leave a received body."""
        path = self.worker.directory / f"upload-{len(list(self.worker.directory.iterdir()))}"
        path.write_bytes(data)
        return path

    async def upload(self, data: bytes = b"%PDF-1.7 x", **more: object) -> File:
        """Upload bytes."""
        facts: dict[str, object] = {"workspace_id": WORKSPACE, "filename": "x.pdf", "mime_type": None, **more}
        facts |= {"digest": sha256(data).digest(), "length": len(data)}
        return await self.files.upload(self.spooled(data), **facts)  # type: ignore[arg-type]  # what the test wants

    def blobs(self) -> list[str]:
        """Return what lies below `files/`."""
        root = self.worker.directory.parent / "blobs"
        return sorted(path.relative_to(root).as_posix() for path in root.glob("files/**/*") if path.is_file())

    def left(self) -> list[str]:
        """Return what lies in the spool."""
        return [path.name for path in self.worker.directory.iterdir()]


def made(
    worker: Worker,
    clock: SystemClock,
    *,
    quota_bytes: int = 1_000,
    downloadable: bool = False,
    blobs: LocalBlobs | None = None,
) -> Files:
    """Make the step."""
    ids = IdSource(lambda: int(clock.now().timestamp() * 1000))
    return Files(
        store=worker.store,
        blobs=blobs or worker.blobs,
        clock=clock,
        ids=ids,
        sniff=sniffed,
        quota_bytes=quota_bytes,
        downloadable=downloadable,
    )


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Give an empty place whose clock can be put forward."""
    clock = MovedClock()
    async with working(tmp_path, running=False, clock=clock) as worker:
        yield Place(worker, made(worker, clock), clock)


async def whole(content: Content, offset: int = 0, length: int | None = None) -> bytes:
    """Return a body."""
    return b"".join([piece async for piece in content.body(offset, length)])


async def test_an_upload_is_kept_and_its_spool_file_is_gone(place: Place) -> None:
    """D1: the answer is what the store has; one blob, nothing left in the spool."""
    file = await place.upload(filename="a/계약서.pdf", expires_in_seconds=3_600)
    assert await place.files.retrieve(WORKSPACE, file.id) == file
    assert (file.filename, file.mime_type, file.size_bytes) == ("계약서.pdf", "application/pdf", 10)
    assert file.expires_at == file.created_at + timedelta(hours=1)
    assert place.blobs() == [file.blob_key]
    assert place.left() == []
    assert await whole(await place.downloads.content(WORKSPACE, file.id)) == b"%PDF-1.7 x"


@pytest.mark.parametrize(
    ("given", "filename", "kept"),
    [
        ("text/csv", "a.pdf", "text/csv"),
        ("Text/Plain; charset=utf-8", None, "text/plain"),
        ("application/octet-stream", "a.pdf", "application/pdf"),
        (None, None, "application/pdf"),
        ("nonsense", None, "application/pdf"),
        ("a/b\r\nx: y", None, "application/pdf"),
    ],
)
async def test_the_type_is_the_client_s_if_it_says_anything(
    place: Place, given: str | None, filename: str | None, kept: str
) -> None:
    """Contract §6.1: from the part, else from name and content; never with parameters."""
    file = await place.upload(mime_type=given, filename=filename)
    assert file.mime_type == kept
    if filename is None:
        assert file.filename == {"text/plain": "unnamed.txt"}.get(kept, "unnamed.pdf")


@pytest.mark.parametrize("wrong", [{"filename": "a:b"}, {"expires_in_seconds": 5}])
async def test_a_refused_upload_leaves_nothing(place: Place, wrong: dict[str, object]) -> None:
    """D2: no file, no bytes, no spool file."""
    with pytest.raises(InvalidRequestError):
        await place.upload(**wrong)
    assert place.blobs() == place.left() == []
    assert (await place.files.page(WORKSPACE, limit=10)).items == ()


async def test_an_upload_over_the_quota_leaves_nothing(place: Place) -> None:
    """Contract §2.2: 400 `storage_quota_exceeded`; bytes that are there already need no more room."""
    first = await place.upload(b"x" * 1_000)
    with pytest.raises(InvalidRequestError) as caught:
        await place.upload(b"y")
    assert caught.value.details == {"error_code": "storage_quota_exceeded"}
    await place.upload(b"x" * 1_000)
    assert place.blobs() == [first.blob_key]
    assert place.left() == []


async def test_equal_bytes_lie_once_in_a_workspace(place: Place) -> None:
    """A5: and once more in another one; the last deletion takes them along."""
    first, second = await place.upload(), await place.upload(filename="again.pdf")
    theirs = await place.upload(workspace_id=THEIRS)
    assert place.blobs() == sorted([first.blob_key, theirs.blob_key])
    assert second.blob_key == first.blob_key
    assert await place.files.delete(WORKSPACE, first.id) == (first.id, ())
    assert await whole(await place.downloads.content(WORKSPACE, second.id)) == b"%PDF-1.7 x"
    await place.files.delete(WORKSPACE, second.id)
    assert place.blobs() == [theirs.blob_key]


async def test_a_foreign_file_and_an_unknown_one_look_alike(place: Place) -> None:
    """W2: the same error for every question."""
    file = await place.upload(workspace_id=THEIRS)
    for ask in (place.files.retrieve, place.files.content, place.downloads.content, place.files.delete):
        for unknown in (file.id, "file_unknown"):
            with pytest.raises(NotFoundError, match=rf"^File `{unknown}` not found\.$"):
                await ask(WORKSPACE, unknown)
    assert await place.files.by_ids(WORKSPACE, [file.id]) == []
    assert await place.files.retrieve(THEIRS, file.id) == file


async def test_uploads_are_not_downloadable_unless_it_is_allowed(place: Place) -> None:
    """Contract §6.4: 400 `file_not_downloadable`."""
    file = await place.upload()
    with pytest.raises(InvalidRequestError, match=r"^File is not downloadable$") as caught:
        await place.files.content(WORKSPACE, file.id)
    assert caught.value.error_code == "file_not_downloadable"


async def test_an_expired_file_has_metadata_and_no_content(place: Place) -> None:
    """T4: 404 `file_expired` from the instant on; the bytes go with the next sweep, the metadata a month later."""
    file = await place.upload(expires_in_seconds=3_600)
    place.clock.ahead = timedelta(hours=1)
    for files in (place.files, place.downloads):
        with pytest.raises(NotFoundError) as caught:
            await files.content(WORKSPACE, file.id)
        assert caught.value.error_code == "file_expired"
    await place.worker.sweeper.round()
    assert place.blobs() == []
    assert (await place.files.page(WORKSPACE, limit=10)).items == (replace(file, blob_key=""),)
    place.clock.ahead += METADATA_KEPT
    await place.worker.sweeper.round()
    with pytest.raises(NotFoundError):
        await place.files.retrieve(WORKSPACE, file.id)


async def test_a_batch_keeps_the_files_it_names(place: Place) -> None:
    """I3: wherever the id stands in the body; the deletion says so, and the bytes go when the batch has ended."""
    file, other = await place.upload(), await place.upload(b"other", mime_type="text/plain")
    source = {"type": "document", "source": {"type": "file", "file_id": file.id}}
    batch = await place.worker.create({"a": {"messages": [{"role": "user", "content": [source]}]}})
    assert await place.files.delete(WORKSPACE, file.id) == (file.id, (batch.id,))
    assert await place.files.delete(WORKSPACE, other.id) == (other.id, ())
    assert place.blobs() == [file.blob_key]
    pinned = await place.worker.store.find_file(WORKSPACE, file.id, batch_id=batch.id)
    assert pinned is not None
    assert await Content(file=pinned, blobs=place.worker.blobs).read() == b"%PDF-1.7 x"
    await place.worker.sweeper.round()
    assert place.blobs() == [file.blob_key]

    await place.worker.batches.cancel(WORKSPACE, batch.id)
    await place.worker.sweeper.round()
    assert (await place.worker.batches.retrieve(WORKSPACE, batch.id)).ended_at is not None
    await place.worker.sweeper.round()
    assert place.blobs() == []


async def test_damaged_bytes_are_an_error_and_never_content(place: Place) -> None:
    """D5: a flipped bit is found before the last piece leaves; missing bytes at once; a part cannot be checked."""
    data = bytes(range(256)) * 8_192
    place.files = place.downloads = made(place.worker, place.clock, quota_bytes=10**9, downloadable=True)
    file = await place.upload(data)
    content = await place.downloads.content(WORKSPACE, file.id)
    assert await content.read() == await whole(content) == await whole(content, 0, len(data)) == data
    assert await whole(content, 100, 600_000) == data[100:600_100]
    assert await whole(content, len(data) - 5) == data[-5:]

    path = place.worker.directory.parent / "blobs" / file.blob_key
    path.write_bytes(b"\xff" + data[1:])
    pieces = content.body()
    came = [await anext(pieces) for _ in range(3)]
    assert sum(map(len, came)) < len(data)
    with pytest.raises(OSError, match=f"{file.id} are not those"):
        await anext(pieces)
    with pytest.raises(OSError, match="not those"):
        await content.read()
    path.write_bytes(data[:-1])
    for reading in (content.read(), whole(content)):
        with pytest.raises(OSError, match="too short"):
            await reading


async def test_an_empty_file_is_a_file(place: Place) -> None:
    """Zero bytes have a digest too."""
    file = await place.upload(b"", filename="empty.txt")
    assert (file.size_bytes, file.mime_type) == (0, "text/plain")
    content = await place.downloads.content(WORKSPACE, file.id)
    assert await content.read() == await whole(content) == b""


class CutBlobs(LocalBlobs):
    """Keeps the bytes, and then nobody hears of it any more."""

    async def put_file(self, key: str, path: Path) -> int:
        """Store, and never come back."""
        await super().put_file(key, path)
        raise asyncio.CancelledError


async def test_bytes_of_an_upload_that_was_cut_off_are_swept(place: Place) -> None:
    """D2: between the bytes and the row nothing is visible; bytes are left alone for an hour, then they go."""
    kept = await place.upload(b"kept")
    cut = made(place.worker, place.clock, blobs=CutBlobs(place.worker.directory.parent / "blobs"))
    with pytest.raises(asyncio.CancelledError):
        await replace(place, files=cut).upload(b"cut")
    assert len(place.blobs()) == 2
    assert (await place.files.page(WORKSPACE, limit=10)).items == (kept,)
    await _an_hour(place)
    assert len(place.blobs()) == 2
    await place.worker.sweeper.round()
    assert place.blobs() == [kept.blob_key]


async def _an_hour(place: Place) -> None:
    """Let the sweep look at what it does not know as often as it may without removing it."""
    for _ in range(ORPHAN_LOOKS - 1):
        await place.worker.sweeper.round()
        place.clock.ahead += timedelta(seconds=ORPHAN_ROUND_SECONDS)


async def test_bytes_of_an_upload_whose_commit_is_unknown_are_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1: the store went away after the commit; the row may name the bytes, so only the sweep may decide."""

    async def committed(*arguments: object, **more: object) -> File:
        await add_file(*arguments, **more)  # type: ignore[arg-type]  # as it came
        message = "away"
        raise StoreUnavailableError(message)

    add_file = place.worker.store.add_file
    monkeypatch.setattr(place.worker.store, "add_file", committed)
    with pytest.raises(StoreUnavailableError):
        await place.upload()
    (file,) = (await place.files.page(WORKSPACE, limit=10)).items
    assert await whole(await place.downloads.content(WORKSPACE, file.id)) == b"%PDF-1.7 x"
    await _an_hour(place)
    await place.worker.sweeper.round()
    assert place.blobs() == [file.blob_key]


async def test_bytes_that_cannot_be_stored_are_no_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """D6: an error of the disk is never acknowledged; a body that is not as long as was counted neither."""

    async def full(_self: LocalBlobs, _key: str, _path: Path) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(LocalBlobs, "put_file", full)
        with pytest.raises(OSError, match="no space"):
            await place.upload()
    with pytest.raises(OSError, match="changed"):
        await place.files.upload(
            place.spooled(b"abc"),
            workspace_id=WORKSPACE,
            filename=None,
            mime_type=None,
            digest=sha256(b"abc").digest(),
            length=4,
        )
    assert place.left() == []
    assert (await place.files.page(WORKSPACE, limit=10)).items == ()


async def test_the_last_file_is_deleted_while_the_same_bytes_come(place: Place) -> None:
    """I3: races over real files: whatever is visible can be read, and nothing is left that nobody refers to."""
    data = b"the same bytes"
    files = [await place.upload(data)]
    for number in range(100):
        work = [place.upload(data), *(place.files.delete(WORKSPACE, one.id) for one in files)]
        done = await asyncio.gather(*(reversed(work) if number % 2 else work))
        files = [one for one in done if isinstance(one, File)]
        (one,) = files
        assert place.blobs() == [one.blob_key]
        assert await whole(await place.downloads.content(WORKSPACE, one.id)) == data
