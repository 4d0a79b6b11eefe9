"""Syncing a long file while it is made."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slackwater import writeback
from slackwater.writeback import written_back


def parts(sizes: list[int]) -> Iterator[tuple[str, int]]:
    """Give each size a name."""
    for number, size in enumerate(sizes):
        yield str(number), size


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """Open a file."""
    found = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    yield found
    os.close(found)


def test_what_is_written_passes_and_is_synced_on_its_way(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each step at most, and never for what is short."""
    synced: list[int] = []
    once = threading.Event()

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        once.set()

    monkeypatch.setattr(writeback, "STEP_BYTES", 10)
    monkeypatch.setattr(os, "fdatasync", sync)
    assert list(written_back(descriptor, parts([3, 3, 3]))) == [("0", 3), ("1", 3), ("2", 3)]
    assert synced == []
    seen = []
    for part in written_back(descriptor, parts([9, 9, 9, 9])):
        seen.append(part)
        assert len(seen) < 4 or once.wait(30)
    assert seen == [("0", 9), ("1", 9), ("2", 9), ("3", 9)]
    assert set(synced) == {descriptor}
    assert len(synced) <= 2


def test_a_sync_that_failed_on_its_way_is_not_forgotten(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """D6: the system tells of a lost write once; who asks later hears that all is well."""
    asked = threading.Event()

    def lost(_: int) -> None:
        asked.set()
        raise OSError(errno.EIO, "lost")

    def writing() -> Iterator[tuple[str, int]]:
        yield from parts([9, 9])
        assert asked.wait(30)
        yield from parts([9])

    monkeypatch.setattr(writeback, "STEP_BYTES", 10)
    monkeypatch.setattr(os, "fdatasync", lost)
    with pytest.raises(OSError, match="lost"):
        list(written_back(descriptor, writing()))
