"""Retrieve: what thousands of clients do all day, beside a handler that answers with a fixed JSON object."""

from collections.abc import Sequence

from context import BATCHES, Context, Row
from processes import API_KEY, Program, measured_by, yardstick

CONNECTIONS = 16
SECONDS = 0.75
TURNS = 4
"""Of both, one after the other: other work on the machine comes and goes."""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    finished = context.finished
    with yardstick(context.directory / "plain") as plain:
        pairs = {
            connections: _rates(((finished.server, f"{BATCHES}/{finished.batch_id}"), (plain, "/static")), connections)
            for connections in (1, CONNECTIONS)
        }
    return [
        Row(
            figure="retrieve, time for one on a kept connection",
            ours=1e3 / pairs[1][0],
            unit="ms",
            yardstick=1e3 / pairs[1][1],
            meaning="key checked, batch read from the database; against a fixed JSON object",
        ),
        Row(
            figure=f"retrieve, {CONNECTIONS} kept connections",
            ours=pairs[CONNECTIONS][0],
            unit="requests/s",
            yardstick=pairs[CONNECTIONS][1],
            better="higher",
            meaning="the same",
        ),
    ]


def _rates(handlers: Sequence[tuple[Program, str]], connections: int) -> list[float]:
    requests, seconds = [0.0] * len(handlers), [0.0] * len(handlers)
    for _ in range(TURNS):
        for number, (server, path) in enumerate(handlers):
            took = measured_by("hammer", str(server.port), path, API_KEY, str(connections), str(SECONDS))
            requests[number] += took["requests"]
            seconds[number] += took["seconds"]
    return [done / spent for done, spent in zip(requests, seconds, strict=True)]
