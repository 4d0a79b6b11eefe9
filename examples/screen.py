"""What the demo shows: tables and bars on a terminal, plain lines in a pipe or a log."""

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

RECORD = os.environ.get("DEMO_RECORD")
"""Where to write a picture of the session (SVG); docs/demo.svg is made with it."""
BAR_CELLS = 24
PLAIN_SECONDS = 5
"""Between two lines of progress where nothing can be redrawn."""


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, note: str) -> None:
        """Say how many are done, and a few words beside it."""


class Screen:
    """A terminal, or a place where lines end up."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a bar is no reason to fail in a Latin-1 terminal
        self._console = Console(highlight=False, record=bool(RECORD), width=100 if RECORD else None)
        self._rich = bool(RECORD) or self._console.is_terminal
        self._number = 0

    def step(self, title: str) -> None:
        """Begin the next part."""
        self._number += 1
        if self._rich:
            self._console.print()
            self._console.rule(f"[bold]{self._number}  {title}", align="left", style="blue")
        else:
            self._print(f"\n{self._number}. {title}")

    def say(self, markup: str = "") -> None:
        """Print a line or a few; `markup` is rich's."""
        self._print(markup)

    def quote(self, text: str) -> None:
        """Print something as it is, indented; its lines stay whole, so that they can be copied."""
        lines = "\n".join(f"  {line}".rstrip() for line in escape(text).splitlines())
        self._console.print(lines, soft_wrap=not RECORD)

    def write(self, piece: str) -> None:
        """Print a piece of a line as soon as it comes."""
        self._console.print(Text(piece), end="", soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; the first column to the left, numbers to the right."""
        if not self._rich:
            widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
            for row in (columns, *rows):
                first, *rest = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
                self._print(escape("  " + "  ".join([first, *rest]).rstrip()))
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 or not rows[0][index][:1].isdigit() else "right")
        for row in rows:
            table.add_row(*(f"[green]{escape(cell)}[/green]" if "█" in cell else escape(cell) for cell in row))
        self._console.print(table)

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[Advance]:
        """Show how far something is."""
        if not self._rich:
            yield self._lines(total)
            return
        columns = (BarColumn(BAR_CELLS), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task("", total=total, note="")
            yield lambda done, note: bar.update(task, completed=done, note=note)

    def _lines(self, total: int) -> Advance:
        said, said_at = 0, time.monotonic()

        def advance(done: int, note: str) -> None:
            nonlocal said, said_at
            due = done == total or time.monotonic() - said_at > PLAIN_SECONDS
            if due and done != said:
                said, said_at = done, time.monotonic()
                self._print(f"  {done} of {total} done  {note}".rstrip())

        return advance

    def _print(self, markup: str) -> None:
        self._console.print(markup, soft_wrap=not self._rich)

    def save(self) -> None:
        """Write the picture of the session, if one was asked for."""
        if RECORD:
            picture = self._console.export_svg(title="make demo")
            # The fonts it would fetch from elsewhere go; every reader has a monospaced one.
            Path(RECORD).write_text(re.sub(r"@font-face {.*?}", "", picture, flags=re.DOTALL), encoding="utf-8")


def shortened(text: str, length: int) -> str:
    """Return the beginning of a text as one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """Draw a share of 0…1."""
    filled = round(share * cells)
    return "█" * filled + "░" * (cells - filled)
