"""Somebody sets the wall clock, while a server runs and while it is down: deadlines stay where they are (F8)."""

import random
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from support.machine import MakeMachine

REQUESTS = 60
DAY_AND_AN_HOUR = 90_000
STEPS = (-DAY_AND_AN_HOUR, -1, 0, 1, DAY_AND_AN_HOUR)
SLOW = pytest.mark.slow


class Wall:
    """The wall clock of a machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.altered = {"ALTERED_WALL": str(path), "ALTERED_LOOK": "0.1"}
        self.stands(0)

    def stands(self, seconds: int) -> None:
        """Set it to so many seconds ahead of the time."""
        partial = self.path.with_suffix(".new")
        partial.write_text(str(seconds))
        partial.replace(self.path)


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    """Have a wall clock that is right."""
    return Wall(tmp_path / "wall")


def instant(text: str) -> datetime:
    """Read an instant of the API."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("steps", [3, pytest.param(200, marks=SLOW)])
def test_a_wall_clock_that_is_set_expires_nothing_that_has_time(
    machine: MakeMachine, wall: Wall, steps: int, record_property: Callable[[str, object], None]
) -> None:
    """F8, T1, T3: 25 hours and a second, forth and back, every third step while the server is down."""
    chance = random.Random(20261128)  # noqa: S311  # where to hurt, not what to hide
    one = machine(simulate=("--latency-ms", "100", "--capacity", "4"), altered=wall.altered)
    batches, promised = dict[str, tuple[str, int]](), dict[str, str]()
    for number in range(steps + 1):
        down = number % 3 == 0 and number > 0
        if down:
            one.kill()
        wall.stands(
            DAY_AND_AN_HOUR if number == steps - steps % 3 else chance.choice(STEPS)
        )  # the last while it is down
        if down:
            one.start()
        prefix, size = f"b{number}", 2 if number % 10 else REQUESTS
        batch_id = one.create(prefix, size)
        batches[batch_id] = (prefix, size)
        promised[batch_id] = one.batch(batch_id)["expires_at"]
        threading.Event().wait(chance.uniform(0.05, 0.3))
    assert "slackwater_wall_clock_drift_seconds" in one.server.call("GET", "/metrics")
    found = {batch_id: one.ended(batch_id) for batch_id in batches}
    assert {batch_id: batch["expires_at"] for batch_id, batch in found.items()} == promised
    assert all(
        (instant(batch["expires_at"]) - instant(batch["created_at"])).total_seconds() == 86_400
        for batch in found.values()
    )
    created = [instant(batch["created_at"]) for batch in found.values()]
    assert created == sorted(created)
    assert (created[-1] - created[0]).total_seconds() < 3_600
    assert list(batches) == sorted(batches)
    for batch_id, (prefix, size) in batches.items():
        assert one.assert_whole(batch_id, prefix, size) == {"succeeded": size}
    assert "the wall clock was set forward" in one.server.log.read_text("utf-8")
    record_property("steps", steps)


def test_a_wall_clock_that_is_set_back_makes_nothing_live_longer(machine: MakeMachine, wall: Wall) -> None:
    """F8, T2, T3: not while the server runs, and not over a restart; time went on all the same."""
    one = machine(
        simulate=("--latency-ms", "100", "--capacity", "2"),
        settings="[batches]\nexpires_after_seconds = 3\n",
        altered=wall.altered,
    )
    batch_id = one.create("late", 1_000)
    promised = one.batch(batch_id)["expires_at"]
    wall.stands(-DAY_AND_AN_HOUR)
    one.kill()
    one.start()
    ended = one.ended(batch_id, deadline_seconds=20)
    assert (instant(ended["ended_at"]) - instant(promised)).total_seconds() < 5
    kinds = one.assert_whole(batch_id, "late", 1_000)
    assert kinds["expired"] == 1_000 - kinds["succeeded"] > 0
