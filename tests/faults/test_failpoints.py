"""A server that is killed, stopped, delayed or refused by its disk at every named point: nothing lost or doubled."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from slackwater.failpoints import ACTIONS, POINTS
from support.simulator import RunningSimulator
from support.table import PROPERTY
from support.torture import IN_FLIGHT_MAX, Ordeal, a_day

BACK_SECONDS: Final = 5.0
ROUNDS: Final = 5
SAMPLE: Final = {
    "kill": (
        "store.migration_step",
        "spool.after_write",
        "blobs.before_rename",
        "blobs.before_directory_fsync",
        "store.seal.before_commit",
        "store.seal.after_commit",
        "store.lease.after_commit",
        "backend.before_send",
        "backend.after_receive",
        "journal.after_write",
        "store.commit.before_commit",
        "store.end",
        "store.cancel.after_commit",
        "store.add_file.after_commit",
    ),
    "stop": ("store.lease.before_commit", "backend.before_receive"),
    "eio": ("store.seal.after_commit", "store.commit.after_commit", "blobs.before_fsync", "journal.before_write"),
    "enospc": ("spool.before_write", "blobs.before_directory_fsync", "store.commit.before_commit"),
    "delay": ("store.renew.before_commit", "blobs.before_fsync"),
}

MakeOrdeal = Callable[[], Ordeal]


@pytest.fixture
def ordeal(tmp_path: Path, database: str) -> Iterator[MakeOrdeal]:
    """Make a machine with a backend that has bad days too."""
    simulator = RunningSimulator.start(
        tmp_path, "--latency-ms", "20", "--capacity", "8", "--faults", "429=0.02,503=0.02,500=0.02", "--seed", "11"
    )
    yield lambda: Ordeal(tmp_path, database, simulator)
    simulator.stop()


@pytest.mark.slow
def test_a_fault_at_a_point_of_the_path_loses_nothing_and_doubles_nothing(
    ordeal: MakeOrdeal, record_property: Callable[[str, object], None]
) -> None:
    """F2, D1, D2, D3, D6, S1, S2, X2, X3: the points that decide most, one after the other under one client."""
    plans = [f"{point}={action}" for action, points in SAMPLE.items() for point in points]
    endured(ordeal(), plans, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "trace"])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_every_fault_at_every_point_loses_nothing_and_doubles_nothing(
    ordeal: MakeOrdeal, database: str, action: str, number: int, record_property: Callable[[str, object], None]
) -> None:
    """F2, F11, F12, D1, D2, D3, D6, S1, S2, X2, X3: all of them; in a later round at a later pass of a life.

    Only a first start passes the points of migrations and of the first key. One that it survives is the only one, and
    each round takes another.
    """
    early = [point for point in POINTS if point.startswith(("store.migrat", "store.create_"))]
    later = [point for point in POINTS if point not in early]
    if action in {"stop", "delay"} or (action != "kill" and database != "sqlite"):
        early = [early[number % len(early)]]
    once = ("store.release_worker", "store.forget_creates", "store.archive_workspace", "store.revoke_key")
    passes = [1 if point.startswith(once) else 1 + number % 3 for point in later]
    plans = [f"{point}={action}" for point in early]
    plans += [f"{point}={action}@{nth}" for point, nth in zip(later, passes, strict=True)]
    endured(ordeal(), plans, record_property)


@pytest.mark.slow
@pytest.mark.parametrize(("refused", "unsure"), [("blobs.before_delete=enospc", 0), ("spool.before_write=enospc", 1)])
def test_a_create_whose_batch_is_there_already_is_told_so_or_not_counted_twice(
    ordeal: MakeOrdeal, refused: str, unsure: int
) -> None:
    """F2, F18, D3: sealed, killed before the answer, sent again to a full disk: recognised, or refused unread."""
    tally = ordeal().live_through(
        ["store.seal.after_commit=kill", refused], lambda one, day: one.read(one.create(f"d{day}"))
    )
    assert (tally.lost, tally.doubled, tally.unsure) == (0, 0, unsure)


def test_every_point_is_passed_by_a_server_at_work(ordeal: MakeOrdeal) -> None:
    """F2: a torture at a point that nothing passes would hurt nobody."""
    one = ordeal()
    one.live_through(["*=trace"], a_day)
    assert one.missed == []


def endured(one: Ordeal, plans: list[str], record_property: Callable[[str, object], None]) -> None:
    tally = one.live_through(plans, a_day)
    record_property(PROPERTY, tally.row())
    assert (one.missed, tally.hurt) == ([], len(plans))
    assert (tally.lost, tally.doubled) == (0, 0)
    assert tally.finished == tally.accepted > 0
    assert tally.repeated <= (IN_FLIGHT_MAX + 1) * tally.hurt  # and the one that the client itself waits for
    assert tally.back_seconds <= BACK_SECONDS
