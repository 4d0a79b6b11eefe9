"""Failpoints: read strictly, passed in silence, and each transaction of the store has its own."""

import ast
import errno
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from slackwater import failpoints
from support.server import clean_environment
from support.source import package

POINT: Final = "blobs.before_fsync"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("blobs.before_lunch=kill", "no failpoint 'blobs.before_lunch'"),
        (f"{POINT}=explode", "the action must be one of"),
        (POINT, "the action must be one of"),
        (f"{POINT}=kill@0", "the number of a pass"),
        (f"{POINT}=kill@often", "the number of a pass"),
    ],
)
def test_what_is_not_understood_is_an_error(text: str, complaint: str) -> None:
    """A torture that hurts nothing because of a typing mistake would pass."""
    with pytest.raises(ValueError, match=complaint):
        failpoints.parse(text)


def test_an_unknown_name_ends_a_server_at_its_start() -> None:
    """With one line that names it; no traceback."""
    environment = clean_environment() | {failpoints.VARIABLE: "no.such_point=kill"}
    command = [sys.executable, "-c", "from slackwater.cli import main; main()", "serve", "--port", "0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (1, "SLACKWATER_FAILPOINTS: there is no failpoint 'no.such_point'\n")


def test_nothing_is_armed_unless_somebody_asks() -> None:
    """Then passing a point does nothing, known or not."""
    assert failpoints.armed == {}
    failpoints.hit(POINT)
    failpoints.hit("not even a point")


@pytest.mark.parametrize(("count", "failing"), [("", [1]), ("@3", [3]), ("@3+", [3, 4, 5])])
def test_a_failure_comes_at_its_pass(monkeypatch: pytest.MonkeyPatch, count: str, failing: list[int]) -> None:
    """Once, or from then on."""
    monkeypatch.setattr(failpoints, "armed", failpoints.parse(f"{POINT}=eio{count}"))
    assert [number for number in range(1, 6) if isinstance(passed(POINT), OSError)] == failing
    assert passed("blobs.after_fsync") is None


@pytest.mark.parametrize(("action", "number"), [("eio", errno.EIO), ("enospc", errno.ENOSPC)])
def test_a_disk_s_errors_are_the_system_s(monkeypatch: pytest.MonkeyPatch, action: str, number: int) -> None:
    """So that nothing in the path can tell them from real ones."""
    monkeypatch.setattr(failpoints, "armed", failpoints.parse(f"*={action}"))
    error = passed(POINT)
    assert isinstance(error, OSError)
    assert error.errno == number


def test_a_point_that_is_not_in_the_list_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in every torture, because something is armed there."""
    monkeypatch.setattr(failpoints, "armed", failpoints.parse(f"{POINT}=eio"))
    with pytest.raises(RuntimeError, match="not in the list"):
        failpoints.hit("blobs.before_lunch")


def test_every_writing_method_of_the_store_has_its_points() -> None:
    """And no name stands for a method that is gone."""
    assert sorted(writing()) == sorted(set(failpoints.TRANSACTIONS) - {"migrate"})


def writing() -> Iterator[str]:
    for source in package():
        for function in source.functions() if source.area == "store" else ():
            called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
            if any(ast.unparse(one) == "self.database.write" for one in called):
                yield function.name


def passed(name: str) -> OSError | None:
    try:
        failpoints.hit(name)
    except OSError as error:
        return error
    return None
