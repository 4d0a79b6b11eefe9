"""A server is told to end while people and batches wait for answers: what it waits for, and what it does not begin."""

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from slackwater.main.stopping import HURRY_SECONDS
from support.machine import IN_FLIGHT_MAX, MakeMachine
from support.waiting import until

REQUESTS = 4_000


def test_a_person_s_answer_is_waited_for_and_nothing_of_a_batch_is_begun_meanwhile(machine: MakeMachine) -> None:
    """L4: who is being answered is answered, and batches stop at the signal, not after that."""
    one = machine(simulate=("--latency-ms", "100", "--capacity", "200"))
    question = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "[[sim:latency=4]] hello"}]}
    with ThreadPoolExecutor() as thread:
        asked = thread.submit(one.server.call, "POST", "/v1/messages", question)
        until(lambda: one.simulator.arrived() == 1)
        batch_id = one.create("waiting", REQUESTS)
        until(lambda: one.simulator.arrived() > IN_FLIGHT_MAX)
        before = one.simulator.arrived()
        assert one.server.stop() == 0
        assert json.loads(asked.result())["type"] == "message"
    assert one.simulator.arrived() - before <= 2 * IN_FLIGHT_MAX  # 2,560 in the time of the person's answer
    one.start()
    assert one.batch(batch_id)["processing_status"] == "in_progress"


def test_who_asks_twice_does_not_wait_for_answers(machine: MakeMachine) -> None:
    """L4, X2: it says what it waits for; a second Ctrl-C is heard, its echo is not, and the batch is done later."""
    one = machine(simulate=("--latency-ms", "60000", "--capacity", "64"))
    batch_id = one.create("slow", 10)
    until(lambda: one.simulator.arrived() == 10)
    for _ in range(2):
        one.server.process.send_signal(signal.SIGINT)
    until(lambda: "stopping: 10 requests under way, 30 s" in one.server.log.read_text())
    assert one.server.process.poll() is None
    threading.Event().wait(HURRY_SECONDS + 1)
    one.server.process.send_signal(signal.SIGINT)
    assert one.server.process.wait(15) == 0
    one.start()
    until(lambda: one.simulator.arrived() == 20)
    one.server.call("POST", f"/v1/messages/batches/{batch_id}/cancel")
