"""The API over fakes."""

from pathlib import Path

import pytest

from support.api import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return an API over fakes, with a configured public URL."""
    return make_world(tmp_path)
