"""One table at the end of a run: what every torture cost."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from support.machine import Machine

PROPERTY: Final = "torture"
"""Name of the property under which a test records its numbers, by column."""


def endured(
    one: "Machine", batches: Mapping[str, str], size: int, hurt: int, record_property: Callable[[str, object], None]
) -> int:
    """See batches of `size` requests, by id and prefix, to a whole end; record a row, and return the repeated calls."""
    finished = 0
    for batch_id, prefix in batches.items():
        one.ended(batch_id, deadline_seconds=180)
        finished += one.assert_whole(batch_id, prefix, size)["succeeded"]
    arrivals = one.simulator.arrivals()
    repeated = arrivals.total() - len(arrivals)
    accepted = size * len(batches)
    record_property(PROPERTY, {"hurt": hurt, "accepted": accepted, "finished": finished, "repeated": repeated})
    assert finished == accepted
    return repeated


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a row for each torture that came to its end, with whatever it held or did not hold."""
    rows = {
        report.nodeid.rsplit("::", 1)[1]: numbers
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, numbers in report.user_properties
        if name == PROPERTY
    }
    if not rows:
        return
    columns = list(dict.fromkeys(column for numbers in rows.values() for column in numbers))
    lines = [("", *columns), *((name, *(str(row.get(one, "")) for one in columns)) for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    terminalreporter.section("torture")
    for first, *others in lines:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        terminalreporter.write_line("  ".join(cells))
