"""A slackwater server as its users start it: a process of its own, a configuration file, an empty data directory."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from support.waiting import until

API_KEY: Final = "test-key-of-the-first-workspace"
STOP_SECONDS: Final = 20
RESERVE_BYTES: Final = 16 * 2**20
BALLAST_BYTES: Final = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class RunningServer:
    """One `slackwater serve`, ready for requests."""

    url: str
    """Base URL without a trailing slash."""
    api_key: str
    data: Path
    log: Path
    """What it wrote to stderr and stdout."""
    process: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls,
        directory: Path,
        config: str,
        *,
        failpoints: str = "",
        port: int | None = None,
        altered: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a server with its files in `directory` and wait until it is healthy.

        With `altered` it runs under what `support.altered` makes of these variables. Raises RuntimeError with its log
        when it ends instead.
        """
        port = port or free_port()
        (directory / "slackwater.toml").write_text(config, encoding="utf-8")
        log = directory / "server.log"
        environment = clean_environment() | {"SLACKWATER_API_KEY": API_KEY, "SLACKWATER_FAILPOINTS": failpoints}
        program = [str(Path(sys.executable).with_name("slackwater"))]
        if altered is not None:
            program = [sys.executable, "-m", "support.altered"]
            environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), **altered}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*program, "serve", "--config", "slackwater.toml", "--data", "data", "--port", str(port)],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        server = cls(url=f"http://127.0.0.1:{port}", api_key=API_KEY, data=directory / "data", log=log, process=process)
        try:
            until(server._answers)
        except (RuntimeError, TimeoutError):
            server.stop()
            raise
        return server

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def call(self, method: str, path: str, body: Any = None, *, version: str = "2023-06-01") -> str:
        """Make one HTTP request with the server's key, as the oldest clients do; return the body of a 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"x-api-key": self.api_key, "anthropic-version": version, "content-type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
            assert response.status == http.HTTPStatus.OK, text
            return text
        finally:
            connection.close()

    def waited_for_cpu_seconds(self) -> float:
        """Return how long its main thread could have run and did not, because others had the processors.

        What it takes to start is told without it: it says how busy this machine is.
        """
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text("ascii").split()[1]) / 1e9

    def rss_bytes(self) -> int:
        """Return how much memory it has at the moment."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """Stop it as systemd would; return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            message = f"slackwater serve ended with {self.process.returncode}:\n{self.log.read_text('utf-8')}"
            raise RuntimeError(message)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


def clean_environment() -> dict[str, str]:
    """Return an environment in which what this machine is set up with does not steer a process under test.

    Nor does how full its disk is; and of ballasts there are many at once.
    """
    foreign = ("SLACKWATER_", "ANTHROPIC_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "SLACKWATER_STORAGE__RESERVE_BYTES": str(RESERVE_BYTES),
        "SLACKWATER_STORAGE__BALLAST_BYTES": str(BALLAST_BYTES),
    }


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
