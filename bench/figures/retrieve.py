"""Retrieve: what thousands of clients do all day, beside a handler that answers with a fixed JSON object."""

from context import BATCHES, Context, Row
from processes import API_KEY, Program, measured_by, yardstick

CONNECTIONS = 16
SECONDS = 2.0


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    finished = context.finished
    with yardstick(context.directory / "plain") as plain:
        theirs = _rate(plain, "/static")
        ours = _rate(finished.server, f"{BATCHES}/{finished.batch_id}")
    return [
        Row(
            figure="retrieve",
            ours=ours,
            unit="requests/s",
            yardstick=theirs,
            better="higher",
            meaning=f"{CONNECTIONS} kept connections, key checked, from the database; against a fixed JSON object",
        )
    ]


def _rate(server: Program, path: str) -> float:
    figures = measured_by("hammer", str(server.port), path, API_KEY, str(CONNECTIONS), str(SECONDS))
    return figures["requests"] / figures["seconds"]
