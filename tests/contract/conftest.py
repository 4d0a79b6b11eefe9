"""One server for the official SDKs, and what each of them reports about it."""

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from support.sdks import ALL, SDK, clean_environment
from support.server import RunningServer

DRIVER_SECONDS: Final = 120

CONFIG: Final = """
[files]
size_bytes_max = 8000000

[worker]
max_in_flight = 16
grace_seconds = 4

[[backends]]
name = "sim"
protocol = "simulated"
latency_ms = 1

[[backends]]
name = "faulty"
protocol = "simulated"
latency_ms = 1

[[models]]
id = "claude-haiku-4-5-20251001"
backend = "sim"
max_input_tokens = 200000
max_tokens = 64000

[[models]]
id = "claude-opus-4-6"
backend = "sim"

[[models]]
id = "Qwen/Qwen2.5:7b"
backend = "sim"

[[models]]
id = "faulty"
backend = "faulty"
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that ask for an `sdk` once per SDK, one SDK after the other; those of files once per namespace."""
    if "namespace" in metafunc.fixturenames:
        both = [pytest.param(sdk, name, id=f"{sdk.name}-{name}") for sdk in ALL for name in sdk.file_namespaces]
        metafunc.parametrize(("sdk", "namespace"), both, scope="session")
    elif "sdk" in metafunc.fixturenames:
        metafunc.parametrize("sdk", ALL, ids=lambda sdk: sdk.name, scope="session")
    if "python_sdk" in metafunc.fixturenames:
        python = [sdk for sdk in ALL if sdk.language == "py" and sdk.mode == "sync"]
        metafunc.parametrize("python_sdk", [*python[:2], python[-1]], ids=lambda sdk: f"py-{sdk.version}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Start one server that all SDKs share: they see each other's batches, as colleagues do."""
    running = RunningServer.start(tmp_path_factory.mktemp("server"), CONFIG)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def reports(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[SDK], dict[str, Any]]:
    """Run an SDK's driver once, whichever process of the tests comes first, and remember its reports."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    @cache
    def reports_of(home: Path, *command: str) -> dict[str, Any]:
        memory = shared / f"{home.name}.json"
        with memory.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not memory.exists():
                memory.write_text(_drive(home, command, server), encoding="utf-8")
        found: dict[str, Any] = json.loads(memory.read_text("utf-8"))
        return found

    return lambda sdk: reports_of(sdk.home, *sdk.command(server))[sdk.mode]


@pytest.fixture
def report(sdk: SDK, reports: Callable[[SDK], dict[str, Any]]) -> dict[str, Any]:
    """Return what this SDK saw: see drivers/sdk.py for the sections."""
    return reports(sdk)


def _drive(home: Path, command: tuple[str, ...], server: RunningServer) -> str:
    assert home.is_dir(), f"{home} is missing: `make sdks` installs the official SDKs"
    environment = clean_environment(SDK=str(home / "node_modules" / "@anthropic-ai" / "sdk"))
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        try:
            said, sections = driver.communicate(timeout=DRIVER_SECONDS)
        except subprocess.TimeoutExpired:
            driver.kill()
            said, sections = driver.communicate()
    # The driver names its sections on stderr as it gets to them: the last one is where it failed or hung.
    assert driver.returncode == 0, f"{sections}\n{server.log.read_text('utf-8')[-4000:]}"
    return said
