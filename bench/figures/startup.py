"""Start-up: from the command to the first 200, on a data directory that holds a thousand finished batches."""

import shutil
from statistics import median

from context import Context, Row, config
from filling import fill
from processes import slackwater, yardstick

BATCHES = 1_000


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    finished = context.finished
    copy = context.directory / "copied"
    text = config(context.backend)
    ours, theirs = [], []
    shutil.copytree(finished.directory, copy, ignore=shutil.ignore_patterns("*.sock", "*.log"))
    fill(copy / "data", BATCHES)
    for _ in range(context.scale.repeats):
        with slackwater(copy, text) as server:
            ours.append(server.ready_seconds)
        with yardstick(context.directory / "plain") as plain:
            theirs.append(plain.ready_seconds)
    return [
        Row(
            figure=f"start-up on a data directory of {BATCHES:,} batches",
            ours=median(ours),
            unit="s",
            yardstick=median(theirs),
            meaning="command to first 200 from /health, against an application that imports Starlette and uvicorn only",
        )
    ]
