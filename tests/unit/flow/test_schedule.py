"""Who goes next: nothing twice, nobody starves, small ones never wait, one request warms the cache for its group."""

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from slackwater.flow.schedule import Schedule
from slackwater.flow.stored import Entry
from slackwater.wire.stored import StoredRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAR = NOW + timedelta(hours=20)


def entries(
    shard: tuple[str, int], count: int, *, backend: str = "b", group: int = 0, size: int = 100, start: int = 0
) -> list[Entry]:
    raw = msgspec.Raw(b'{"x":"' + b"x" * size + b'"}')
    return [
        Entry(n, StoredRequest(index=n, group=group, custom_id=f"{shard[0]}-{n}", params=raw), shard, backend)
        for n in range(start, start + count)
    ]


def add(schedule: Schedule, batch: str, count: int, **more: object) -> None:
    options = {"workspace_id": "w", "backend": "b", "expires_at": FAR, "group": 0, "number": 0, **more}
    shard = (batch, int(str(options["number"])))
    schedule.add(
        workspace_id=str(options["workspace_id"]),
        expires_at=options["expires_at"],  # type: ignore[arg-type]  # a test's shorthand
        entries=entries(shard, count, backend=str(options["backend"]), group=int(str(options["group"]))),
    )


def drain(schedule: Schedule, limit: int = 10_000, closed: frozenset[str] = frozenset()) -> list[Entry]:
    taken: list[Entry] = []
    while len(taken) < limit and (entry := schedule.next(now=NOW, has_room=lambda name: name not in closed)):
        taken.append(entry)
        schedule.came_back(entry)
    return taken


@given(st.lists(st.tuples(st.sampled_from("wxyz"), st.sampled_from("bc"), st.integers(1, 40)), max_size=12))
def test_every_request_is_handed_out_exactly_once(loads: list[tuple[str, str, int]]) -> None:
    """X2's first half: the schedule itself never repeats or forgets one."""
    schedule = Schedule()
    for number, (workspace, backend, count) in enumerate(loads):
        add(schedule, f"batch{number}", count, workspace_id=workspace, backend=backend)
    taken = [(entry.shard, entry.position) for entry in drain(schedule)]
    assert len(taken) == len(set(taken)) == sum(count for _, _, count in loads)
    assert schedule.unsent("b") == schedule.unsent("c") == 0


def test_a_small_batch_does_not_wait_behind_a_large_one() -> None:
    """Ten requests that come while ten thousand wait are done after about as many of the others."""
    schedule = Schedule()
    add(schedule, "large", 10_000)
    drain(schedule, limit=500)
    add(schedule, "small", 10)
    first = drain(schedule, limit=22)
    assert sum(entry.shard[0] == "small" for entry in first) == 10


def test_workspaces_share_by_what_they_are_given_not_by_how_much_they_ask() -> None:
    """A workspace with ten batches gets no more than one with a single batch."""
    schedule = Schedule()
    for number in range(10):
        add(schedule, f"many{number}", 100, workspace_id="busy")
    add(schedule, "one", 100, workspace_id="quiet")
    first = drain(schedule, limit=200)
    assert sum(entry.shard[0] == "one" for entry in first) in range(98, 101)


def test_a_workspace_that_was_idle_cannot_save_up_its_share() -> None:
    """It starts level with the others, not with a credit for the time it slept."""
    schedule = Schedule()
    add(schedule, "a", 2_000, workspace_id="a")
    drain(schedule, limit=1_000)
    add(schedule, "b", 2_000, workspace_id="b")
    first = drain(schedule, limit=200)
    assert sum(entry.shard[0] == "b" for entry in first) in range(99, 102)


def test_a_closed_backend_holds_back_only_its_own_requests() -> None:
    """One slow or dead backend never blocks another."""
    schedule = Schedule()
    add(schedule, "dead", 50, backend="dead")
    add(schedule, "fine", 50, backend="fine")
    taken = drain(schedule, closed=frozenset({"dead"}))
    assert {entry.shard[0] for entry in taken} == {"fine"}
    assert len(taken) == 50
    assert len(drain(schedule)) == 50


def test_a_batch_near_its_deadline_goes_before_its_siblings() -> None:
    """Earliest deadline first, once it is close."""
    schedule = Schedule()
    add(schedule, "relaxed", 50)
    add(schedule, "urgent", 50, expires_at=NOW + timedelta(minutes=5))
    assert {entry.shard[0] for entry in drain(schedule, limit=50)} == {"urgent"}


def test_one_request_of_a_cold_group_goes_ahead_and_the_rest_follow_when_it_is_back() -> None:
    """The first answer warms the cache; until then the group's others would all pay for the same prefix."""
    schedule = Schedule()
    add(schedule, "batch", 5, group=9)
    leader = schedule.next(now=NOW, has_room=lambda _: True)
    assert leader is not None
    assert schedule.next(now=NOW, has_room=lambda _: True) is None
    schedule.came_back(leader)
    assert len(drain(schedule)) == 4


def test_other_groups_and_ungrouped_requests_do_not_wait_for_a_leader() -> None:
    """Warming holds back its own group only."""
    schedule = Schedule()
    schedule.add(
        workspace_id="w",
        expires_at=FAR,
        entries=[
            *entries(("batch", 0), 3, group=1),
            *entries(("batch", 0), 3, group=2, start=3),
            *entries(("batch", 0), 2, start=6),
        ],
    )
    taken = [entry for _ in range(4) if (entry := schedule.next(now=NOW, has_room=lambda _: True))]
    assert [entry.position for entry in taken] == [0, 3, 6, 7]


def test_a_short_shared_prefix_makes_nobody_wait() -> None:
    """No cache of such a backend keeps it."""
    schedule = Schedule()
    add(schedule, "batch", 5, group=-9)
    assert len([entry for _ in range(5) if (entry := schedule.next(now=NOW, has_room=lambda _: True))]) == 5


def test_a_dropped_shard_leaves_nothing_behind() -> None:
    """C2: after a cancel nothing of the batch can come out any more, not even after its leader is back."""
    schedule = Schedule()
    add(schedule, "canceled", 10, group=3)
    add(schedule, "other", 1)
    leader = schedule.next(now=NOW, has_room=lambda _: True)
    assert leader is not None
    assert schedule.unsent("b") == 10
    schedule.drop(("canceled", 0))
    assert schedule.unsent("b") == 1
    schedule.came_back(leader)
    assert [entry.shard[0] for entry in drain(schedule)] == ["other"]
    schedule.drop(("canceled", 0))
