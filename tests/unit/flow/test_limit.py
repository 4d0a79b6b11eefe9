"""The limit of a backend whose capacity nobody configured: found by trying, against backends that are modelled here."""

import heapq
import random
import statistics
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest

from slackwater.flow.limit import REQUEST_TOKENS, START, Limit, Trial

CEILING = 256
WAY_SECONDS = 0.002
"""From an answer's end to the next call's begin, both ways and our own work."""
TOKENS = 100


class Modelled:
    """A backend with so many places and a queue, and a limit that is kept busy by an endless batch."""

    def __init__(self, limit: Limit, places: int, seconds: Callable[[int], float]) -> None:
        """Make one; `seconds` says how long a call takes beside how many it is computed."""
        self.limit = limit
        self.places = places
        self.seconds = seconds
        self.now = 0.0
        self.in_flight = 0
        self._busy = 0
        self._queue: deque[float] = deque()
        self._events: list[tuple[float, int, str, float]] = []
        self._number = 0

    def answer(self, calls: int, *, wanted: int = CEILING) -> float:
        """Answer so many calls, with never more than are wanted in flight; return the seconds that it took."""
        began, left = self.now, calls
        while left:
            while self.in_flight < min(int(self.limit.value), wanted):
                self.in_flight += 1
                self._later(WAY_SECONDS / 2, "arrived", self.now)
            self.now, _, what, sent_at = heapq.heappop(self._events)
            if what == "arrived":
                self._queue.append(sent_at)
            elif what == "computed":
                self._busy -= 1
                self._later(WAY_SECONDS / 2, "answered", sent_at)
            else:
                self.limit.answered(self.in_flight, self.now - sent_at, TOKENS, self.now)
                self.in_flight -= 1
                left -= 1
            while self._queue and self._busy < self.places:
                self._busy += 1
                self._later(self.seconds(self._busy), "computed", self._queue.popleft())
        return self.now - began

    def be_away(self, seconds: float) -> None:
        """Answer nothing for a while."""
        self.now += seconds
        self._events = [(at + seconds, number, what, sent_at) for at, number, what, sent_at in self._events]
        self.limit.disturbed()

    def _later(self, seconds: float, what: str, sent_at: float) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, what, sent_at))


def alike(_: int) -> float:
    """Every call takes as long."""
    return 0.05


def uneven(seed: int) -> Callable[[int], float]:
    """Log-normal latencies: one in twenty takes more than twice the median."""
    dice = random.Random(seed)  # noqa: S311  # hides nothing
    return lambda _: 0.05 * dice.lognormvariate(0.0, 0.5)


def in_steps(half: int) -> Callable[[int], float]:
    """All calls are computed in one step: with `half` of them the server has half of the speed that it can have."""
    return lambda busy: 0.05 * (1 + busy / half)


def usual(one: Modelled) -> float:
    """Return the median limit over the next 10,000 answers: trials go beyond it and below."""
    return statistics.median(one.limit.value for _ in range(100) if one.answer(100))


@pytest.mark.parametrize("places", [1, 4, 16, 40, 64, 100, 200])
def test_a_backend_is_kept_busy_and_nobody_waits_long_in_its_queue(places: int) -> None:
    """Whatever its capacity, half of it more is in flight at most, but for the trials, and no time is lost."""
    one = Modelled(Limit(CEILING, adaptive=True), places, alike)
    one.answer(20_000)
    began = one.now
    assert usual(one) <= 1.5 * places + 3
    assert one.now - began <= 1.06 * 10_000 * 0.05 / places


@pytest.mark.parametrize("seed", range(5))
def test_uneven_latencies_cost_little(seed: int) -> None:
    """They make every measurement uncertain; what was thought too little is tried again."""
    found = Modelled(Limit(CEILING, adaptive=True), 64, uneven(seed)).answer(30_000)
    told = Modelled(Limit(128, adaptive=False), 64, uneven(seed)).answer(30_000)
    assert found <= 1.06 * told


@pytest.mark.parametrize("half", [64, 128, 256])
def test_a_server_that_computes_its_calls_together_gets_many(half: int) -> None:
    """Its calls take longer the more there are, and that is no queue: it answers more in a second."""
    found = Modelled(Limit(CEILING, adaptive=True), CEILING, in_steps(half)).answer(40_000)
    told = Modelled(Limit(CEILING, adaptive=False), CEILING, in_steps(half)).answer(40_000)
    assert found <= 1.06 * told


def test_the_beginning_costs_no_more_than_a_few_rounds() -> None:
    """Ten thousand requests take hardly longer than with the right limit from the start."""
    assert Modelled(Limit(CEILING, adaptive=True), 64, alike).answer(10_000) <= 1.025 * 10_000 * 0.05 / 64


def test_capacity_that_comes_is_found_and_capacity_that_goes_is_left() -> None:
    """A second card, or a neighbour who needs the first one."""
    one = Modelled(Limit(CEILING, adaptive=True), 32, alike)
    one.answer(20_000)
    assert usual(one) <= 1.5 * 32
    one.places = 128
    one.answer(40_000)
    assert 0.9 * 128 <= usual(one) <= 1.5 * 128
    one.places = 32
    one.answer(60_000)
    assert usual(one) <= 1.5 * 32


@pytest.mark.parametrize("answers", [600, 800, 1_000, 1_500, 2_000, 4_000])
def test_a_backend_that_was_away_is_not_thought_slow(answers: int) -> None:
    """Whatever was being measured at that time."""
    one = Modelled(Limit(CEILING, adaptive=True), 64, alike)
    one.answer(answers)
    one.be_away(60)
    assert one.answer(6_000) <= 1.15 * 6_000 * 0.05 / 64
    assert 60 <= usual(one) <= 1.5 * 64


def test_little_work_tells_nothing() -> None:
    """With fewer calls than the limit in flight it stays where it is: more could not be used, less was not tried."""
    one = Modelled(Limit(CEILING, adaptive=True), 64, alike)
    one.answer(5_000, wanted=8)
    assert one.limit.value == START
    one.answer(20_000)
    size = one.limit.value
    one.answer(5_000, wanted=8)
    assert 0.5 * size <= one.limit.value <= 2 * size


def test_a_refusal_ends_the_search() -> None:
    """A backend that says when it has too much (429, 529) is believed: less then, and one more a round."""
    limit = Limit(CEILING, adaptive=True)
    limit.refused(100.0)
    limit.refused(100.5)
    assert limit.value == pytest.approx(0.7 * START)
    before = limit.value
    for _ in range(int(before)):
        limit.answered(1, None, 0, 200.0)
    assert before + 0.9 <= limit.value <= before + 1


@pytest.mark.parametrize("began_amid", [0, 20, 63])
def test_a_speed_is_measured_from_pause_to_pause(began_amid: int) -> None:
    """Answers come in bunches of 64 here; one bunch too many would be a sixth too fast."""
    trial = Trial(64, after=began_amid)
    times = [0.05 * (number // 64) for number in range(64 * 10)]
    speed = next(found for now in times if (found := trial.hear(TOKENS, now)) is not None)
    assert speed.calls == pytest.approx(1_280)
    assert speed.tokens == pytest.approx(1_280 * (TOKENS + REQUEST_TOKENS))


def test_the_limit_moves_in_bounds() -> None:
    """Never below one, never above its ceiling, whatever comes."""
    dice = random.Random(1)  # noqa: S311  # likewise
    one = Modelled(Limit(40, adaptive=True), 3, lambda busy: dice.expovariate(20.0 / busy))
    sizes = []
    for _ in range(200):
        one.answer(dice.randrange(1, 300), wanted=dice.randrange(1, CEILING))
        sizes.append(one.limit.value)
    assert all(1.0 <= size <= 40.0 for size in sizes)
    assert any(a != b for a, b in pairwise(sizes))
