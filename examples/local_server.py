"""A slackwater of the demo's own: started on a free port with its data in a temporary folder, and ended."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "demo-key-of-this-run"
READY_SECONDS = 60
END_SECONDS = 40


class DemoError(Exception):
    """The demo cannot go on; its text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalServer:
    """One that is ready."""

    url: str
    log: Path

    def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object."""
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30) as answer:
            body: dict[str, Any] = json.load(answer)
            return body

    def first_words(self) -> str:
        """Return what it said when it started."""
        return self.log.read_text(encoding="utf-8", errors="replace").strip()


@contextlib.contextmanager
def serving(folder: Path, config: str | None = None) -> Iterator[LocalServer]:
    """Run `slackwater serve` in `folder`, with this configuration or with none at all."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--data", str(folder / "data"), "--port", str(_free_port())]
    if config is not None:
        (folder / "slackwater.toml").write_text(config, encoding="utf-8")
        options += ["--config", str(folder / "slackwater.toml")]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("SLACKWATER_")}
    server = LocalServer(url=f"http://127.0.0.1:{options[3]}", log=folder / "server.log")
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("slackwater")), "serve", *options],
            cwd=folder,
            env={**settings, "SLACKWATER_API_KEY": KEY, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            _wait_until_healthy(server, process)
            yield server
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(server: LocalServer, process: "subprocess.Popen[bytes]") -> None:
    """Return once it answers; fail with the server's own words when it stops instead."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise DemoError(f"the server did not start:\n{server.first_words()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/health", timeout=5):
            return
        time.sleep(0.05)
    raise DemoError(f"the server was not ready after {READY_SECONDS} s:\n{server.first_words()}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop it, by force where it does not stop or nobody wants to wait."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise
