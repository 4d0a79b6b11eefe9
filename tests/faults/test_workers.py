"""Workers beside the server on one PostgreSQL: one dies, one is drained, one comes back, and nothing is lost."""

import random
import signal
import threading
from collections.abc import Callable

import pytest

from support.machine import IN_FLIGHT_MAX, Machine, MakeMachine
from support.table import endured
from support.waiting import until
from support.workers import running, start_worker

REQUESTS = 3_000
LEASE_SECONDS = 6.0
"""Long enough that a worker renews in time on a busy machine: one that does not is a zombie of its own making."""
BACK_AT_WORK_SECONDS = 35.0
SLOW = pytest.mark.slow


@pytest.fixture
def workers(postgres_url: str, machine: MakeMachine) -> Machine:
    """Start a server that leaves the work to others."""
    return machine(
        postgres_url, simulate=("--latency-ms", "30", "--capacity", "64"), settings="[worker]\nenabled = false\n"
    )


def test_a_worker_that_dies_and_one_that_is_drained_cost_at_most_what_was_in_flight(
    postgres_url: str, machine: MakeMachine
) -> None:
    """X2, X3, L4, F5: every custom_id once; a successor on the same machine goes on at once with what was journaled."""
    workers = machine(  # so slow that much is left when both are gone
        postgres_url, simulate=("--latency-ms", "300", "--capacity", "64"), settings="[worker]\nenabled = false\n"
    )
    drained, batch_id = start_worker(workers), workers.create("shared", REQUESTS)
    killed = start_worker(workers)
    until(lambda: workers.simulator.stats().get("answered", 0) >= 200)
    killed.kill()
    killed.wait()
    drained.terminate()
    assert drained.wait(40) == 0
    assert workers.batch(batch_id)["processing_status"] == "in_progress"
    successor = start_worker(workers)
    try:
        workers.ended(batch_id, deadline_seconds=60)
    finally:
        successor.terminate()
        assert successor.wait(40) == 0
    assert workers.assert_whole(batch_id, "shared", REQUESTS)["succeeded"] == REQUESTS
    assert workers.simulator.stats()["arrived"] - REQUESTS <= IN_FLIGHT_MAX


@pytest.fixture
def quick_leases(postgres_url: str, machine: MakeMachine) -> Machine:
    """Start the same with leases that lapse soon: by default it takes half a minute."""
    return machine(
        postgres_url,
        simulate=("--latency-ms", "100", "--capacity", "64"),
        settings=f"[worker]\nenabled = false\nlease_seconds = {LEASE_SECONDS}\n",
    )


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=SLOW)])
def test_workers_that_are_killed_lose_nothing(
    workers: Machine, kills: int, record_property: Callable[[str, object], None]
) -> None:
    """F5, X2, X3, L3: `kill -9` of one of two, again and again; the other goes on, a new one takes its place."""
    chance = random.Random(20261128)  # noqa: S311  # where to hurt, not what to hide
    one, batches = workers, dict[str, str]()
    with running(one, 2) as alive:
        for number in range(kills):
            keep_busy(one, batches, f"k{number}")
            threading.Event().wait(chance.uniform(0.2, 1.5))
            victim = alive.pop(0)
            victim.kill()
            victim.wait()
            alive.append(start_worker(one))
        assert endured(one, batches, REQUESTS, kills, record_property) <= IN_FLIGHT_MAX * kills


@pytest.mark.parametrize("pauses", [2, pytest.param(50, marks=SLOW)])
def test_workers_that_sleep_through_their_leases_change_nothing(
    quick_leases: Machine, pauses: int, record_property: Callable[[str, object], None]
) -> None:
    """F6, S5, X5: stopped beyond its lease and continued, a worker finds its shards taken and drops what it had."""
    one, batches = quick_leases, dict[str, str]()
    with running(one, 2) as alive:
        for number in range(pauses):
            keep_busy(one, batches, f"z{number}")
            zombie = alive[number % 2]
            zombie.send_signal(signal.SIGSTOP)
            threading.Event().wait(LEASE_SECONDS + 1)
            zombie.send_signal(signal.SIGCONT)
        assert endured(one, batches, REQUESTS, pauses, record_property) <= IN_FLIGHT_MAX * pauses


def keep_busy(one: Machine, batches: dict[str, str], prefix: str) -> None:
    """Give the workers something to do, and wait until they do it; what they had may end without another call."""
    before = one.simulator.arrived()

    def busy() -> bool:
        if all(one.batch(batch_id)["processing_status"] == "ended" for batch_id in batches):
            name = f"{prefix}-{len(batches)}"
            batches[one.create(name, REQUESTS)] = name
        return one.simulator.arrived() > before

    until(busy, deadline_seconds=BACK_AT_WORK_SECONDS)
