"""Retrieve: what thousands of clients do all day, beside a handler that answers with a fixed JSON object."""

from context import BATCHES, Context, Row
from processes import API_KEY, Program, measured_by, yardstick

CONNECTIONS = 16
SECONDS = 2.0


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    finished = context.finished
    with yardstick(context.directory / "plain") as plain:
        pairs = {
            connections: (
                _rate(finished.server, f"{BATCHES}/{finished.batch_id}", connections),
                _rate(plain, "/static", connections),
            )
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


def _rate(server: Program, path: str, connections: int) -> float:
    figures = measured_by("hammer", str(server.port), path, API_KEY, str(connections), str(SECONDS))
    return figures["requests"] / figures["seconds"]
