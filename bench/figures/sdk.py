"""SDK: the loop that people write when they have no batches, with as many calls in flight."""

from context import CONCURRENCY, Context, Row
from processes import measured_by


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    ours, asked = context.finished, context.scale.sdk_requests
    lines = context.directory / "sdk.jsonl"
    lines.write_bytes(b"".join(context.lines.read_bytes().splitlines(keepends=True)[:asked]))
    rate, loop = context.beside(lambda: measured_by("sdk", context.backend.url, str(lines), str(CONCURRENCY)))
    requests = context.scale.requests
    return [
        Row(
            figure="rate beside an AsyncAnthropic loop",
            ours=rate,
            unit="requests/s",
            yardstick=asked / loop["seconds"],
            better="higher",
            meaning=f"the loop sends {asked:,} with {CONCURRENCY} in flight to the same backend and keeps nothing",
            bar="AsyncAnthropic loop",
        ),
        Row(
            figure="processor time for a request beside an AsyncAnthropic loop",
            ours=ours.cpu_seconds / requests * 1e6,
            unit="µs",
            yardstick=loop["cpu_seconds"] / asked * 1e6,
            meaning="server and children, against the process of the loop",
        ),
    ]
