"""A PostgreSQL that breaks connections, restarts, or says nothing, under load: work waits, and none is done twice."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from support.machine import Machine, MakeMachine
from support.postgres import PostgresServer
from support.table import endured
from support.waiting import until

REQUESTS = 2_000
SLOW = pytest.mark.slow


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """Start a server that no other test has connections to, as durable as in production."""
    server = PostgresServer.start(fsync=True)
    yield server
    server.stop()


@pytest.fixture
def busy(own_server: PostgresServer, machine: MakeMachine) -> Machine:
    """Start a server with a few seconds' work, whose backend never fails."""
    return machine(own_server.create_database(), simulate=("--latency-ms", "200", "--capacity", "64"))


@pytest.mark.parametrize("times", [5, pytest.param(500, marks=SLOW)])
def test_connections_that_are_broken_cost_no_call(
    busy: Machine, own_server: PostgresServer, times: int, record_property: Callable[[str, object], None]
) -> None:
    """F13, P1, P2, X2: before, in and after transactions; what had an answer is not asked again."""
    batches = {busy.create("cut0", REQUESTS): "cut0"}
    for number in range(times):
        if all(busy.batch(batch_id)["processing_status"] == "ended" for batch_id in batches):
            batches[busy.create(f"cut{number}", REQUESTS)] = f"cut{number}"
        own_server.run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        threading.Event().wait(0.2)
    assert endured(busy, batches, REQUESTS, times, record_property) == 0


@pytest.mark.parametrize("times", [1, pytest.param(50, marks=SLOW)])
def test_a_database_that_crashes_and_comes_back_finds_the_work_waiting(
    busy: Machine, own_server: PostgresServer, times: int, record_property: Callable[[str, object], None]
) -> None:
    """F13, P1, D1: answers that came meanwhile are kept in memory and committed when it is back."""
    batches = {}
    for number in range(times):
        batches[busy.create(f"crash{number}", REQUESTS)] = f"crash{number}"
        answered = busy.simulator.stats().get("answered", 0)
        until(lambda reached=answered + 200: busy.simulator.stats().get("answered", 0) >= reached)
        own_server.crash()
        threading.Event().wait(1.0)
        own_server.restart()
    assert endured(busy, batches, REQUESTS, times, record_property) == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=SLOW)])
def test_a_database_that_says_nothing_for_a_while_costs_no_call(
    busy: Machine, own_server: PostgresServer, seconds: int, record_property: Callable[[str, object], None]
) -> None:
    """F13, P1: connections that stay open and silent, as behind a black hole."""
    batches = {busy.create("silent", REQUESTS): "silent"}
    until(lambda: busy.simulator.stats().get("answered", 0) >= 200)
    processes = [int(line) for line in own_server.run("SELECT pid FROM pg_stat_activity").splitlines()]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for one in processes:
            with suppress(ProcessLookupError):  # psql's own is gone, or about to go
                os.kill(one, number)
        if number == signal.SIGSTOP:
            threading.Event().wait(seconds)
    assert endured(busy, batches, REQUESTS, 1, record_property) == 0
