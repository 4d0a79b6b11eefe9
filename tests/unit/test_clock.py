"""The clock: steps of the wall do nothing, suspended time counts, and no run starts before an earlier one ended."""

import errno
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest

from slackwater.clock import SystemClock


@pytest.fixture
def machine_time(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Let a test set the wall clock and the boot clock."""
    times = {"wall": 1_800_000_000.0, "boot": 5_000.0}
    monkeypatch.setattr(time, "time", lambda: times["wall"])
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: times["boot"])
    return times


@pytest.mark.parametrize("step_seconds", [90_000.0, -90_000.0, 1.0])
def test_a_step_of_the_wall_clock_changes_nothing(machine_time: dict[str, float], step_seconds: float) -> None:
    """T3, F8: 25 hours forwards or back expire nothing and shorten no lease; the drift is there to be alarmed about."""
    clock = SystemClock()
    before = clock.now()
    machine_time["wall"] += step_seconds
    assert clock.now() == before
    assert clock.wall_drift_seconds() == pytest.approx(step_seconds)
    machine_time["boot"] += 2
    assert clock.now() - before == timedelta(seconds=2)


def test_time_spent_suspended_counts(machine_time: dict[str, float]) -> None:
    """T3: the boot clock moved, so what is due is due."""
    clock = SystemClock()
    before, instant = clock.now(), clock.monotonic()
    machine_time["boot"] += 90_000
    machine_time["wall"] += 90_000
    assert clock.now() - before == timedelta(hours=25)
    assert clock.monotonic() - instant == 90_000


def test_a_run_never_starts_before_the_instant_an_earlier_one_reached(machine_time: dict[str, float]) -> None:
    """T3: a wall clock set back between two runs does not bring back an expired deadline."""
    first = SystemClock()
    reached = first.now() + timedelta(hours=2)
    machine_time["wall"] -= 90_000
    clock = SystemClock()
    clock.advance_to(reached)
    assert clock.now() == reached
    clock.advance_to(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now() == reached


@pytest.mark.parametrize("step_seconds", [90_000.0, 301.0, -1.0, -90_000.0])
def test_a_step_of_the_wall_clock_between_two_runs_changes_nothing_either(
    machine_time: dict[str, float], tmp_path: Path, step_seconds: float
) -> None:
    """T3, F8: the boot clock went on meanwhile, and says how long the process was down."""
    before = SystemClock.kept(tmp_path / "clock").now()
    machine_time["wall"] += step_seconds + 60
    machine_time["boot"] += 60
    clock = SystemClock.kept(tmp_path / "clock")
    assert clock.now() - before == timedelta(seconds=60)
    assert clock.wall_drift_seconds() == pytest.approx(step_seconds)
    assert [path.name for path in tmp_path.iterdir()] == ["clock"]


def test_a_clock_that_was_set_by_a_little_is_believed_at_the_next_start(
    machine_time: dict[str, float], tmp_path: Path
) -> None:
    """T3: and once only, however often it is set back and forth."""
    before = SystemClock.kept(tmp_path / "clock").now()
    for step in (299.0, -299.0, 299.0, -299.0):
        machine_time["wall"] += step
        assert SystemClock.kept(tmp_path / "clock").now() - before == timedelta(seconds=299)


@pytest.mark.parametrize("left", ["another-boot 2026-01-02T00:00:00+00:00", "torn", "", None])
def test_the_wall_clock_is_believed_where_nothing_else_is_known(
    machine_time: dict[str, float], tmp_path: Path, left: str | None
) -> None:
    """T3: after the machine was booted anew, or on another one, and when an operator removed the file."""
    SystemClock.kept(tmp_path / "clock")
    machine_time["wall"] += 90_000
    if left is None:
        (tmp_path / "clock").unlink()
    else:
        (tmp_path / "clock").write_text(left)
    assert SystemClock.kept(tmp_path / "clock").now().timestamp() == machine_time["wall"]


def test_a_disk_that_is_full_does_not_keep_a_clock_from_starting(
    machine_time: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: the next start believes the wall clock then."""
    monkeypatch.setattr(Path, "write_text", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    assert SystemClock.kept(tmp_path / "clock").now().timestamp() == machine_time["wall"]
    assert list(tmp_path.iterdir()) == []
