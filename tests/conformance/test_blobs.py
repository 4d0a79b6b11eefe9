"""`ports.Blobs`, and the order of system calls that makes a local put durable."""

import asyncio
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from slackwater.blobs import LocalBlobs
from slackwater.blobs.local import PIECE_BYTES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the blobs go: a directory that does not exist yet."""
    return tmp_path / "data" / "blobs"


@pytest.fixture
def blobs(root: Path) -> LocalBlobs:
    """Make a fresh store of blobs."""
    return LocalBlobs(root)


async def streamed(blobs: LocalBlobs, key: str, offset: int = 0, length: int | None = None) -> list[bytes]:
    """Collect a stream's pieces."""
    return [piece async for piece in blobs.stream(key, offset, length)]


async def test_what_was_put_is_read_whole_and_in_ranges(blobs: LocalBlobs) -> None:
    """Buffers follow each other; any range comes back, an empty one too."""
    assert await blobs.put("requests/a", [b"01234", b"", b"56789"]) == 10
    assert await blobs.read("requests/a") == b"0123456789"
    assert await blobs.read("requests/a", 3, 4) == b"3456"
    assert await blobs.read("requests/a", 7) == b"789"
    assert await blobs.read("requests/a", 10) == b""
    assert await blobs.put("empty", []) == 0
    assert await blobs.read("empty") == b""
    assert await streamed(blobs, "empty") == []


async def test_a_stream_comes_in_pieces_of_bounded_size(blobs: LocalBlobs) -> None:
    """R5: no reader holds more than a piece; pieces are at most 1 MiB."""
    content = os.urandom(2 * PIECE_BYTES + 5)
    await blobs.put("results/b/t", [content])
    pieces = await streamed(blobs, "results/b/t")
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 2**20
    assert b"".join(await streamed(blobs, "results/b/t", 3, PIECE_BYTES + 1)) == content[3 : PIECE_BYTES + 4]


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (8, 3), (11, None), (11, 0), (-1, 2), (0, -1)])
async def test_missing_bytes_are_an_error(blobs: LocalBlobs, offset: int, length: int | None) -> None:
    """R2, P3: a short blob is never delivered as if it were whole."""
    await blobs.put("k", [b"0123456789"])
    with pytest.raises(OSError, match="too short"):
        await blobs.read("k", offset, length)
    with pytest.raises(OSError, match="too short"):
        await streamed(blobs, "k", offset, length)


async def test_a_blob_that_shrinks_under_a_reader_is_an_error(blobs: LocalBlobs, root: Path) -> None:
    """R2: also when the bytes are lost in the middle of a download."""
    await blobs.put("k", [bytes(2 * PIECE_BYTES)])
    reading = blobs.stream("k")
    await anext(reading)
    os.truncate(root / "k", PIECE_BYTES + 1)
    with pytest.raises(OSError, match="too short"):
        await anext(reading)


async def test_an_unknown_key_is_not_found(blobs: LocalBlobs) -> None:
    """Reading says so, deleting does not mind."""
    with pytest.raises(FileNotFoundError):
        await blobs.read("requests/none")
    with pytest.raises(FileNotFoundError):
        await streamed(blobs, "requests/none")
    await blobs.delete("requests/none")
    await blobs.delete("never/was/here")
    assert await blobs.keys("requests/") == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/..",
        "a//b",
        "a/",
        ".partial/x",
        ".x",
        "a/.x",
        "a\0b",
        "a\n",
        "ä",
        "a" * 600,
    ],
)
async def test_a_key_that_is_no_key_is_refused(blobs: LocalBlobs, key: str) -> None:
    """No key leads out of the root or to what is half written."""
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.put(key, [b"x"])
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.read(key)
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.delete(key)


async def test_a_finished_file_is_taken_over(blobs: LocalBlobs, tmp_path: Path) -> None:
    """It is moved, not copied, and becomes private."""
    spool = tmp_path / "spool"
    spool.write_bytes(b"content")
    spool.chmod(0o644)
    inode = spool.stat().st_ino
    assert await blobs.put_file("requests/a", spool) == 7
    assert not spool.exists()
    stored = tmp_path / "data/blobs/requests/a"
    assert stored.stat().st_ino == inode
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600


async def test_a_file_on_another_file_system_is_copied(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be moved; it is gone afterwards all the same."""
    spool = tmp_path / "spool"
    spool.write_bytes(b"content")
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if source == spool:
            raise OSError(errno.EXDEV, "another file system")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    assert await blobs.put_file("requests/a", spool) == 7
    assert not spool.exists()
    assert await blobs.read("requests/a") == b"content"


async def test_files_and_directories_are_private(blobs: LocalBlobs, root: Path) -> None:
    """Prompts and results are nobody else's business."""
    await blobs.put("results/b/t", [b"x"])
    for path in (root, root / "results", root / "results/b", root / "partial"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "results/b/t").stat().st_mode) == 0o600


async def test_deleting_leaves_no_empty_directories(blobs: LocalBlobs, root: Path) -> None:
    """A directory goes with its last blob; putting there again works."""
    await blobs.put("results/b/1", [b"x"])
    await blobs.put("results/b/2", [b"x"])
    await blobs.delete("results/b/1")
    assert await blobs.read("results/b/2") == b"x"
    await blobs.delete("results/b/2")
    assert not (root / "results/b").exists()
    assert (root / "results").exists()
    await blobs.put("results/b/3", [b"y"])
    assert await blobs.read("results/b/3") == b"y"


async def test_puts_and_deletes_in_one_directory_do_not_disturb_each_other(blobs: LocalBlobs) -> None:
    """A directory may vanish just before a blob moves in: it is made again."""

    async def turn(number: int) -> None:
        for _ in range(20):
            await blobs.put(f"results/b/{number}", [b"x"])
            await blobs.delete(f"results/b/{number}")

    await asyncio.gather(*(turn(number) for number in range(6)))
    assert await blobs.keys("results") == []


async def test_keys_are_listed_by_prefix(blobs: LocalBlobs, root: Path) -> None:
    """D2: what the sweep looks through; what was left half written has a key too, by which it can be removed."""
    for key in ("requests/a", "requests/b", "results/x/1"):
        await blobs.put(key, [b"x"])
    assert await blobs.keys("requests/") == await blobs.keys("requests") == ["requests/a", "requests/b"]
    assert await blobs.keys("results/x/1") == ["results/x/1"]
    assert await blobs.keys("") == ["requests/a", "requests/b", "results/x/1"]
    leftover = root / "partial" / "left"
    leftover.write_bytes(b"half")
    assert await blobs.keys("partial/") == ["partial/left"]
    await blobs.delete("partial/left")
    assert not leftover.exists()
    assert await blobs.put("requests/c", [b"x"]) == 1


class Recorder:
    """The system calls that matter for durability, in order, by name and path."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        fsync, rename = os.fsync, os.rename

        known = {root: "blobs", root.parent: "data", root.parent.parent: "tmp"}

        def name(path: Path) -> str:
            if path.parent == root / "partial":
                return "partial"
            return known.get(path) or str(path.relative_to(root if root in path.parents else root.parent.parent))

        def record_fsync(descriptor: int) -> None:
            self.calls.append(f"fsync {name(Path(f'/proc/self/fd/{descriptor}').readlink())}")
            fsync(descriptor)

        def record_rename(source: Path, target: Path) -> None:
            self.calls.append(f"rename {name(source)} {name(target)}")
            rename(source, target)

        patch.setattr(os, "fsync", record_fsync)
        patch.setattr(os, "rename", record_rename)


async def test_a_put_syncs_the_file_then_renames_then_syncs_the_directory(
    blobs: LocalBlobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1: and the entry of every directory that was made for it, before the name is there."""
    recorder = Recorder(root, monkeypatch)
    await blobs.put("results/b/1", [b"x"])
    assert recorder.calls == [
        *("fsync tmp", "fsync data", "fsync blobs"),
        "fsync partial",
        *("fsync blobs", "fsync results"),
        "rename partial results/b/1",
        "fsync results/b",
    ]
    recorder.calls.clear()
    await blobs.put("results/b/2", [b"x"])
    assert recorder.calls == ["fsync partial", "rename partial results/b/2", "fsync results/b"]


async def test_taking_a_file_over_syncs_it_first(
    blobs: LocalBlobs, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1: what somebody else wrote is not trusted to be on the disk."""
    spool = tmp_path / "spool"
    spool.write_bytes(b"x")
    await blobs.put("requests/first", [b"x"])
    recorder = Recorder(root, monkeypatch)
    await blobs.put_file("requests/a", spool)
    assert recorder.calls == ["fsync spool", "rename spool requests/a", "fsync requests"]


async def test_a_directory_another_process_just_made_is_synced_too(
    blobs: LocalBlobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1: that it is there does not mean that its entry is on the disk."""
    (root / "results" / "b").mkdir(parents=True)
    recorder = Recorder(root, monkeypatch)
    await blobs.put("results/b/1", [b"x"])
    assert recorder.calls[-4:] == ["fsync blobs", "fsync results", "rename partial results/b/1", "fsync results/b"]


async def test_a_failed_sync_is_an_error_and_leaves_no_blob(
    blobs: LocalBlobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D6: never acknowledged, and what was written is gone."""
    await blobs.put("first", [b"x"])

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            await blobs.put("k", [b"x"])
    assert not (root / "k").exists()
    assert list((root / "partial").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        await blobs.read("k")
    assert blobs.failure is not None


@pytest.mark.parametrize("call", ["write", "fsync"])
async def test_after_an_i_o_error_nothing_is_put_until_the_next_start(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """D6: a later sync may say yes to bytes that the failed one lost, in this file's directory too; reads go on."""
    await blobs.put("before", [b"x"])
    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
            buffers: Iterable[bytes] = [b"x"]
        else:
            buffers = failing_buffers()
        with pytest.raises(OSError, match="Input/output"):
            await blobs.put("during", buffers)
    with pytest.raises(OSError, match="Input/output"):
        await blobs.put("after", [b"x"])
    assert blobs.failure is not None
    assert await blobs.read("before") == b"x"


def failing_buffers() -> Iterator[bytes]:
    """Give some bytes, then what a disk would say."""
    yield b"x"
    raise OSError(errno.EIO, "Input/output error")


async def test_a_full_disk_refuses_a_put_and_takes_the_next_one(
    blobs: LocalBlobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: running out of room loses nothing that was written, so that nothing has to stop."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            await blobs.put("k", [b"x"])
    assert blobs.failure is None
    await blobs.put("k", [b"y"])
    assert (root / "k").read_bytes() == b"y"


@pytest.mark.parametrize(("number", "failed"), [(errno.ENOSPC, False), (errno.EIO, True)])
async def test_bytes_that_the_disk_does_not_remove_are_left_to_the_sweep(
    blobs: LocalBlobs, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, failed: bool
) -> None:
    """D3, D6: what they belonged to was answered for already; an I/O error is one all the same."""
    await blobs.put("requests/spare", [b"x"])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", Mock(side_effect=OSError(number, "no")))
        await blobs.delete("requests/spare")
    assert (blobs.failure is not None) == failed
    assert await blobs.keys("requests/") == ["requests/spare"]
    await blobs.delete("requests/spare")
    assert not (root / "requests/spare").exists()
