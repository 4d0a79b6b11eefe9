"""Disk space: what is low, what is full, and the ballast (P4)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from slackwater.blobs.space import Measured, Space, measure
from support.api import ManualClock

MIB = 2**20
GIB = 2**30


class Disk:
    """A file system with so much free; what the ballast takes is not."""

    def __init__(self, directory: Path, free_bytes: int, size_bytes: int = 100 * GIB) -> None:
        self.ballast = directory / "ballast"
        self.free_bytes = free_bytes
        self.size_bytes = size_bytes

    def measure(self, _directory: Path) -> Measured:
        taken = self.ballast.stat().st_blocks * 512 if self.ballast.exists() else 0
        return Measured(max(0, self.free_bytes - taken), self.size_bytes)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Collect what is logged."""
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]  # a list of mutable mappings


def watched(disk: Disk, *, reserve_bytes: int | None = 64 * MIB, ballast_bytes: int = 8 * MIB) -> Space:
    """Return a space over a disk, looked at once."""
    space = Space(disk.ballast.parent, reserve_bytes=reserve_bytes, ballast_bytes=ballast_bytes, measure=disk.measure)
    space.look()
    return space


def look(space: Space, disk: Disk, free_bytes: int) -> str:
    """Look at a disk with so much free, the ballast not counted."""
    disk.free_bytes = free_bytes
    space.look()
    return space.state


def test_the_ballast_takes_its_space_for_real_and_is_private(tmp_path: Path) -> None:
    """P4: a file of holes would give nothing back."""
    disk = Disk(tmp_path, GIB)
    space = watched(disk)
    found = disk.ballast.stat()
    assert (found.st_size, found.st_mode & 0o777) == (8 * MIB, 0o600)
    assert found.st_blocks * 512 >= 8 * MIB
    assert (space.state, space.free_bytes) == ("ok", GIB - 8 * MIB)
    assert [path.name for path in tmp_path.iterdir()] == ["ballast"]


def test_below_the_reserve_it_is_low_and_above_it_with_a_margin_it_is_well_again(tmp_path: Path) -> None:
    """P4: the margin keeps it from changing with every file that comes and goes."""
    disk = Disk(tmp_path, GIB)
    space = watched(disk)
    at = 64 * MIB + 8 * MIB
    assert look(space, disk, at) == "ok"
    assert look(space, disk, at - 1) == "low"
    assert space.low
    assert look(space, disk, at + MIB) == "low"
    assert look(space, disk, at + 2 * MIB) == "ok"
    assert not space.low


def test_the_ballast_is_given_up_when_nearly_nothing_is_left_and_comes_back_with_ample_space(tmp_path: Path) -> None:
    """P4: work in flight and deletions get its space."""
    disk = Disk(tmp_path, GIB)
    space = watched(disk)
    assert look(space, disk, 8 * MIB + 2 * MIB) == "low"
    assert disk.ballast.exists()
    assert look(space, disk, 8 * MIB + 2 * MIB - 1) == "full"
    assert not disk.ballast.exists()
    assert space.free_bytes > 8 * MIB
    assert look(space, disk, 18 * MIB - 1) == "full"
    assert look(space, disk, 18 * MIB) == "low"
    assert disk.ballast.stat().st_size == 8 * MIB
    assert look(space, disk, GIB) == "ok"


def test_a_disk_that_is_full_at_the_start_gets_its_ballast_back_before_anything_is_opened(tmp_path: Path) -> None:
    """P4: the first look gives it up; a second process that finds none says the same."""
    watched(Disk(tmp_path, GIB))
    disk = Disk(tmp_path, 8 * MIB)
    assert watched(disk).state == "full"
    assert not disk.ballast.exists()
    assert watched(disk).state == "full"


def test_without_a_ballast_only_the_free_space_counts(tmp_path: Path) -> None:
    """0 switches it off."""
    disk = Disk(tmp_path, GIB)
    space = watched(disk, ballast_bytes=0)
    assert not disk.ballast.exists()
    assert [look(space, disk, free) for free in (MIB - 1, MIB, 66 * MIB)] == ["full", "low", "ok"]


@pytest.mark.parametrize(
    ("size_bytes", "reserve_bytes"), [(GIB, GIB), (20 * GIB, GIB), (100 * GIB, 5 * GIB), (4000 * GIB, 10 * GIB)]
)
def test_the_default_reserve_is_a_share_within_bounds(tmp_path: Path, size_bytes: int, reserve_bytes: int) -> None:
    """P4: 5 %, at least 1 GiB; on a large disk 10 GiB are as safe as 200."""
    disk = Disk(tmp_path, 10**15, size_bytes)
    space = watched(disk, reserve_bytes=None, ballast_bytes=0)
    assert look(space, disk, reserve_bytes) == "ok"
    assert look(space, disk, reserve_bytes - 1) == "low"


def test_each_change_is_logged_once_with_its_numbers(tmp_path: Path, logged: list[Any]) -> None:
    """An operator has to learn about it before the clients complain."""
    disk = Disk(tmp_path, GIB)
    space = watched(disk)
    for free in (30 * MIB, 30 * MIB, MIB, MIB, GIB, GIB):
        look(space, disk, free)
    assert [(entry["log_level"], entry["reserve_bytes"]) for entry in logged] == [
        ("warning", 64 * MIB),
        ("error", 64 * MIB),
        ("info", 64 * MIB),
    ]
    assert logged[0]["free_bytes"] == 22 * MIB


def test_a_file_system_that_cannot_be_asked_keeps_its_last_state(tmp_path: Path, logged: list[Any]) -> None:
    """A look that fails is no reason to refuse work, or to accept it."""
    space = Space(tmp_path / "gone", reserve_bytes=0, ballast_bytes=0)
    space.look()
    assert space.state == "ok"
    assert [entry["event"] for entry in logged] == ["cannot measure the free disk space"]


def test_a_ballast_that_cannot_be_made_is_said_once_and_does_not_refuse_work(
    tmp_path: Path, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems cannot set space aside."""

    def refuse(*_arguments: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.posix_fallocate", refuse)
    disk = Disk(tmp_path, GIB)
    space = watched(disk)
    assert [look(space, disk, GIB), look(space, disk, GIB)] == ["ok", "ok"]
    assert [entry["log_level"] for entry in logged] == ["warning"]
    assert list(tmp_path.iterdir()) == []


async def test_it_is_looked_at_every_second(tmp_path: Path) -> None:
    """The disk is filled by others too."""
    disk, clock = Disk(tmp_path, GIB), ManualClock()
    space = watched(disk)
    disk.free_bytes = 0
    task = asyncio.create_task(space.watch(clock))
    while clock.sleepers == 0:
        await asyncio.to_thread(lambda: None)
    assert space.state == "ok"
    clock.advance(1)
    while space.state == "ok":
        await asyncio.to_thread(lambda: None)
    task.cancel()
    assert space.state == "full"


def test_what_is_measured_is_the_file_system(tmp_path: Path) -> None:
    """Free for us is no more than there is."""
    found = measure(tmp_path)
    assert 0 < found.free_bytes < found.size_bytes
