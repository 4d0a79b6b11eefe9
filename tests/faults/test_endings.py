"""Cancel, expiry and archive, with real processes and across restarts."""

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from support.machine import IN_FLIGHT_MAX, Machine, MakeMachine
from support.waiting import until

LARGE = 100_000


def test_a_canceled_batch_of_100_000_stops_at_once_and_keeps_what_was_done(machine: MakeMachine) -> None:
    """F10, C1, C2, C4: `canceling` in the answer, nothing new a second later, ended soon, every line there."""
    one = machine(simulate=("--latency-ms", "20", "--capacity", "64"))
    batch_id = one.create("large", LARGE)
    until(lambda: one.simulator.stats().get("answered", 0) >= 1_000)
    answer = one.server.call("POST", f"/v1/messages/batches/{batch_id}/cancel")
    assert '"processing_status":"canceling"' in answer.replace(" ", "")
    threading.Event().wait(1.0)
    after_a_second = one.simulator.arrived()
    done = one.ended(batch_id, deadline_seconds=60)
    assert one.simulator.arrived() == after_a_second
    assert done["cancel_initiated_at"] is not None
    kinds = one.assert_whole(batch_id, "large", LARGE)
    assert kinds["succeeded"] >= 1_000
    assert kinds["canceled"] == LARGE - kinds["succeeded"]
    assert kinds["succeeded"] == one.simulator.stats()["answered"]


def test_a_cancel_answered_before_a_kill_holds_after_it(machine: MakeMachine, database: str) -> None:
    """D7, C1: nothing of the batch is sent after the restart, and finished work is kept."""
    one = machine(database, simulate=("--latency-ms", "30", "--capacity", "64"))
    batch_id = one.create("gone", 5_000)
    until(lambda: one.simulator.stats().get("answered", 0) >= 200)
    one.server.call("POST", f"/v1/messages/batches/{batch_id}/cancel")
    one.kill()
    arrived = one.simulator.arrived()
    one.start()
    one.ended(batch_id)
    kinds = one.assert_whole(batch_id, "gone", 5_000)
    assert one.simulator.arrived() == arrived
    assert kinds["succeeded"] >= 200 - IN_FLIGHT_MAX
    assert kinds["canceled"] == 5_000 - kinds["succeeded"]


def test_a_batch_whose_time_ran_out_while_the_server_was_down_ends_after_the_start(
    machine: MakeMachine, database: str
) -> None:
    """F9, T1, T2: unsent requests expire, nothing is sent after the deadline, `expires_at` stays what it was."""
    one = machine(
        database,
        simulate=("--latency-ms", "50", "--capacity", "4"),
        settings="[batches]\nexpires_after_seconds = 3\n",
    )
    batch_id = one.create("late", 2_000)
    promised = one.batch(batch_id)["expires_at"]
    until(lambda: one.simulator.stats().get("answered", 0) >= 20)
    one.kill()
    threading.Event().wait(3.0)
    arrived = one.simulator.arrived()
    began = time.monotonic()
    one.start()
    done = one.ended(batch_id)
    assert time.monotonic() - began <= 10
    assert done["expires_at"] == promised
    kinds = one.assert_whole(batch_id, "late", 2_000)
    assert one.simulator.arrived() == arrived
    assert kinds["expired"] == 2_000 - kinds["succeeded"]
    assert kinds["succeeded"] > 0


def test_what_was_canceled_or_has_expired_ends_with_no_worker_anywhere(machine: MakeMachine) -> None:
    """F9, C3, T2, L1: the server closes it by itself, in time, and nothing is sent."""
    one = machine(settings="[worker]\nenabled = false\n[batches]\nexpires_after_seconds = 2\n")
    canceled, expired = one.create("canceled", 300), one.create("expired", 300)
    one.server.call("POST", f"/v1/messages/batches/{canceled}/cancel")
    one.ended(canceled, deadline_seconds=10)
    one.ended(expired, deadline_seconds=12)
    assert one.assert_whole(canceled, "canceled", 300) == {"canceled": 300}
    assert one.assert_whole(expired, "expired", 300) == {"expired": 300}
    assert one.simulator.arrived() == 0


@pytest.mark.slow
def test_ten_thousand_cancels_stop_what_they_name(machine: MakeMachine) -> None:
    """F10, C1, C2, C3, C4: at any moment of a batch's life; nothing of it is sent two seconds after the answer."""
    one = machine(simulate=("--latency-ms", "50", "--capacity", "64"))
    answered_at = dict[str, datetime]()

    def cancel(number: int) -> None:
        prefix = f"c{number}"
        batch_id = one.create(prefix, 3)
        threading.Event().wait(number % 40 / 100)
        with suppress(AssertionError):  # it has ended
            one.server.call("POST", f"/v1/messages/batches/{batch_id}/cancel")
            answered_at[prefix] = datetime.now(UTC)  # noqa: TID251  # the simulator's clock, another process's
        one.ended(batch_id)
        one.assert_whole(batch_id, prefix, 3)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(cancel, range(10_000)))
    assert answered_at
    for line in one.simulator.witness.read_text("utf-8").splitlines():
        sent = json.loads(line)
        limit = answered_at.get(sent["custom_id"].rsplit("-", 1)[0])
        assert limit is None or (datetime.fromisoformat(sent["at"]) - limit).total_seconds() <= 2.0, sent


def test_a_running_batch_expires_on_time_without_a_restart(machine: MakeMachine) -> None:
    """T2: no send at or after `expires_at`; what was in flight may still come back."""
    one = machine(
        simulate=("--latency-ms", "100", "--capacity", "8"), settings="[batches]\nexpires_after_seconds = 2\n"
    )
    batch_id = one.create("short", 1_000)
    one.ended(batch_id, deadline_seconds=30)
    kinds = one.assert_whole(batch_id, "short", 1_000)
    assert kinds["succeeded"] > 0
    assert kinds["expired"] > 0
    assert kinds["succeeded"] + kinds["expired"] == 1_000


def test_results_go_when_their_time_is_over_and_the_batch_stays(machine: MakeMachine, database: str) -> None:
    """T4: archived after a restart too; the object is there, its results are not, and their bytes are gone."""
    one = machine(database, settings="[batches]\nresults_kept_days = 0.00004\n")
    batch_id = one.create("old", 20)
    one.ended(batch_id)
    one.kill()
    one.start()
    archived = until(lambda: found if (found := one.batch(batch_id))["archived_at"] else None)
    assert archived["processing_status"] == "ended"
    assert archived["request_counts"]["succeeded"] == 20
    assert archived["results_url"] is None
    connection = http.client.HTTPConnection("127.0.0.1", one.server.port, timeout=10)
    connection.request(
        "GET",
        f"/v1/messages/batches/{batch_id}/results",
        headers={"x-api-key": one.server.api_key, "anthropic-version": "2023-06-01"},
    )
    assert connection.getresponse().status == 404
    connection.close()
    until(lambda: not [path for path in (one.server.data / "blobs").rglob("*") if path.is_file()])


def test_a_small_batch_is_done_while_a_large_one_runs(machine: MakeMachine) -> None:
    """L2, fairness: ten requests sent into the middle of twenty thousand take about as long as alone."""
    one = machine(simulate=("--latency-ms", "20", "--capacity", "64"))
    alone = _seconds(one, "alone")
    large = one.create("big", 20_000)
    until(lambda: one.simulator.stats().get("answered", 0) >= 500)
    beside = _seconds(one, "beside")
    assert one.batch(large)["processing_status"] == "in_progress"
    assert beside <= max(3 * alone, 2.0)


def test_isolation_of_a_dead_backend(machine: MakeMachine) -> None:
    """X7: a backend that refuses connections holds up its own model only, and its work waits without a penalty."""
    dead = """
        [[backends]]
        name = "dead"
        protocol = "openai"
        url = "http://127.0.0.1:9"
        flavour = "openai"
        [[models]]
        id = "nobody-home"
        backend = "dead"
    """
    one = machine(
        simulate=(
            "--latency-ms",
            "5",
        ),
        settings=dead,
    )
    waiting = one.create("waiting", 300, model="nobody-home")
    served = one.create("served", 300)
    one.ended(served, deadline_seconds=15)
    assert one.assert_whole(served, "served", 300)["succeeded"] == 300
    assert one.batch(waiting)["processing_status"] == "in_progress"
    assert one.progress(waiting)["progress"]["processing"] == 300


def test_fifty_creates_at_once_are_fifty_batches(machine: MakeMachine, database: str) -> None:
    """D4: each is there right after its answer, each is worked on, none is mixed up with another."""
    one = machine(
        database,
        simulate=(
            "--latency-ms",
            "5",
        ),
    )
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda n: one.create(f"p{n}", 20), range(50)))
        assert len(set(ids)) == 50
        assert {one.batch(batch_id)["id"] for batch_id in ids} == set(ids)
        list(pool.map(one.ended, ids))
    for number, batch_id in enumerate(ids):
        one.assert_whole(batch_id, f"p{number}", 20)


def _seconds(one: Machine, prefix: str) -> float:
    began = time.monotonic()
    batch_id = one.create(prefix, 10)
    one.ended(batch_id)
    return time.monotonic() - began
