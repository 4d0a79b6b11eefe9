"""The clock: steps of the wall do nothing, suspended time counts, and no run starts before an earlier one ended."""

import time
from datetime import UTC, datetime, timedelta

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
