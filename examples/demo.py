"""The main job, start to finish, on this machine: a server, a real batch through the official SDK, its results.

Run it with `make demo`. The texts are real (Python's own reference manual); the model is not: until a language model is
connected a declared simulator answers, so the answers below only echo what they were asked.
"""

import contextlib
import json
import os
import pydoc_data.topics
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from anthropic import Anthropic
from anthropic.types.messages import MessageBatch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

MODEL = "claude-haiku-4-5-20251001"
SYSTEM = (
    "You sort paragraphs of the Python reference manual. Reply with one word: statement, expression, type or other."
)
KEY = "demo-key-of-this-run"
ONE_BY_ONE = 20
CONFIG = """\
[[backends]]
name = "simulator"
protocol = "simulated"
latency_ms = 40
capacity = 64
cache_tokens = 200_000

[[models]]
id = "*"
backend = "simulator"
price = { input = 1.00, output = 5.00 }
"""

RECORD = os.environ.get("DEMO_RECORD")
"""Where to write a picture of the session (SVG); docs/demo.svg is made with it."""

console = Console(highlight=False, soft_wrap=False, record=bool(RECORD), width=96 if RECORD else None)


def main() -> None:
    """Show it."""
    console.rule("[bold]slackwater: Message Batches on your own machine")
    console.print(
        "[yellow]No language model is connected: a [bold]declared simulator[/bold] answers "
        "(40 ms a call, 64 at once).\n"
        "Its answers only echo the question. To connect a real model see the README.[/yellow]\n"
    )
    texts = paragraphs()
    with tempfile.TemporaryDirectory(prefix="slackwater-demo-") as directory, serving(Path(directory)) as url:
        client = Anthropic(base_url=url, api_key=KEY)
        console.print(f"Server ready at [cyan]{url}[/cyan]; everything below is the official SDK, unchanged.\n")
        batch, seconds = run_batch(client, url, texts)
        show_results(client, batch, expected=len(texts))
        show_cost(url, batch)
        compare(client, texts, seconds)
        stream_one(client)
    if RECORD:
        picture = console.export_svg(title="make demo")
        # The fonts it would fetch from elsewhere go; every reader has a monospaced one.
        Path(RECORD).write_text(re.sub(r"@font-face {.*?}", "", picture, flags=re.DOTALL), encoding="utf-8")


def paragraphs() -> list[str]:
    """Return the paragraphs of the Python reference manual that every Python carries."""
    found = (part.strip() for text in pydoc_data.topics.topics.values() for part in text.split("\n\n"))
    return [part for part in dict.fromkeys(found) if 80 < len(part) < 1_500][:2_000]


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    """Run a server on a free port with its data in `directory`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "slackwater.toml"
    config.write_text(CONFIG, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("slackwater")), "serve", "--config", str(config)]
    log = (directory / "server.log").open("wb")
    process = subprocess.Popen(
        [*command, "--data", str(directory / "data"), "--port", str(port)],
        env={**os.environ, "SLACKWATER_API_KEY": KEY},
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process, directory / "server.log")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)
        log.close()


def wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once the server answers; end the demo with the server's own words when it stops instead."""
    for _ in range(300):
        if process.poll() is not None:
            sys.exit(f"the server stopped:\n{log.read_text()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.05)
    sys.exit("the server did not become ready in 15 s")


def run_batch(client: Anthropic, url: str, texts: list[str]) -> tuple[MessageBatch, float]:
    """Send one batch and watch it to its end; return it with the seconds it took."""
    started = time.monotonic()
    batch = client.messages.batches.create(
        requests=[
            {
                "custom_id": f"paragraph-{number}",
                "params": {
                    "model": MODEL,
                    "max_tokens": 64,
                    "system": SYSTEM,
                    "messages": [{"role": "user", "content": text}],
                },
            }
            for number, text in enumerate(texts)
        ]
    )
    console.print(
        f"[bold]create[/bold]   {batch.id}: {len(texts)} requests accepted in {time.monotonic() - started:.2f} s"
    )
    columns = (TextColumn("[bold]retrieve[/bold]"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("batch", total=len(texts))
        while batch.processing_status != "ended":
            progress.update(task, completed=finished(url, batch.id))
            time.sleep(0.1)
            batch = client.messages.batches.retrieve(batch.id)
        progress.update(task, completed=len(texts))
    seconds = time.monotonic() - started
    console.print(f"         {batch.processing_status}: {batch.request_counts}")
    console.print(f"         [green]{seconds:.2f} s wall time, {len(texts) / seconds:,.0f} requests a second[/green]\n")
    return batch, seconds


def finished(url: str, batch_id: str) -> int:
    """Ask the progress extension how many requests have their result (the API's own counts move only at the end)."""
    tally = ask(f"{url}/v1/messages/batches/{batch_id}/progress")["progress"]
    return sum(count for name, count in tally.items() if name != "processing")


def ask(url: str) -> dict[str, dict[str, int]]:
    """GET a JSON object from the server."""
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        body: dict[str, dict[str, int]] = json.load(answer)
        return body


def show_results(client: Anthropic, batch: MessageBatch, *, expected: int) -> None:
    """Stream the results; the demo has failed unless each request has exactly one, a success."""
    started, kinds, ids, sample = time.monotonic(), Counter[str](), set[str](), ""
    for line in client.messages.batches.results(batch.id):
        kinds[line.result.type] += 1
        ids.add(line.custom_id)
        if line.result.type == "succeeded" and not sample and line.result.message.content[0].type == "text":
            sample = f"{line.custom_id}: {line.result.message.content[0].text!r}"
    if not expected == len(ids) == kinds["succeeded"] == kinds.total():
        sys.exit(f"{expected} requests, but {dict(kinds)} results for {len(ids)} of them")
    seconds = time.monotonic() - started
    console.print(
        f"[bold]results[/bold]  {kinds.total()} lines in {seconds:.2f} s, "
        f"{len(ids)} different custom_ids: {dict(kinds)}"
    )
    console.print(f"         for example {sample[:110]}…\n", markup=False)


def show_cost(url: str, batch: MessageBatch) -> None:
    """Show what the batch used and cost on the ledger."""
    charged = ask(f"{url}/v1/messages/batches/{batch.id}/progress")
    usage = charged["usage"]
    cost = float(str(charged["cost_usd"]))
    cached = usage["cache_read_input_tokens"] / max(1, usage["input_tokens"] + usage["cache_read_input_tokens"])
    console.print(
        f"[bold]ledger[/bold]   {usage['input_tokens']:,} input tokens, {usage['output_tokens']:,} output, "
        f"{cached:.0%} of the input from the prefix cache\n"
        f"         [green]${cost:.4f}[/green] at the batch tier, ${2 * cost:.4f} for the same at full price\n"
    )


def compare(client: Anthropic, texts: list[str], batch_seconds: float) -> None:
    """Send a few of the same requests one by one, as code that waits for each answer does."""
    started = time.monotonic()
    for text in texts[:ONE_BY_ONE]:
        client.messages.create(model=MODEL, max_tokens=64, system=SYSTEM, messages=[{"role": "user", "content": text}])
    each = (time.monotonic() - started) / ONE_BY_ONE
    estimate = each * len(texts)
    console.print(
        f"[bold]one by one[/bold] {ONE_BY_ONE} of them took {each * 1_000:.0f} ms each: {len(texts)} would take "
        f"{estimate:.0f} s at full price; the batch took {batch_seconds:.1f} s "
        f"([green]{estimate / batch_seconds:.0f} times faster[/green]) at half.\n"
    )


def stream_one(client: Anthropic) -> None:
    """Show that synchronous calls work too, streaming included."""
    console.print("[bold]stream[/bold]   ", end="")
    with client.messages.stream(
        model=MODEL, max_tokens=64, messages=[{"role": "user", "content": "Is anybody there?"}]
    ) as stream:
        for piece in stream.text_stream:
            console.print(piece, end="", markup=False)
    console.print("\n")


if __name__ == "__main__":
    main()
