"""The numbered promises and the tests that show them belong together."""

import re
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).resolve().parents[1]
PAGE: Final = TESTS.parent / "docs" / "reliability.md"
ROW: Final = re.compile(r"^\| ([A-Z]\d+) \| .* \| (.*) \|$", re.MULTILINE)
ALWAYS: Final = (
    *(f"D{n}" for n in range(1, 6)),
    *(f"S{n}" for n in range(1, 9)),
    *("X1", "X2", "X3", "X4", "X7"),
    *(f"C{n}" for n in range(1, 5)),
    *(f"T{n}" for n in range(1, 5)),
    *("R1", "R2", "R3"),
)


@pytest.mark.parametrize(("number", "files"), ROW.findall(PAGE.read_text("utf-8")))
def test_each_file_that_is_said_to_show_a_promise_names_it(number: str, files: str) -> None:
    """A promise without a test that names it is a hope."""
    named = re.findall(r"`([^`]+)`", files)
    assert named
    for name in named:
        assert re.search(rf"\b{number}\b", (TESTS / name).read_text("utf-8")), name


def test_no_promise_is_left_out_of_the_page() -> None:
    """The list is complete, and each is there once."""
    numbers = [number for number, _ in ROW.findall(PAGE.read_text("utf-8"))]
    assert set(ALWAYS) <= set(numbers)
    assert len(numbers) == len(set(numbers))
