"""`make bench`: how fast slackwater is on this machine, every figure beside a yardstick from the same run."""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from context import DEFAULT, FULL, Context, Row
from figures import FIGURES
from report import machine, show, write
from rich.console import Console


def main() -> None:
    """Measure what the command line asks for."""
    asked = _arguments()
    console = Console(highlight=False)
    if asked.list:
        for name, measure in FIGURES.items():
            print(f"{name:12} {(sys.modules[measure.__module__].__doc__ or '').splitlines()[0]}")
        return
    facts = machine()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="slackwater-bench-", dir=asked.directory) as name, ExitStack() as stack:
        context = Context(Path(name), FULL if asked.full else DEFAULT, stack, asked.model)
        for figure in asked.only or FIGURES:
            started = time.perf_counter()
            with console.status(f"{figure} …"):
                rows += FIGURES[figure](context)
            console.print(f"{figure}: {time.perf_counter() - started:.1f} s", style="dim")
    show(rows, facts, console)
    if asked.write:
        write(rows, facts, sys.argv[1:])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=FIGURES, metavar="NAME", help="one figure; may be repeated")
    parser.add_argument("--full", action="store_true", help="100,000 requests (about 240 MB) instead of 20,000")
    parser.add_argument("--list", action="store_true", help="name the figures and end")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--model", type=Path, help="a GGUF file instead of the model in the box")
    parser.add_argument("--directory", type=Path, help="where data goes while it runs, on the disk to be measured")
    asked = parser.parse_args()
    if asked.write and asked.only:
        parser.error("--write writes the whole page: leave --only out")
    return asked


if __name__ == "__main__":
    main()
