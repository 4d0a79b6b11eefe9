"""Prefixes: what a batch gains on a local model by keeping requests with the same prefix in the same slot."""

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from context import LOCAL_CONTEXT_TOKENS, LOCAL_SLOTS, Context, Row, create, local_config, wait_until_ended
from memory import Peak, tree
from processes import Program, measured_by, slackwater

from slackwater.backends.llamacpp import DEMO_MODEL

REQUESTS = 200
PREFIXES = 8
PREFIX_TOKENS = 1_000
OUTPUT_TOKENS = 8
_INSTRUCTION = "Read the text above once more and answer the following question with a single word, nothing else."
_SENTENCE = (
    "parcel invoice account order handle refund address voucher password Monday station weather garden letter window "
    "the a my your one no every with from under about before after and or but came went takes sends finds wants"
)


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    model = context.model or DEMO_MODEL
    with slackwater(context.directory / "prefixes", local_config(model)) as server:
        _batch(server, [_params("Hello", "")])  # the model is loaded
        several, one = (_requests(server, prefixes) for prefixes in (PREFIXES, 1))
        ours = _batch(server, several)
        alone = _batch(server, one)
    with slackwater(context.directory / "short", local_config(model, slots=None)) as server:
        _batch(server, [_params(f"Hello {number}", "") for number in range(REQUESTS)])  # all copies of it are loaded
        short = _short(server, context.scale.local_requests)
    theirs = _straight(context.directory, model, several)
    tokens = theirs["input_tokens"] + theirs["cached_tokens"]
    what = f"{REQUESTS} requests, {PREFIXES} prefixes of {PREFIX_TOKENS:,} tokens in turn, {LOCAL_SLOTS} slots"
    at_best = 100 * (1 - PREFIXES / REQUESTS) * PREFIX_TOKENS / (tokens / REQUESTS)
    return [
        Row(
            figure="shared prefixes, time",
            ours=ours["seconds"],
            unit="s",
            yardstick=theirs["seconds"],
            meaning=f"{what}; a batch, and {LOCAL_SLOTS} callers who ask the same model in order of arrival",
        ),
        Row(
            figure="shared prefixes, processor time",
            ours=ours["cpu_seconds"],
            unit="s",
            yardstick=theirs["cpu_seconds"],
            meaning="of the same, model included; on a machine that is busy with other things only this compares",
        ),
        Row(
            figure="shared prefixes, read from cache",
            ours=_share(ours),
            unit="%",
            yardstick=_share(theirs),
            better="higher",
            meaning=f"of the input tokens of the same; {at_best:.0f} % with every prefix read once and no more kept",
        ),
        Row(
            figure="one shared prefix, read from cache",
            ours=_share(alone),
            unit="%",
            meaning=f"{REQUESTS} requests, one prefix in all slots: {alone['seconds']:.1f} s",
        ),
        *short,
    ]


def _short(server: Program, requests: int) -> list[Row]:
    bodies = [_params(f"Request {number}: what department is this for?", "") for number in range(requests)]
    before, alone = _resident(server), server.own_cpu_seconds()
    took = _batch(server, bodies)
    after, alone = _resident(server), server.own_cpu_seconds() - alone
    engine = took["cpu_seconds"] - alone
    return [
        Row(
            figure="short requests on a local model",
            ours=requests / took["seconds"],
            unit="requests/s",
            meaning=f"{requests:,} requests in one batch: {took['seconds']:.1f} s",
        ),
        Row(
            figure="processor time of 1,000 short requests",
            ours=1_000 * took["cpu_seconds"] / requests,
            unit="s",
            meaning=(
                f"{1_000 * alone / requests:.2f} s of the server, {1_000 * engine / requests:.2f} s of the model;"
                " the former is spent on one core, however many there are"
            ),
        ),
        Row(
            figure="memory of server and model after them",
            ours=after / 1e6,
            unit="MB",
            yardstick=before / 1e6,
            meaning="beside before them",
        ),
    ]


def _batch(server: Program, bodies: Sequence[dict[str, Any]]) -> dict[str, float]:
    entries = [{"custom_id": f"r{number}", "params": body} for number, body in enumerate(bodies)]
    body = json.dumps({"requests": entries}).encode()
    cpu, started = server.cpu_seconds(), time.perf_counter()
    batch = create(server, body).batch
    ended = wait_until_ended(server, batch["id"], every_seconds=0.1)
    seconds = time.perf_counter() - started
    if ended["request_counts"]["succeeded"] != len(bodies):
        message = f"not every request succeeded: {ended['request_counts']}"
        raise RuntimeError(message)
    usage = server.get(f"/v1/messages/batches/{batch['id']}/progress")["usage"]
    return {
        "seconds": seconds,
        "cpu_seconds": server.cpu_seconds() - cpu,
        "input_tokens": usage["input_tokens"],
        "cached_tokens": usage["cache_read_input_tokens"],
    }


def _straight(directory: Path, model: Path, bodies: Sequence[dict[str, Any]]) -> dict[str, float]:
    lines = directory / "prefixes.jsonl"
    lines.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    return measured_by("straight", str(model), str(lines), str(LOCAL_SLOTS), str(LOCAL_CONTEXT_TOKENS))


def _share(used: dict[str, float]) -> float:
    return 100 * used["cached_tokens"] / (used["cached_tokens"] + used["input_tokens"])


def _requests(server: Program, prefixes: int) -> list[dict[str, Any]]:
    """Return requests whose system prompts are those of so many prefixes in turn."""
    dice = random.Random(11)  # noqa: S311  # texts, not secrets
    systems = [_text(server, dice) for _ in range(prefixes)]
    return [
        _params(
            f"{_INSTRUCTION} Question {number}: {' '.join(dice.choices(_SENTENCE.split(), k=6))}?",
            systems[number % prefixes],
        )
        for number in range(REQUESTS)
    ]


def _text(server: Program, dice: random.Random) -> str:
    """Return words of about `PREFIX_TOKENS` tokens, as the model counts them."""
    words = dice.choices(_SENTENCE.split(), k=PREFIX_TOKENS)
    counted = create(server, json.dumps(_counted(words)).encode(), "/v1/messages/count_tokens").batch["input_tokens"]
    return " ".join(words[: PREFIX_TOKENS * len(words) // counted])


def _counted(words: Sequence[str]) -> dict[str, Any]:
    return {"model": "local", "messages": [{"role": "user", "content": " ".join(words)}]}


def _params(text: str, system: str) -> dict[str, Any]:
    return {
        "model": "local",
        "max_tokens": OUTPUT_TOKENS,
        **({"system": system} if system else {}),
        "messages": [{"role": "user", "content": text}],
    }


def _resident(server: Program) -> int:
    """Return the memory of the server and its children; what a watch of no length sees."""
    with Peak(server.process.pid) as now:
        tree(server.process.pid)
    return now.resident_bytes
