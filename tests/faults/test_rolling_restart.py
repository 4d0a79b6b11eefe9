"""Server and workers are replaced one after the other, under load: no call of a client fails, nothing is lost."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import pytest

from support.machine import IN_FLIGHT_MAX, Machine, MakeMachine
from support.server import API_KEY, RunningServer
from support.table import endured
from support.waiting import until
from support.workers import running, start_worker

REQUESTS = 100
CLIENTS = 3
SETTINGS = "[server]\nreuse_port = true\n[worker]\nenabled = false\n"


@pytest.mark.parametrize("rolls", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_rolling_restart_of_server_and_workers_fails_no_call(
    postgres_url: str, machine: MakeMachine, rolls: int, record_property: Callable[[str, object], None]
) -> None:
    """L4, D1, D3, X2, X3: all of the SDK's calls come back, and only what a drained worker had is sent again."""
    one = machine(postgres_url, simulate=("--latency-ms", "30", "--capacity", "64"), settings=SETTINGS)
    with running(one, 2) as workers, clients(one.server.url) as (batches, raised):
        for roll in range(rolls):
            wait_for_more(batches, roll)
            replace_server(one)
            for number, old in enumerate(workers):
                wait_for_more(batches, roll)
                workers[number] = start_worker(one)
                old.terminate()
                assert old.wait(40) == 0
    assert raised == []
    with running(one, 1):
        repeated = endured(one, batches, REQUESTS, 3 * rolls, record_property)
    assert repeated <= IN_FLIGHT_MAX * 2 * rolls


def replace_server(one: Machine) -> None:
    """Start another server on the same port, then stop the one that was there."""
    old = one.server
    one.server = RunningServer.start(one.directory, one.config(), port=old.port)
    until(lambda: "is ready at" in one.server.log.read_text())  # it was the old one that answered so far, perhaps
    assert old.stop() == 0


def wait_for_more(batches: dict[str, str], roll: int) -> None:
    """Wait until clients have got something done since."""
    before = len(batches)
    deadline = threading.Event()
    while len(batches) < before + CLIENTS and not deadline.wait(0.05):
        pass
    assert len(batches) > before, roll


@contextmanager
def clients(url: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Let clients create, look at, list and read batches with the official SDK as it comes, until the end."""
    batches, raised, done = dict[str, str](), list[str](), threading.Event()
    threads = [
        threading.Thread(target=_use, args=(url, f"c{number}", batches, raised, done)) for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield batches, raised
    finally:
        done.set()
        for thread in threads:
            thread.join(60)


def _use(url: str, name: str, batches: dict[str, str], raised: list[str], done: threading.Event) -> None:
    with anthropic.Anthropic(base_url=url, api_key=API_KEY) as client:
        made = 0
        while not done.is_set():
            prefix, made = f"{name}-{made}", made + 1
            try:
                batch = client.messages.batches.create(requests=[_request(f"{prefix}-{n}") for n in range(REQUESTS)])
                batches[batch.id] = prefix
                while client.messages.batches.retrieve(batch.id).processing_status != "ended" and not done.wait(0.02):
                    client.messages.batches.list(limit=5)
                if not done.is_set():
                    assert len(list(client.messages.batches.results(batch.id))) == REQUESTS
            except (anthropic.AnthropicError, AssertionError) as problem:
                raised.append(f"{prefix}: {problem!r} because of {problem.__cause__!r}")


def _request(name: str) -> Any:  # a type of the SDK
    return {
        "custom_id": name,
        "params": {
            "model": "some-model",
            "max_tokens": 32,
            "metadata": {"user_id": name},
            "messages": [{"role": "user", "content": f"this is {name}"}],
        },
    }
