"""The main job, start to finish, on this machine: a server, a language model, and one batch of real texts.

Run it with `make demo`. The texts are what this machine carries anyway, the client is the official SDK, and the model
is `slackwater-demo-3m`: a toy of 3 million parameters that was trained for such jobs and never saw these texts. Its
answers are counted against what is known to be right, whatever comes out.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, available_timezones

import yours
from anthropic import Anthropic, AnthropicError
from document import ask_about_the_license
from jobs import Job, Score, difference, jobs, text_of
from local_server import KEY, DemoError, LocalServer, serving
from rich.markup import escape
from screen import Screen, bar, shortened
from spent import INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK, Spent, of_batch, of_messages
from texts import Places, Text, collect

from slackwater.backends.llamacpp import DEMO_MODEL, DEMO_MODEL_ID, why_not

CONFIG = f"""\
[[backends]]
name = "toy"
protocol = "llamacpp"
model = "{DEMO_MODEL}"

[[models]]
id = "{DEMO_MODEL_ID}"
backend = "toy"
price = {{ input = {INPUT_USD_PER_MTOK:.2f}, output = {OUTPUT_USD_PER_MTOK:.2f} }}   # USD per million tokens
"""
FAILURES_SHOWN = 2
"""Of each job."""
SAVES_NO_TIME = 0.8
"""A batch that takes a larger share of the time than this did not save much of it."""
screen = Screen()


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much to do."""

    per_language: int = 12
    per_kind: int = 24
    records: int = 120
    one_by_one: int = 60


SHORT = Size(per_language=2, per_kind=3, records=8, one_by_one=8)


def main() -> int:
    """Show it; return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--short", action="store_true", help="a tenth of the texts")
    size = SHORT if arguments.parse_args().short else Size()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    only_here()
    try:
        with tempfile.TemporaryDirectory(prefix="slackwater-demo-") as folder:
            show(Path(folder), size)
    except (DemoError, AnthropicError, OSError) as error:
        screen.say(f"\n[red]The demo could not go on: {escape(str(error))}[/red]")
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to be stopped
        screen.say("\nStopped; the server is gone and its data is removed.")
        return 130
    screen.save()
    return 0


def _stop(number: int, _: FrameType | None) -> NoReturn:
    """End as if asked to from the keyboard, so that everything is cleaned up."""
    sys.exit(128 + number)


def only_here() -> None:
    """Let no setting of this machine lead the SDK to somebody else's server or through a proxy."""
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


def show(folder: Path, size: Size) -> None:
    """Show every part."""
    started = time.monotonic()
    reason = why_not()
    if reason is not None:
        raise DemoError(reason)
    screen.step("A server, and nothing else: no key, no GPU, no network, no configuration")
    with serving(folder / "first") as server:
        stand_in(server)
    screen.step("Real texts that this machine carries, whose answers are known")
    todo = gather(size)
    with serving(folder / "second", CONFIG) as server:
        client = Anthropic(base_url=server.url, api_key=KEY)
        screen.step("One batch, through the official SDK")
        batch_id, batch = run_batch(client, server, todo)
        screen.step("Results, counted against what is known")
        show_scores(client, batch_id, todo)
        screen.step("Upload once, ask many: a PDF, by its id")
        ask_about_the_license(client, DEMO_MODEL_ID, screen)
        screen.step("Synchronous calls go first: a stream, and a tool")
        stream_one(client)
        use_a_tool(client)
        screen.step("The same requests in real time, one by one")
        compare(one_by_one(client, todo, size.one_by_one), batch)
        screen.step("Yours")
        screen.quote(yours.ALL)
    seconds = time.monotonic() - started
    screen.say(f"\nDone in {seconds:.0f} s. The data was in {folder}; the server is gone, and so is the folder.")


def stand_in(server: LocalServer) -> None:
    """Show what a server says that nobody configured, and who answers an unknown model name."""
    screen.quote("$ slackwater serve\n" + server.first_words())
    if DEMO_MODEL_ID not in {model["id"] for model in server.get("/v1/models")["data"]}:
        screen.say(
            "It uses the engine that it found here; the rest of this demo brings its own toy model all the same."
        )
        return
    asked = Anthropic(base_url=server.url, api_key=KEY).messages.with_raw_response.create(
        model="any-model-name", max_tokens=64, messages=[{"role": "user", "content": "Hello! Who are you?"}]
    )
    screen.say("\nA call for [bold]any-model-name[/bold] is answered, and the answer says by whom:")
    screen.quote(f"slackwater-stand-in: {asked.headers.get('slackwater-stand-in')}\n{text_of(asked.parse())}")


def gather(size: Size) -> list[Job]:
    """Collect the texts and say where they are from."""
    found = collect(Places(), per_language=size.per_language, per_kind=size.per_kind, records=size.records)
    todo = jobs(found)
    if not todo:
        raise DemoError("this machine has none of the texts that the demo asks about, not even Python's own")
    screen.say(" · ".join(f"[bold]{count}[/bold] from {source}" for source, count in found.sources().items()))
    missing = ", ".join(found.missing())
    if missing:
        screen.say(f"[yellow]This machine has none of these, so nothing is asked about them: {missing}[/yellow]")
    screen.say()
    screen.table(
        ("job", "texts", "asked"), [(job.name, str(len(job.texts)), shortened(job.question, 70)) for job in todo]
    )
    return todo


def run_batch(client: Anthropic, server: LocalServer, todo: list[Job]) -> tuple[str, Spent]:
    """Send everything in one call, watch it to its end, and return its id and what it took."""
    requests: Any = [{"custom_id": name, "params": job.params(text, DEMO_MODEL_ID)} for name, job, text in named(todo)]
    started = time.monotonic()
    batch = client.messages.batches.create(requests=requests)
    screen.say(f"{batch.id}: {len(requests)} requests accepted in {time.monotonic() - started:.2f} s\n")
    with screen.progress(len(requests)) as advance:
        while batch.processing_status != "ended":
            time.sleep(0.1)
            batch = client.messages.batches.retrieve(batch.id)
            spent, done = look(server, batch.id, time.monotonic() - started)
            advance(done, f"{spent.tokens_per_second} tokens/s, {spent.cached_share} of the input from the cache")
    spent, _ = look(server, batch.id, time.monotonic() - started)
    counts = batch.request_counts
    screen.say(
        f"[green]ended after {spent.seconds:.1f} s[/green]: {counts.succeeded} succeeded, {counts.errored} errored"
    )
    screen.say(
        f"{spent.input_tokens:,} tokens read, {spent.cached_share} of them from the prefix cache, and "
        f"{spent.output_tokens:,} written: {spent.tokens_per_second} tokens and "
        f"{spent.requests / spent.seconds:.0f} requests a second; "
        f"[green]${spent.cost_usd:.4f}[/green] on the ledger"
    )
    if counts.succeeded != len(requests):
        first = next(line for line in client.messages.batches.results(batch.id) if line.result.type != "succeeded")
        raise DemoError(f"not every request succeeded. The first that did not: {first.to_json(indent=None)}")
    return batch.id, spent


def named(todo: list[Job]) -> Iterator[tuple[str, Job, Text]]:
    """Give every request its `custom_id`."""
    for job in todo:
        for number, text in enumerate(job.texts):
            yield f"{job.name}-{number}", job, text


def look(server: LocalServer, batch_id: str, seconds: float) -> tuple[Spent, int]:
    """Ask the progress extension what a batch used and how much is done (the API's own counts move only at the end)."""
    seen = server.get(f"/v1/messages/batches/{batch_id}/progress")
    return of_batch(seen, seconds), seen["size"] - seen["progress"]["processing"]


def show_scores(client: Anthropic, batch_id: str, todo: list[Job]) -> None:
    """Stream the results and judge each; every request must have exactly one."""
    asked = {name: (job.name, text) for name, job, text in named(todo)}
    scores = {job.name: Score(job=job) for job in todo}
    for line in client.messages.batches.results(batch_id):
        job_name, text = asked.pop(line.custom_id)
        if line.result.type == "succeeded":
            scores[job_name].add(text, text_of(line.result.message))
    if asked:
        raise DemoError(f"{len(asked)} requests have no result: {', '.join(list(asked)[:5])} …")
    show_table(list(scores.values()))
    for score in scores.values():
        if not score.right:
            raise DemoError(f"not one answer of the job “{score.job.name}” is right")


def show_table(scores: list[Score]) -> None:
    """Show what was right, by job, and some of what was not."""
    rows = [
        (
            score.job.title,
            f"{score.right} of {score.total}",
            f"{score.share:.0%}",
            bar(score.share),
            f"{score.baseline:.0%}",
        )
        for score in scores
    ]
    screen.table(("job", "right", "", "", "one guess for all"), rows)
    worst = min(scores, key=lambda score: score.share)
    confused = [
        f"{truth} → {escape(shortened(answer, 30))}" + f" ({count} times)" * (count > 1)
        for truth, answer, count in worst.confusions()[:3]
    ]
    if confused:
        screen.say(f"\nMost often wrong in “{worst.job.title}”: {', '.join(confused)}")
    wrong = [(score.job.name, *pair) for score in scores for pair in score.wrong[:FAILURES_SHOWN]]
    if wrong:
        screen.say("Some that went wrong, word for word:")
    for name, text, answer in wrong:
        wrongly = escape(difference(text.truth, answer))
        screen.say(f"  [red]{name}[/red]  {wrongly}: [dim]{escape(shortened(text.text, 50))}[/dim]")


def stream_one(client: Anthropic) -> None:
    """Show one answer as it comes."""
    question = "Count to 20, please."
    screen.say(f"[bold]you[/bold]    {question}")
    screen.write("model  ")
    started, first_at, pieces = time.monotonic(), 0.0, 0
    with client.messages.stream(
        model=DEMO_MODEL_ID,
        max_tokens=100,
        messages=[{"role": "user", "content": question}],
    ) as stream:
        for piece in stream.text_stream:
            first_at = first_at or time.monotonic() - started
            pieces += 1
            screen.write(piece)
    screen.say(f"\n       [dim]first piece after {first_at * 1000:.0f} ms, {pieces} pieces[/dim]\n")


CLOCK: Any = {
    "name": "get_local_time",
    "description": "Get the local time of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def get_local_time(city: str) -> dict[str, str]:
    """Be the tool."""
    zone = next((name for name in sorted(available_timezones()) if name.endswith(f"/{city.replace(' ', '_')}")), None)
    if zone is None:
        return {"error": "unknown city"}
    now = datetime.now(ZoneInfo(zone))
    return {"time": f"{now:%H:%M}", "day": f"{now:%A}"}


def use_a_tool(client: Anthropic) -> None:
    """Let the model ask for a tool, run it here, and let it answer."""
    messages: list[Any] = [{"role": "user", "content": "What time is it in Tokyo?"}]
    screen.say(f"[bold]you[/bold]    {messages[0]['content']}")
    said = client.messages.create(model=DEMO_MODEL_ID, max_tokens=100, tools=[CLOCK], messages=messages)
    call = next((block for block in said.content if block.type == "tool_use"), None)
    if call is None:
        raise DemoError(f"the model did not call the tool; it said {text_of(said)!r}")
    result = json.dumps(get_local_time(str(call.input.get("city"))))
    screen.say(f"model  calls [cyan]{call.name}({escape(json.dumps(call.input))})[/cyan]")
    screen.say(f"tool   {escape(result)}")
    answer = {"type": "tool_result", "tool_use_id": call.id, "content": result}
    messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": [answer]}]
    said = client.messages.create(model=DEMO_MODEL_ID, max_tokens=100, tools=[CLOCK], messages=messages)
    screen.say(f"model  {escape(text_of(said))}")


def one_by_one(client: Anthropic, todo: list[Job], count: int) -> tuple[Spent, int]:
    """Send an even sample of the requests as code that waits for each answer does; return what it took, of how many."""
    requests = [job.params(text, DEMO_MODEL_ID) for _, job, text in named(todo)]
    count = min(count, len(requests))
    sample = [requests[int((place + 0.5) * len(requests) / count)] for place in range(count)]
    started, messages = time.monotonic(), []
    with screen.progress(len(sample)) as advance:
        for number, params in enumerate(sample, 1):
            messages.append(client.messages.create(**params))
            advance(number, "")
    spent = of_messages([message.usage for message in messages], time.monotonic() - started)
    return spent, len(requests)


def compare(measured: tuple[Spent, int], batch: Spent) -> None:
    """Put real time and batch side by side."""
    sample, requests = measured
    alone = sample.times(requests / sample.requests)
    rows: list[tuple[str, str, str]] = [
        ("requests", f"{requests} *", f"{batch.requests}"),
        ("seconds", f"{alone.seconds:.1f} *", f"{batch.seconds:.1f}"),
        ("requests a second", f"{alone.requests / alone.seconds:.1f}", f"{batch.requests / batch.seconds:.1f}"),
        ("tokens a second", alone.tokens_per_second, batch.tokens_per_second),
        ("input from the cache", alone.cached_share, batch.cached_share),
        ("price", "standard", "batch: half"),
        ("cost", f"${alone.cost_usd:.4f} *", f"${batch.cost_usd:.4f}"),
    ]
    screen.table(("", "real time, one by one", "one batch"), rows)
    screen.say(
        f"* {sample.requests} of them were sent and took {sample.seconds:.1f} s; the rest is extrapolated. "
        f"The batch took [green]{batch.seconds / alone.seconds:.0%} of the time[/green] at "
        f"[green]{batch.cost_usd / alone.cost_usd:.0%} of the cost[/green]."
    )
    if batch.seconds > SAVES_NO_TIME * alone.seconds:
        screen.say(
            "Reading is most of this work, and one request keeps the few cores here busy: what is saved "
            "is money. Time is saved where a backend works on many requests at once, or where they share long prompts."
        )


if __name__ == "__main__":
    sys.exit(main())
