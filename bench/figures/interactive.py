"""Interactive: how long a person waits for a local model's first token beside a batch, and what other programs cost."""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from context import BATCHES, LOCAL_SLOTS, Context, Row, create, local_config, wait_until_ended
from processes import HEADERS, Program, slackwater

from slackwater.backends.llamacpp import DEMO_MODEL, this_machine

PROMPTS = {"short": 10, "500 tokens": 500}
"""What a person sends, in tokens."""
OUTPUT_TOKENS = 32
CALLS = 40
"""Of each kind; the median counts."""
PAUSE_SECONDS_MAX = 0.05
"""Calls come at any moment of a step."""
BATCH_REQUESTS = 2_000
"""More than can be answered while the calls are made; the rest is canceled."""
LONG_ANSWER_TOKENS = 400
SPEED_REQUESTS = 2 * LOCAL_SLOTS
_COUNT = "Count from 1 to 100."
"""What models go on with for long, the one in the box too."""
_WORDS = (
    "parcel invoice account order handle refund address voucher password Monday station weather garden letter window"
)


@dataclass(frozen=True, kw_only=True)
class Waits:
    """What a series of streamed calls saw, in milliseconds."""

    first: Sequence[float]
    """From before connecting to the first token, of every call."""
    step: Sequence[float]
    """Between two tokens of an answer, the mean of every call."""

    def tenth(self) -> float:
        """Return what one call in ten waits longer than."""
        return statistics.quantiles(self.first, n=10)[-1]


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    model = context.model or DEMO_MODEL
    dice = random.Random(7)  # noqa: S311  # texts and pauses, not secrets
    with slackwater(context.directory / "interactive", local_config(model)) as server:
        _stream(server, "Hello")  # the model is loaded
        lengths = {name: _words_for(server, tokens) for name, tokens in PROMPTS.items()}
        idle = {name: _series(server, words, dice) for name, words in lengths.items()}
        beside = {}
        for what, bodies in {
            "that writes": [_params(_COUNT, LONG_ANSWER_TOKENS)] * BATCH_REQUESTS,
            "that reads": [_params(_text(dice, lengths["500 tokens"]), 8) for _ in range(BATCH_REQUESTS)],
        }.items():
            with _running(server, bodies):
                for name, words in lengths.items():
                    beside[what, name] = _series(server, words, dice)
        speed = _speed(server)
        with _busy_processes(this_machine().cores):
            contended = _speed(server)
    rows = [row for (what, name), waits in beside.items() for row in _first_token(what, name, idle[name], waits)]
    return [*rows, _contended(speed, contended)]


def _first_token(what: str, name: str, idle: Waits, beside: Waits) -> list[Row]:
    step = statistics.median(beside.step)
    alone, together = statistics.median(idle.first), statistics.median(beside.first)
    return [
        Row(
            figure=f"first token beside a batch {what}, {name}",
            ours=together,
            unit="ms",
            yardstick=alone,
            meaning=(
                f"streamed calls while {LOCAL_SLOTS} slots are busy, and with nothing else to do; "
                "one in ten waits longer"
                f" than {beside.tenth():.0f} ms and {idle.tenth():.0f} ms; a step of the busy slots takes {step:.1f} ms"
            ),
        ),
        Row(
            figure=f"the same, of what it may take, {name}",
            ours=together,
            unit="ms",
            yardstick=2 * alone + step,
            meaning="beside twice the wait at an idle engine and one step of the busy slots: above 1 is too much",
        ),
    ]


def _contended(alone: float, beside: float) -> Row:
    cores = this_machine().cores
    return Row(
        figure="speed of a local model beside busy programs",
        ours=beside,
        unit="tokens/s",
        yardstick=alone,
        better="higher",
        meaning=f"{LOCAL_SLOTS} answers at once, beside {cores} programs that each keep a core busy, and without them",
    )


def _series(server: Program, words: int, dice: random.Random) -> Waits:
    first, step = [], []
    for _ in range(CALLS):
        seconds = _stream(server, f"{_text(dice, words)} {_COUNT}")
        first.append(1e3 * seconds[0])
        if len(seconds) > 1:
            step.append(1e3 * (seconds[-1] - seconds[0]) / (len(seconds) - 1))
        time.sleep(dice.uniform(0, PAUSE_SECONDS_MAX))
    return Waits(first=first, step=step or [0.0])


def _stream(server: Program, text: str) -> list[float]:
    """Make a streamed call; return when each token came, in seconds after the call began."""
    body = json.dumps({**_params(text, OUTPUT_TOKENS), "stream": True}).encode()
    connection = server.connect()
    with closing(connection):
        started = time.perf_counter()
        connection.request("POST", "/v1/messages", body, HEADERS)
        came = [
            time.perf_counter() - started
            for line in connection.getresponse()
            if line.startswith(b"data:") and b'"content_block_delta"' in line
        ]
    if not came:
        message = "a streamed call had no token"
        raise RuntimeError(message)
    return came


@contextmanager
def _running(server: Program, bodies: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Have a batch keep all slots busy meanwhile, from its first results on."""
    batch_id = _create(server, bodies)
    while not _progress(server, batch_id)["usage"]["output_tokens"]:
        time.sleep(0.05)
    yield
    left = _progress(server, batch_id)["progress"]["processing"]
    create(server, b"{}", f"{BATCHES}/{batch_id}/cancel")
    wait_until_ended(server, batch_id)
    if left < LOCAL_SLOTS:
        message = "the batch was done before the calls were: its slots were not all busy"
        raise RuntimeError(message)


@contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _speed(server: Program) -> float:
    """Return the tokens a second of a batch of long answers."""
    started = time.perf_counter()
    batch_id = _create(server, [_params(_COUNT, LONG_ANSWER_TOKENS)] * SPEED_REQUESTS)
    wait_until_ended(server, batch_id)
    tokens: int = _progress(server, batch_id)["usage"]["output_tokens"]
    return tokens / (time.perf_counter() - started)


def _create(server: Program, bodies: Sequence[dict[str, Any]]) -> str:
    entries = [{"custom_id": f"r{number}", "params": body} for number, body in enumerate(bodies)]
    return str(create(server, json.dumps({"requests": entries}).encode()).batch["id"])


def _progress(server: Program, batch_id: str) -> Any:  # noqa: ANN401  # JSON is any value
    return server.get(f"{BATCHES}/{batch_id}/progress")


def _words_for(server: Program, tokens: int) -> int:
    """Return how many words have about so many tokens, as the model counts them."""
    body = {"model": "local", "messages": [{"role": "user", "content": _WORDS}]}
    counted = create(server, json.dumps(body).encode(), "/v1/messages/count_tokens").batch["input_tokens"]
    return max(1, tokens * len(_WORDS.split()) // counted)


def _text(dice: random.Random, words: int) -> str:
    """Return words that begin otherwise every time, so that no slot has read them before."""
    return " ".join([str(dice.randrange(10**6)), *dice.choices(_WORDS.split(), k=words)])


def _params(text: str, max_tokens: int) -> dict[str, Any]:
    return {
        "model": "local",
        "max_tokens": max_tokens,
        "temperature": 0,
        "messages": [{"role": "user", "content": text}],
    }
