"""Seeds of the simulation beside the tests: with `--seeds N` they take the time that these leave to the processors.

Most tests wait for something most of the time, and the simulation never does. It runs with the lowest priority; what
became of it is one more test, the last one.
"""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).resolve().parents[1]
PROCESSES: Final = 2
NICE: Final = ("nice", "-n", "19")
SHORT_WALK: Final = "test_the_first_seeds_break_no_promise"
NAME: Final = "simulation/beside.py::test_no_seed_breaks_a_promise"


def simulation(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment, as whoever replays a seed has them: hashes are the same every time."""
    paths = os.pathsep.join((str(TESTS.parent / "src"), str(TESTS)))
    return [sys.executable, "-m", "simulation", *arguments], {
        **os.environ,
        "PYTHONPATH": paths,
        "PYTHONHASHSEED": "0",
    }


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--seeds", type=int, default=0, metavar="N", help="run the first N seeds beside the tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the short walk where the same seeds are run beside the tests."""
    if config.getoption("--seeds"):
        short = [item for item in items if item.name == SHORT_WALK]
        config.hook.pytest_deselected(items=short)
        items[:] = [item for item in items if item not in short]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Run seeds while the tests run, and report them when both are done."""
    seeds = int(session.config.getoption("--seeds"))
    if not seeds or hasattr(session.config, "workerinput"):  # set where xdist runs tests; it is started elsewhere
        return (yield)
    with ExitStack() as stack:
        began = time.monotonic()
        running = [stack.enter_context(_started(part, seeds)) for part in range(PROCESSES)]
        stack.callback(lambda: [one.kill() for one in running])
        result = yield
        outputs = [one.communicate()[0] for one in running]
        broken = any(one.returncode for one in running)
    session.config.hook.pytest_runtest_logreport(
        report=pytest.TestReport(
            nodeid=NAME,
            location=(NAME.partition("::")[0], None, NAME.partition("::")[2]),
            keywords={},
            outcome="failed" if broken else "passed",
            longrepr="\n".join(outputs) if broken else None,
            when="call",
            duration=time.monotonic() - began,
        )
    )
    return result


def _started(part: int, seeds: int) -> subprocess.Popen[str]:
    command, environment = simulation("--seeds", f"{part * seeds // PROCESSES}:{(part + 1) * seeds // PROCESSES}")
    return subprocess.Popen(
        [*NICE, *command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
