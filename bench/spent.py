"""`make profile`: where the server's main process spends its time while a batch goes through it, by sampling."""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from context import config, create, wait_until_ended, warm_up
from processes import Program, instant_backend, slackwater
from report import machine
from samples import Samples, add_up
from workload import batch_body

PAGE = Path(__file__).parents[1] / "docs" / "profile.md"
REQUESTS = 50_000
RATE = 50
"""Samples a second: the server stands still for some milliseconds while its stacks are read, C's among them."""
START_SECONDS_MAX = 30.0
SHOWN = 20
"""Lines of a table."""
_REFUSED = """\
py-spy may not look into another process here:

{said}

In a container: start it with `--cap-add SYS_PTRACE`. Elsewhere: run as root, or `sysctl kernel.yama.ptrace_scope=0`.
"""
_HEAD = """\
# Where the time goes

Written by `make profile`, not by hand. A batch of {requests:,} requests goes through `slackwater serve` on SQLite,
everything durable, against a backend that answers at once ({backend}), so that only our own work is left. py-spy looks
at the server's main process {rate} times a second and counts what each thread is doing that does not wait. A large
create call is split by a process of its own, which is not in the shares.

| | |
|---|---|
"""
_FOOT = """
To repeat it:

```sh
make profile                                # writes this page anew
make profile PROFILE="--requests 100000"    # with a larger batch
```
"""


def main() -> None:
    """Profile a batch and write the page."""
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"of the batch [default: {REQUESTS:,}]")
    asked = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="slackwater-profile-") as name:
        directory = Path(name)
        raw = directory / "samples.txt"
        with (
            instant_backend(directory / "backend") as backend,
            slackwater(directory / "server", config(backend)) as server,
        ):
            warm_up(server)
            seconds, cpu = _sampled(server, batch_body(asked.requests), raw)
        samples = add_up(raw.read_text("utf-8").splitlines())
    facts |= {
        "Batch": f"{asked.requests:,} requests in {seconds:.1f} s with the profiler, create call to `ended`",
        "Processor time": f"{cpu:.1f} s of the main process and the one that splits the create call",
        "Samples": f"{samples.total:,}",
    }
    head = _HEAD.format(requests=asked.requests, backend=backend.name, rate=RATE)
    PAGE.write_text(head + _page(samples, facts) + _FOOT, encoding="utf-8")
    print(f"{samples.total:,} samples; the page is {PAGE}")


def _sampled(server: Program, body: bytes, raw: Path) -> tuple[float, float]:
    """Let a batch go through while it is watched; return the seconds, and those of the processor."""
    with _watched(server, raw):
        cpu, started = server.own_cpu_seconds(), time.perf_counter()
        batch = wait_until_ended(server, create(server, body).batch["id"], every_seconds=0.2)
        seconds, cpu = time.perf_counter() - started, server.own_cpu_seconds() - cpu
    if batch["request_counts"]["errored"]:
        sys.exit(f"Not every request succeeded: {batch['request_counts']}")
    return seconds, cpu


@contextmanager
def _watched(server: Program, raw: Path) -> Iterator[None]:
    """Have py-spy look at the server meanwhile."""
    log = raw.with_suffix(".log")
    options = [
        "--format",
        "raw",
        "--output",
        str(raw),
        "--rate",
        str(RATE),
        "--native",
        "--threads",
        "--full-filenames",
    ]
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(server.process.pid), *options]
    with log.open("wb") as stream:
        profiler = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    deadline = time.perf_counter() + START_SECONDS_MAX
    while "Sampling" not in log.read_text("utf-8", "replace"):
        if profiler.poll() is not None or time.perf_counter() > deadline:
            profiler.kill()
            sys.exit(_REFUSED.format(said=log.read_text("utf-8", "replace").strip()))
        time.sleep(0.05)
    try:
        yield
    finally:
        profiler.send_signal(signal.SIGINT)
        profiler.wait()


def _page(samples: Samples, facts: Mapping[str, str]) -> str:
    lines = [f"| {name} | {value} |" for name, value in facts.items()]
    lines += _table("Threads", "thread", samples.threads, samples.total)
    lines += [
        "",
        "## By group",
        "",
        "Where the time was spent itself. What the interpreter and the C library do is counted for whoever called",
        "them, but for system calls and the garbage collector.",
        *_rows("group", samples.groups, samples.total),
        "",
        "## Our modules",
        "",
        "The share that a module has itself, and with everything that it calls; the latter overlap.",
        "",
        "| module | itself | with what it calls |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| `{module}` | {_share(samples.own[module], samples.total)} | {_share(count, samples.total)} |"
        for module, count in samples.below.most_common()
        if samples.own[module]
    ][:SHOWN]
    functions = Counter({f"`{module}` `{name}`": count for (module, name), count in samples.functions.items()})
    lines += _table("Functions", "function", functions, samples.total)
    return "\n".join(lines) + "\n"


def _table(title: str, what: str, counts: Counter[str], total: int) -> list[str]:
    return ["", f"## {title}", *_rows(what, counts, total)]


def _rows(what: str, counts: Counter[str], total: int) -> list[str]:
    rows = [f"| {name} | {_share(count, total)} |" for name, count in counts.most_common(SHOWN)]
    return ["", f"| {what} | share |", "|---|---:|", *rows]


def _share(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.1f} %"


if __name__ == "__main__":
    main()
