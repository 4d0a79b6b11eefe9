"""Machines to hurt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.machine import Machine, MakeMachine
from support.simulator import RunningSimulator


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Name a database with nothing in it."""
    return "sqlite" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[MakeMachine]:
    """Build machines; everything they started is ended at the end of the test."""
    made: list[Machine] = []

    def make(
        database: str = "sqlite",
        *,
        simulate: tuple[str, ...] = (),
        settings: str = "",
        altered: dict[str, str] | None = None,
        timeout_seconds: float = 20.0,
    ) -> Machine:
        simulator = RunningSimulator.start(tmp_path, *simulate)
        one = Machine(tmp_path, simulator, database, settings, altered, timeout_seconds)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.server.process.kill()
        one.server.process.wait()
        one.simulator.stop()
