"""End to end: a whole batch against a backend that answers at once, beside a bare loop over the same requests."""

from statistics import mean

from context import CONCURRENCY, Context, Row
from processes import measured_by


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    requests = context.scale.requests
    arguments = (context.backend.url, str(context.lines), str(CONCURRENCY))
    # Before and after ours: other work on the machine comes and goes.
    before = measured_by("bare", *arguments)
    ours = context.finished
    after = measured_by("bare", *arguments)
    bare_seconds = mean([before["seconds"], after["seconds"]])
    bare_cpu = mean([before["cpu_seconds"], after["cpu_seconds"]])
    loop = f"a bare aiohttp loop with {CONCURRENCY} in flight, same run, backend {context.backend.name}"
    return [
        Row(
            figure=f"end to end, {requests:,} requests",
            ours=ours.seconds,
            unit="s",
            yardstick=bare_seconds,
            meaning=f"create call to `ended`, against {loop}",
        ),
        Row(
            figure="end to end, rate",
            ours=requests / ours.seconds,
            unit="requests/s",
            yardstick=requests / bare_seconds,
            better="higher",
            meaning="the same, the other way round",
            bar="bare aiohttp loop",
        ),
        Row(
            figure="end to end, processor time for a request",
            ours=ours.cpu_seconds / requests * 1e6,
            unit="µs",
            yardstick=bare_cpu / requests * 1e6,
            meaning="server and children; other work on the machine hardly disturbs this figure",
        ),
        Row(
            figure="memory, idle",
            ours=ours.idle_bytes / 1e6,
            unit="MB",
            meaning="resident, after a small batch",
        ),
        Row(
            figure=f"peak memory, end to end, {requests:,} requests",
            ours=ours.peak_bytes / 1e6,
            unit="MB",
            meaning="resident, children and mapped body included",
        ),
    ]
