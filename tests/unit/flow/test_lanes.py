"""Slots: a prefix group stays in its slot, slots do not idle, and nobody waits for ever behind a warm cache."""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from slackwater.flow.lanes import SLICE_REQUESTS, SPREAD_REQUESTS
from slackwater.flow.schedule import Schedule
from slackwater.flow.stored import Entry
from slackwater.wire.stored import StoredRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAR = NOW + timedelta(hours=20)
PARAMS = msgspec.Raw(b'{"x":"' + b"x" * 100 + b'"}')


class Engine:
    """A backend with slots that answers in the order in which it was asked, or in the one a test draws."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.schedule = Schedule({"b": slots})
        self.flying: list[Entry] = []
        self.order: list[Entry] = []
        """Everything that was sent."""

    def add(
        self, batch: str, groups: Sequence[int], *, workspace: str = "w", shard: int = 0, expires_at: datetime = FAR
    ) -> None:
        entries = [
            Entry(n, StoredRequest(index=n, group=group, custom_id=f"r{n}", params=PARAMS), (batch, shard), "b")
            for n, group in enumerate(groups)
        ]
        self.schedule.add(workspace_id=workspace, expires_at=expires_at, entries=entries)

    def fill(self) -> list[Entry]:
        """Send as much as there is room for."""
        started = []
        while entry := self.schedule.next(now=NOW, has_room=lambda _: len(self.flying) < self.slots):
            self.flying.append(entry)
            started.append(entry)
        self.order += started
        return started

    def answer(self, which: int = 0) -> Entry:
        entry = self.flying.pop(which % len(self.flying))
        self.schedule.came_back(entry)
        return entry

    def run(self, limit: int = 100_000) -> list[Entry]:
        self.fill()
        while self.flying and len(self.order) < limit:
            self.answer()
            self.fill()
        return self.order


def group_of(entry: Entry) -> tuple[str, int]:
    return (entry.shard[0], entry.request.group)


def cold_starts(order: Sequence[Entry], slots: int) -> int:
    """Count the prefixes read anew by an engine that puts a request into the slot that knows its prefix, if one does.

    Of the slots that do not, the one unused for longest is taken: as llama.cpp does.
    """
    known: deque[tuple[str, int]] = deque(maxlen=slots)
    cold = 0
    for entry in order:
        if group_of(entry) in known:
            known.remove(group_of(entry))
        else:
            cold += 1
        known.append(group_of(entry))
    return cold


ARRANGEMENTS = st.lists(
    st.tuples(st.sampled_from("wxyz"), st.sampled_from("abc"), st.lists(st.integers(-2, 4), max_size=40)), max_size=8
)


@given(ARRANGEMENTS, st.integers(1, 5), st.lists(st.integers(0, 4), max_size=60))
def test_everything_goes_out_once_and_a_group_is_in_two_slots_only_where_one_would_idle(
    shards: list[tuple[str, str, list[int]]], slots: int, answers: list[int]
) -> None:
    """X2's first half for slots; whatever the order of groups, shards, batches, workspaces and answers."""
    engine = Engine(slots)
    for number, (workspace, batch, groups) in enumerate(shards):
        engine.add(f"{workspace}-{batch}", groups, workspace=workspace, shard=number)
    waiting = Counter((f"{workspace}-{batch}", group) for workspace, batch, groups in shards for group in groups)
    draws = deque(answers)
    while True:
        started = engine.fill()
        flying = Counter(group_of(entry) for entry in engine.flying)
        waiting.subtract(map(group_of, started))
        idle = [key for key, count in waiting.items() if count and not (key[1] and flying[key])]
        for entry in started:
            if entry.request.group and flying[group_of(entry)] > 1:
                assert not idle, "a group spread although another could have had the slot"
        assert len(engine.flying) <= slots
        if len(engine.flying) < slots:
            assert not idle, "a slot idles although a group waits that has none"
            assert all(count < SPREAD_REQUESTS * flying[key] for key, count in waiting.items() if count)
        if not engine.flying:
            break
        engine.answer(draws.popleft() if draws else 0)
    sent = [(entry.shard, entry.position) for entry in engine.order]
    assert len(sent) == len(set(sent)) == sum(len(groups) for _, _, groups in shards)
    assert engine.schedule.unsent("b") == 0


@given(st.integers(1, 4), st.integers(2, 6), st.integers(1, 3), st.lists(st.integers(0, 3), max_size=50))
def test_nobody_waits_longer_than_a_slice_of_each_of_the_others(
    slots: int, workspaces: int, groups: int, answers: list[int]
) -> None:
    """The bound: while a workspace has requests and none in flight, each other gets at most a slice a slot, and one."""
    engine = Engine(slots)
    for number in range(workspaces):
        engine.add(f"batch{number}", [1 + n % groups for n in range(120)], workspace=f"w{number}")
    draws, waits = deque(answers), Counter[str]()
    while engine.schedule.unsent("b") and len(engine.order) < 60 * workspaces:
        for entry in engine.fill():
            for number in range(workspaces):
                waits[f"batch{number}"] += 1
            waits[entry.shard[0]] = 0
            assert max(waits.values()) <= SLICE_REQUESTS * (workspaces - 1 + slots)
        engine.answer(draws.popleft() if draws else 0)


def test_eight_groups_on_four_slots_are_read_eight_times() -> None:
    """The first duty to such a backend: interleaved on arrival, each prefix is read once."""
    engine = Engine(4)
    engine.add("batch", sorted(1 + n % 8 for n in range(200)))
    assert cold_starts(engine.run(), slots=5) == 8


def test_a_group_that_goes_on_in_the_next_shard_is_the_same_group_and_in_another_batch_it_is_not() -> None:
    """A shard ends somewhere; groups are numbered within their batch."""
    engine = Engine(2)
    engine.add("batch", [1] * 5)
    engine.add("batch", [1] * 5, shard=1)
    engine.add("other", [1] * 5, workspace="other")
    engine.fill()
    assert Counter(map(group_of, engine.flying)) == {("batch", 1): 1, ("other", 1): 1}


def test_the_next_request_of_an_open_group_goes_before_requests_without_a_prefix() -> None:
    """They may use any slot, at any time; a warm slot is warm only for its own group."""
    engine = Engine(1)
    engine.add("batch", [0, 0, 1, 1, 1, 0])
    assert [entry.request.group for entry in engine.run()] == [1, 1, 1, 0, 0, 0]


def test_a_long_group_alone_uses_every_slot_and_a_short_one_stays_in_its_own() -> None:
    """Each slot reads the prefix once; a few requests are done sooner than that."""
    engine = Engine(4)
    engine.add("batch", [1] * 200)
    engine.fill()
    assert len(engine.flying) == 4
    assert cold_starts(engine.run(), slots=1) == 1
    few = Engine(4)
    few.add("batch", [1] * SPREAD_REQUESTS)
    few.fill()
    assert len(few.flying) == 1


def test_no_group_spreads_while_more_shards_are_on_their_way() -> None:
    """The next shard may hold the groups for the other slots."""
    engine = Engine(4)
    engine.schedule.expecting = frozenset({"b"})
    engine.add("batch", [1] * 100)
    engine.fill()
    assert len(engine.flying) == 1
    engine.schedule.expecting = frozenset()
    engine.fill()
    assert len(engine.flying) == 4


def test_a_workspace_that_comes_later_gets_the_next_free_slots_up_to_its_share() -> None:
    """One with nothing in flight does not wait for a warm group of another; then both stay where they are."""
    engine = Engine(4)
    engine.add("first", [1 + n // 50 for n in range(400)], workspace="first")
    engine.fill()
    engine.add("second", [1 + n // 50 for n in range(400)], workspace="second")
    for _ in range(2):
        engine.answer()
        (started,) = engine.fill()
        assert started.shard[0] == "second"
    engine.run(limit=300)
    assert Counter(entry.shard[0] for entry in engine.order)["second"] in range(143, 151)
    assert cold_starts(engine.order, slots=4) == 10, "two groups lose their slots, and each is read again"


def test_more_batches_than_slots_take_turns_of_a_slice() -> None:
    """A warm prefix is not thrown away after each request, and nobody is last."""
    engine = Engine(1)
    for number in range(3):
        engine.add(f"batch{number}", [1] * 40, workspace=f"w{number}")
    order = [entry.shard[0] for entry in engine.run(limit=6 * SLICE_REQUESTS)]
    turns = [order[start : start + SLICE_REQUESTS] for start in range(0, len(order), SLICE_REQUESTS)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert Counter(turn[0] for turn in turns) == {"batch0": 2, "batch1": 2, "batch2": 2}


def test_a_batch_near_its_deadline_takes_the_slots_of_its_siblings_but_not_of_other_workspaces() -> None:
    """Earliest deadline first inside a workspace, as everywhere."""
    engine = Engine(2)
    engine.add("relaxed", [1] * 50)
    engine.add("theirs", [1] * 50, workspace="theirs")
    engine.fill()
    engine.add("urgent", [1] * 50, expires_at=NOW + timedelta(minutes=5))
    engine.answer(0)
    engine.answer(0)
    engine.fill()
    assert {entry.shard[0] for entry in engine.flying} == {"urgent", "theirs"}


def test_a_dropped_shard_frees_its_slot_for_others() -> None:
    """C2: nothing of it comes out any more; what is in flight may still come back."""
    engine = Engine(1)
    engine.add("canceled", [1] * 10)
    engine.add("other", [1] * 2, workspace="other")
    engine.fill()
    engine.schedule.drop(("canceled", 0))
    assert engine.schedule.unsent("b") == 2
    engine.run()
    assert [entry.shard[0] for entry in engine.order] == ["canceled", "other", "other"]
    engine.schedule.drop(("canceled", 0))


def test_a_batch_with_models_at_both_kinds_of_backend_keeps_them_apart() -> None:
    """What returns from one says nothing about a slot of the other."""
    schedule = Schedule({"slots": 1})
    for shard, backend in enumerate(("slots", "plain")):
        request = StoredRequest(index=0, group=0, custom_id="r", params=PARAMS)
        schedule.add(workspace_id="w", expires_at=FAR, entries=[Entry(0, request, ("batch", shard), backend)])
    taken = [entry for _ in range(2) if (entry := schedule.next(now=NOW, has_room=lambda _: True))]
    assert {entry.backend for entry in taken} == {"slots", "plain"}
    for entry in reversed(taken):
        schedule.came_back(entry)
    assert schedule.next(now=NOW, has_room=lambda _: True) is None
