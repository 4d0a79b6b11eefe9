"""Everything that runs beside the benchmark: slackwater, its backend, the yardsticks; how each is started and asked."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any

from borrowed import catches
from memory import tree

API_KEY = "bench-key-of-the-first-workspace"
PROGRAMS = Path(__file__).with_name("programs")
NGINX_FETCHED = Path(__file__).resolve().parents[1] / ".peers/nginx/usr/sbin"
"""Where `scripts/nginx.sh` puts one."""
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 40.0
ANSWER_SECONDS_MAX = 600.0
MEASURE_SECONDS_MAX = 1_200.0
ANSWER = {
    "id": "msg_01BenchBenchBenchBenchBe",
    "type": "message",
    "role": "assistant",
    "model": "bench",
    "content": [{"type": "text", "text": "A sentence of the usual length that says nothing. " * 10}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 600, "output_tokens": 110},
}
_NGINX = """\
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; client_max_body_size 0;
  client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
  uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
  server {{
    listen 127.0.0.1:{port}; default_type application/json;
    location / {{ return 200 '{answer}'; }}
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A running server."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    ready_seconds: float
    """From its start to the first 200."""

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS_MAX)

    def get(self, path: str) -> Any:  # noqa: ANN401  # JSON is any value
        """GET JSON. Raises RuntimeError for any status but 200."""
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request("GET", path, headers=HEADERS)
            return answered(connection.getresponse())

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, ended children included."""
        return self._cpu_seconds(tree(self.process.pid))

    def own_cpu_seconds(self) -> float:
        """Return the CPU time of the server itself; what it waited for of ended children is in it."""
        return self._cpu_seconds([self.process.pid])

    @staticmethod
    def _cpu_seconds(pids: Iterable[int]) -> float:
        ticks = 0
        for pid in pids:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")


HEADERS = {"x-api-key": API_KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}


def answered(response: http.client.HTTPResponse) -> Any:  # noqa: ANN401  # JSON is any value
    """Return the decoded body of a 200. Raises RuntimeError for any other status."""
    body = response.read()
    if response.status != http.HTTPStatus.OK:
        message = f"{response.status}: {body[:500].decode(errors='replace')}"
        raise RuntimeError(message)
    return json.loads(body)


@contextlib.contextmanager
def slackwater(directory: Path, config: str) -> Iterator[Program]:
    """Run a server on `directory/data`, which may hold data already."""
    directory.mkdir(exist_ok=True)
    (directory / "slackwater.toml").write_text(config, encoding="utf-8")
    port = free_port()
    command = [_slackwater(), "serve", "--config", "slackwater.toml", "--data", "data", "--port", str(port)]
    with running("slackwater", [*command, "--host", "127.0.0.1"], directory, port, "/health") as program:
        yield program


@contextlib.contextmanager
def worker(directory: Path) -> Iterator[Program]:
    """Run a worker on the configuration and the data of a server's directory; it listens nowhere."""
    command = [_slackwater(), "worker", "--config", "slackwater.toml", "--data", "data"]
    with _process("slackwater worker", command, directory, lambda process: catches(process.pid, SIGTERM)) as program:
        yield program


@contextlib.contextmanager
def yardstick(directory: Path) -> Iterator[Program]:
    """Run the bare Starlette application."""
    directory.mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, str(PROGRAMS / "yardstick.py"), str(port), str(directory)]
    with running("yardstick", command, directory, port, "/health") as program:
        yield program


@contextlib.contextmanager
def simulator(directory: Path, *options: str) -> Iterator[Program]:
    """Run `slackwater simulate`."""
    directory.mkdir(exist_ok=True)
    port = free_port()
    command = [_slackwater(), "simulate", "--port", str(port), *options]
    with running("slackwater simulate", command, directory, port, "/stats") as program:
        yield program


@contextlib.contextmanager
def instant_backend(directory: Path) -> Iterator[Program]:
    """Run a backend that answers at once: nginx where there is one, else the simulator without latency."""
    places = (os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", str(NGINX_FETCHED))
    nginx = shutil.which("nginx", path=os.pathsep.join(places))
    if nginx is None:
        with simulator(directory, "--latency-ms", "0", "--capacity", "100000") as program:
            yield program
        return
    directory.mkdir(exist_ok=True)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, port=port, answer=json.dumps(ANSWER)), encoding="utf-8")
    with running("nginx", [nginx, "-c", str(config), "-p", str(directory)], directory, port, "/") as program:
        yield program


@contextlib.contextmanager
def running(name: str, command: list[str], directory: Path, port: int, probe: str) -> Iterator[Program]:
    """Run a server until the end; it is there when GET `probe` answers 200."""
    with _process(name, command, directory, lambda _: _answers(port, probe), port) as program:
        yield program


def measured_by(program: str, *arguments: str, python: Path = Path(sys.executable)) -> dict[str, float]:
    """Run one of the small programs to its end and return what it printed, in its last line where others print too."""
    command = [str(python), str(PROGRAMS / f"{program}.py"), *arguments]
    done = subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, check=True, timeout=MEASURE_SECONDS_MAX)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def administered(directory: Path, *arguments: str) -> Any:  # noqa: ANN401  # JSON is any value
    """Run an administrative command beside the server of a directory and return what it printed."""
    command = [_slackwater(), *arguments, "--data", "data", "--json"]
    done = subprocess.run(command, cwd=directory, env=_environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _slackwater() -> str:
    return str(Path(sys.executable).with_name("slackwater"))


def _environment() -> dict[str, str]:
    """Return the environment without what would steer the programs that are measured."""
    foreign = ("SLACKWATER_", "ANTHROPIC_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"SLACKWATER_API_KEY": API_KEY}


@contextlib.contextmanager
def _process(
    name: str,
    command: list[str],
    directory: Path,
    ready: Callable[["subprocess.Popen[bytes]"], bool],
    port: int = 0,
) -> Iterator[Program]:
    log = directory / "output.log"
    with log.open("ab") as stream:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=directory, env=_environment(), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        while not ready(process):
            if process.poll() is not None or time.perf_counter() - started > READY_SECONDS_MAX:
                message = f"{name} did not start:\n{log.read_text('utf-8')[-2000:]}"
                raise RuntimeError(message)
            time.sleep(0.005)
        yield Program(name=name, port=port, process=process, ready_seconds=time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    return False
