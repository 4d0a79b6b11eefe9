"""The API over fakes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support.api import World, make_world


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Collect what is logged instead of writing it."""
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]  # a list of mutable mappings


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return an API over fakes, with a configured public URL."""
    return make_world(tmp_path)
