"""One server for the official SDKs, and what each of them reports about it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import pytest

from support.sdks import ALL, SDK, clean_environment
from support.server import RunningServer

DRIVER_SECONDS: Final = 120

CONFIG: Final = """
[worker]
max_in_flight = 16
grace_seconds = 0.2

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
    """Run tests that ask for an `sdk` once per SDK: all tests of one SDK in one process, so that it reports once."""
    if "sdk" in metafunc.fixturenames:
        marked = [pytest.param(sdk, marks=pytest.mark.xdist_group(sdk.name), id=sdk.name) for sdk in ALL]
        metafunc.parametrize("sdk", marked, scope="session")
    if "python_sdk" in metafunc.fixturenames:
        blocking = [sdk for sdk in ALL if sdk.language == "py" and sdk.mode == "sync"]
        marked = [
            pytest.param(sdk, marks=pytest.mark.xdist_group(sdk.name), id=f"py-{sdk.version}") for sdk in blocking
        ]
        metafunc.parametrize("python_sdk", marked)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Start one server that all SDKs share: they see each other's batches, as colleagues do."""
    running = RunningServer.start(tmp_path_factory.mktemp("server"), CONFIG)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def reports(server: RunningServer) -> Callable[[SDK], dict[str, Any]]:
    """Run an SDK's driver once, and remember its report."""

    @cache
    def report(sdk: SDK) -> dict[str, Any]:
        assert sdk.home.is_dir(), f"{sdk.home} is missing: `make sdks` installs the official SDKs"
        done = subprocess.run(
            sdk.command(server),
            env=clean_environment(SDK=str(sdk.home / "node_modules" / "@anthropic-ai" / "sdk")),
            capture_output=True,
            text=True,
            check=False,
            timeout=DRIVER_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return report


@pytest.fixture
def report(sdk: SDK, reports: Callable[[SDK], dict[str, Any]]) -> dict[str, Any]:
    """Return what this SDK saw: see drivers/sdk.py for the sections."""
    return reports(sdk)
