"""Worker processes beside a server on one PostgreSQL."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.server import clean_environment
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machine import Machine


def start_worker(one: "Machine") -> "subprocess.Popen[bytes]":
    """Start a worker on a machine's configuration and data; it is up: it hears what it is asked to do."""
    command = [str(Path(sys.executable).with_name("slackwater")), "worker", "--config", "slackwater.toml"]
    worker = subprocess.Popen([*command, "--data", "data"], cwd=one.directory, env=clean_environment())
    until(lambda: worker.poll() is not None or catches(worker.pid, signal.SIGTERM))
    return worker


def catches(process: int, number: signal.Signals) -> bool:
    """Tell whether a process handles a signal itself, as programs of ours do once they are up."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1]
    return bool(int(caught, 16) >> (number - 1) & 1)


@contextmanager
def running(one: "Machine", count: int) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Have workers; those that are in the list at the end are ended."""
    workers = [start_worker(one) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
