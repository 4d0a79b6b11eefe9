"""The budgets that keep the package readable. McCabe's is ruff's (C901), the layers are import-linter's."""

import ast
from typing import Final

from support import source as sources
from support.source import package

MODULE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 60
CORE_LINES_MAX: Final = 3_900
PROTOCOL_METHODS_MAX: Final = 8
CORE: Final = {"domain", "ports", "flow"}
MEANINGLESS: Final = {"utils", "util", "core", "manager", "managers", "service", "helper", "helpers", "common", "misc"}


def test_no_module_is_longer_than_a_reader_s_patience() -> None:
    """Longer modules hold two ideas."""
    assert {source.module: source.lines for source in package() if source.lines > MODULE_LINES_MAX} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    """From `def` to its last line, the docstring included."""
    long = {
        f"{source.module}.{function.name}": lines
        for source in package()
        for function in source.functions()
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_the_core_can_be_read_in_an_afternoon() -> None:
    """Words, ports and steps: who has read them knows what the server does. Empty lines are not read."""
    text = [source.path.read_text("utf-8") for source in package() if source.area in CORE]
    assert 0 < sum(bool(line.strip()) for part in text for line in part.splitlines()) <= CORE_LINES_MAX


def test_no_module_is_named_after_nothing() -> None:
    """A name that fits everything says nothing."""
    assert [source.module for source in package() if MEANINGLESS & set(source.module.split("."))] == []


def test_no_port_asks_for_more_than_eight_methods() -> None:
    """A port that asks for more is two ports."""
    (ports,) = [source for source in package() if source.module == "ports"]
    protocols = {
        node.name: sum(isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) for member in node.body)
        for node in ports.tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    }
    assert protocols
    assert {name: count for name, count in protocols.items() if count > PROTOCOL_METHODS_MAX} == {}


CLOCK_CALLS: Final = {
    "time.time",
    "time.time_ns",
    "time.sleep",
    "time.monotonic",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "asyncio.sleep",
}


def test_only_the_clock_module_asks_for_the_time() -> None:
    """Invariant T3: everything else is given a Clock, so that tests can hold it still."""
    asking = [
        f"{source.module}:{node.lineno}: {name}"
        for source in package()
        if source.module != "clock"
        for name, node in source.mentions()
        if name in CLOCK_CALLS
    ]
    assert asking == []


def test_no_test_sleeps() -> None:
    """A test waits for an event with a deadline; giving way once (`asyncio.sleep(0)`) is no sleep."""
    sleeping = [
        f"{source.path.name}:{node.lineno}"
        for source in sources.tests()
        # Programs that tests run as a user would have written them.
        if not {"seeds", "drivers"} & set(source.path.parts)
        for name, node in source.mentions()
        if name == "time.sleep" or (name == "asyncio.sleep" and node not in _yielding(source.tree))
    ]
    assert sleeping == []


def _yielding(tree: ast.Module) -> list[ast.expr]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 1)
    return [node.func for node in calls if isinstance(node.args[0], ast.Constant) and node.args[0].value == 0]
