"""The gate: who goes first, how much at once, and what a dead backend costs."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from slackwater.flow.gate import AWAY_FAILURES, Gate, backoff_seconds
from slackwater.flow.limit import Limit


class FakeClock:
    """Time that stands still until it is moved; sleepers wake when it has passed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.seconds + seconds, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        self.seconds += seconds
        for at, waiter in self._sleepers:
            if at <= self.seconds and not waiter.done():
                waiter.set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)  # lets woken tasks run, waits for nothing


def gate(clock: FakeClock, ceiling: int = 4) -> Gate:
    return Gate("b", ceiling=ceiling, adaptive=False, clock=clock)


async def test_interactive_callers_go_before_batch_work_that_came_earlier() -> None:
    """Batch work uses what interactive traffic leaves and yields within one request."""
    one = gate(FakeClock(), ceiling=1)
    one.take()
    order: list[str] = []

    async def call(name: str, *, interactive: bool) -> None:
        async with one.slot(interactive=interactive):
            order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(call("batch", interactive=False))
        await asyncio.sleep(0)  # lets the batch call queue first
        group.create_task(call("person", interactive=True))
        await asyncio.sleep(0)  # likewise
        assert not one.has_room()
        one.release()
    assert order == ["person", "batch"]
    assert one.in_flight == 0


async def test_the_limit_is_never_exceeded() -> None:
    """At most the configured number is in flight."""
    one = gate(FakeClock(), ceiling=3)
    highest = 0

    async def call() -> None:
        nonlocal highest
        async with one.slot(interactive=False):
            highest = max(highest, one.in_flight)
            await asyncio.sleep(0)  # gives the others their chance to overrun

    await asyncio.gather(*(call() for _ in range(20)))
    assert highest == 3
    assert one.in_flight == 0


async def test_a_backend_that_is_away_gets_one_probe_a_second() -> None:
    """X7: the circuit opens after failures in a row, and lets one call a second through."""
    clock = FakeClock()
    one = gate(clock)
    for _ in range(AWAY_FAILURES):
        one.take()
        one.failed(full=False, retry_after_seconds=None)
        one.release()
    assert one.away
    probes = 0
    for _ in range(50):
        await clock.advance(0.1)
        if one.has_room():
            probes += 1
            one.take()
            one.failed(full=False, retry_after_seconds=None)
            one.release()
    assert 4 <= probes <= 5


async def test_waiters_of_a_dead_backend_are_woken_by_time_alone() -> None:
    """Nobody else would: no call is in flight that could end."""
    clock = FakeClock()
    one = gate(clock)
    for _ in range(AWAY_FAILURES):
        one.failed(full=False, retry_after_seconds=None)
    waiting = asyncio.create_task(one.acquire(interactive=False))
    await clock.advance(0)
    assert not waiting.done()
    await clock.advance(1.1)
    assert waiting.done()
    one.succeeded()
    one.release()
    assert one.has_room()


async def test_retry_after_of_a_dead_backend_is_obeyed() -> None:
    """X7: no probe before the time the backend asked for."""
    clock = FakeClock()
    one = gate(clock)
    for _ in range(AWAY_FAILURES):
        one.failed(full=False, retry_after_seconds=7.0)
    await clock.advance(6.9)
    assert not one.has_room()
    await clock.advance(0.2)
    assert one.has_room()


async def test_a_full_backend_gets_less_and_more_again_as_it_succeeds() -> None:
    """Multiplicative decrease, at most once a second; additive increase up to the ceiling."""
    clock = FakeClock()
    one = gate(clock, ceiling=100)
    await clock.advance(10)
    for _ in range(30):
        one.failed(full=True, retry_after_seconds=None)
    assert one.limit == 70
    assert not one.away
    await clock.advance(1)
    one.failed(full=True, retry_after_seconds=None)
    assert one.limit == 49
    for _ in range(20_000):
        one.succeeded()
    assert one.limit == 100


def test_an_unknown_limit_doubles_while_that_is_faster() -> None:
    """A backend without a configured limit is not held back for thousands of requests; test_limit.py has the rest."""
    clock = FakeClock()
    one = Gate("b", ceiling=256, adaptive=True, clock=clock)
    assert one.limit == 16
    for _ in range(16 + 32 + 2):
        one.in_flight = one.limit
        clock.seconds += 0.1 / one.limit
        one.succeeded(clock.seconds - 0.1, 100)
    assert one.limit == 64
    one.failed(full=True, retry_after_seconds=None)
    assert one.limit == 44
    for _ in range(44):
        one.succeeded()
    assert one.limit == 45


def test_a_backend_that_went_away_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time without answers says nothing about its speed; a single failure is no such time."""
    heard = list[bool]()
    monkeypatch.setattr(Limit, "disturbed", lambda _: heard.append(True))
    one = Gate("b", ceiling=256, adaptive=True, clock=FakeClock())
    for _ in range(AWAY_FAILURES):
        assert heard == []
        one.failed(full=False, retry_after_seconds=None)
    assert heard == [True]


async def test_a_caller_who_gives_up_takes_no_slot_with_him() -> None:
    """Canceling a waiter, before or after its turn has come, leaks nothing."""
    one = gate(FakeClock(), ceiling=1)
    one.take()
    early = asyncio.create_task(one.acquire(interactive=False))
    late = asyncio.create_task(one.acquire(interactive=False))
    await asyncio.sleep(0)  # both queue
    early.cancel()
    one.release()
    late.cancel()
    await asyncio.gather(early, late, return_exceptions=True)
    assert one.in_flight == 0
    assert one.has_room()


def test_backoff_is_jittered_bounded_and_never_shorter_than_asked() -> None:
    """X7: full jitter; `retry-after` is a floor."""
    waits = [backoff_seconds(attempt) for attempt in range(40) for _ in range(20)]
    assert 0 <= min(waits) < max(waits) <= 30
    assert backoff_seconds(1, 12.0) == 12.0


async def test_a_backend_that_is_away_and_wanted_by_nobody_wakes_nobody_again_and_again() -> None:
    """X7: the workers are told once that the next probe may go; until somebody sends it there is nothing to do."""
    clock = FakeClock()
    one = gate(clock)
    room = asyncio.Event()
    one.on_room.append(room)
    for _ in range(AWAY_FAILURES):
        one.take()
        one.failed(full=False, retry_after_seconds=None)
        one.release()
    await asyncio.sleep(0)  # lets the timer begin to wait
    room.clear()
    await clock.advance(1.1)
    assert room.is_set()
    assert one.has_room()
    room.clear()
    for _ in range(10):
        await clock.advance(0.02)
    assert not room.is_set()
    one.take()
    assert not one.has_room()
    await asyncio.sleep(0)  # likewise
    await clock.advance(1.1)
    assert room.is_set(), "a probe that does not come back is followed by the next one"


async def test_a_long_retry_after_is_forgotten_with_the_next_success() -> None:
    """X7: when the backend is back and goes away again, its probes are a second apart as ever."""
    clock = FakeClock()
    one = gate(clock)
    for _ in range(AWAY_FAILURES + 1):
        one.take()
    for _ in range(AWAY_FAILURES):
        one.failed(full=False, retry_after_seconds=600)
        one.release()
    await asyncio.sleep(0)  # lets the timer begin to wait
    one.succeeded()
    one.release()
    for _ in range(AWAY_FAILURES):
        one.take()
        one.failed(full=False, retry_after_seconds=None)
        one.release()
    waiting = asyncio.create_task(one.acquire(interactive=False))
    await asyncio.sleep(0)  # likewise
    await clock.advance(1.1)
    assert waiting.done()


async def test_interactive_callers_have_places_of_their_own_that_batch_work_never_takes() -> None:
    """A slot is kept free for them; one who sits in it takes none from the batch, the next one does."""
    one = Gate("b", ceiling=8, adaptive=False, clock=FakeClock(), slots=2, reserved=1)
    for _ in range(2):
        assert one.has_room()
        one.take()
    assert not one.has_room(), "the ceiling is what there are slots for"
    await one.acquire(interactive=True)
    second = asyncio.create_task(one.acquire(interactive=True))
    await asyncio.sleep(0)  # it queues
    assert not second.done()
    one.release()
    await second
    assert not one.has_room()
    assert one.in_flight == 3
    one.release(interactive=True)
    assert one.has_room()


async def test_batch_work_does_not_start_beside_a_call_that_waits_for_its_first_token() -> None:
    """At a backend with slots every prompt is read by the same cores; elsewhere nothing waits."""
    clock = FakeClock()
    one = Gate("b", ceiling=4, adaptive=False, clock=clock, slots=4, reserved=1)
    room = asyncio.Event()
    one.on_room.append(room)
    first_token = one.hush(60)
    retrying = asyncio.create_task(one.acquire(interactive=False))
    await clock.advance(0)
    assert not one.has_room()
    assert not retrying.done()
    await one.acquire(interactive=True)
    first_token()
    first_token()
    await clock.advance(0)
    assert retrying.done()
    assert room.is_set()
    assert one.has_room()
    other = gate(clock)
    other.hush(60)
    assert other.has_room()


async def test_batch_work_is_not_held_back_for_ever_by_an_answer_that_does_not_come() -> None:
    """A whole answer does not show its first token: after a while the batch goes on beside it."""
    clock = FakeClock()
    one = Gate("b", ceiling=4, adaptive=False, clock=clock, slots=4)
    one.hush(2)
    one.hush(3)
    await clock.advance(0)
    await clock.advance(2.1)
    assert not one.has_room()
    await clock.advance(1)
    assert one.has_room()
