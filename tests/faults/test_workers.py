"""Workers beside the server on one PostgreSQL: one dies, one is drained, one comes back, and nothing is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.machine import IN_FLIGHT_MAX, Machine, MakeMachine
from support.server import clean_environment
from support.waiting import until

REQUESTS = 3_000


@pytest.fixture
def workers(postgres_url: str, machine: MakeMachine) -> Machine:
    """Start a server that leaves the work to others."""
    return machine(
        postgres_url, simulate=("--latency-ms", "30", "--capacity", "64"), settings="[worker]\nenabled = false\n"
    )


def start_worker(one: Machine) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).with_name("slackwater")), "worker", "--config", "slackwater.toml"]
    return subprocess.Popen([*command, "--data", "data"], cwd=one.directory, env=clean_environment())


def test_a_worker_that_dies_and_one_that_is_drained_cost_at_most_what_was_in_flight(workers: Machine) -> None:
    """X2, X3, L4, F5: every custom_id once; a successor on the same machine goes on at once with what was journaled."""
    drained, killed = start_worker(workers), start_worker(workers)
    batch_id = workers.create("shared", REQUESTS)
    until(lambda: workers.simulator.stats().get("answered", 0) >= 500)
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
