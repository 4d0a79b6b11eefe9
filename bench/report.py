"""How the rows are shown: a table on the terminal, and docs/benchmarks.md with its plot."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from context import Row
from plot import bars, svg
from rich.console import Console
from rich.table import Table

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")
_HEAD = """\
# Benchmarks

Written by `make bench BENCH="{arguments}"`, not by hand. Every figure stands beside a yardstick that was measured in
the same run on the same machine: read the ratios, the rest depends on the machine. A ratio is ours divided by the
yardstick's; the column beside it says whether more or less is better. Nothing here is a test.

| | |
|---|---|
"""
_PLOT = """
![Requests a second of slackwater, of a bare loop that promises nothing, and of others that do this work]({name})

Only slackwater and ogx take a batch over HTTP and hand its results back; ogx has them in memory until the last one is
there. The others keep nothing. Where our time goes is in [profile.md](profile.md).
"""
_FOOT = """
To repeat it:

```sh
make bench                          # a short run
make bench BENCH="--full"           # 100,000 requests, about 240 MB
make bench BENCH="--list"           # the single figures, for --only NAME
make bench BENCH="--full --write"   # write this page anew
make profile                        # write profile.md anew
```

What others are measured with is installed into `.peers/`, in the versions that `requirements/peers/` names, when it is
first needed, or by `make peers`. What cannot be installed on a machine has a row that says so.

The backend is nginx with a fixed answer: the one that is installed, or Debian's, which `make bench` unpacks into
`.peers/` without installing it. Where neither is to be had it is `slackwater simulate` without latency, which is
slower than what is measured.
"""


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Processor": f"{os.cpu_count()} cores, {_field('/proc/cpuinfo', 'model name')}",
        "Memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.0f} GB",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Load before the run": f"{loads} (processes that wanted a core over 1, 5 and 15 minutes)",
    }


def show(rows: Sequence[Row], facts: dict[str, str], console: Console) -> None:
    """Print the rows."""
    table = Table(title=" · ".join(facts.values()), title_style="dim", show_lines=True)
    for name in ("figure", "ours", "yardstick", "ratio", "better"):
        table.add_column(name, justify="right" if name in {"ours", "yardstick", "ratio"} else "left")
    for row in rows:
        figure, *numbers, meaning = _cells(row)
        table.add_row(f"{figure}\n[dim]{meaning}[/dim]", *numbers)
    console.print(table)


def write(rows: Sequence[Row], facts: dict[str, str], arguments: Sequence[str]) -> None:
    """Write the page."""
    found = bars(rows)
    if found:
        PLOT.write_text(svg(found, f"{facts['Date']}, {facts['Processor']}"), encoding="utf-8")
    lines = [f"| {name} | {value} |" for name, value in facts.items()]
    lines += _PLOT.format(name=PLOT.name).splitlines() if found else []
    lines += ["", "| figure | ours | yardstick | ratio | better | what it means |", "|---|---:|---:|---:|---|---|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    PAGE.write_text(_HEAD.format(arguments=" ".join(arguments)) + "\n".join(lines) + "\n" + _FOOT, encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    compared = row.yardstick is not None
    return (
        row.figure,
        f"{_number(row.ours)} {row.unit}" if row.ours is not None else "not measured",
        f"{_number(row.yardstick)} {row.unit}" if row.yardstick is not None else "",
        f"{row.ratio:.2f}" if row.ratio is not None else "",
        ("more" if row.better == "higher" else "less") if compared else "",
        row.meaning,
    )


def _number(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004  # three figures are what it is good for
    return f"{value:,.{digits}f}"


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text("utf-8").splitlines():
        if line.startswith(name):
            return line.split(":", 1)[1].strip()
    return "unknown"
