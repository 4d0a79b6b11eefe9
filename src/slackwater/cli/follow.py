"""Watching a batch until it ends, on a terminal and in a log file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from slackwater.cli.connection import API
from slackwater.cli.exits import INCOMPLETE, OK, TIMED_OUT, Failure
from slackwater.cli.output import message, styled

PLAIN_LINE_SECONDS = 5.0
_POLL_SECONDS_FIRST, _POLL_SECONDS_MAX = 0.1, 2.0
_TYPES = ("succeeded", "errored", "canceled", "expired")


class _Display(Protocol):
    def show(self, state: dict[str, Any]) -> None:
        """Show where the batch stands."""


def follow(api: API, batch_id: str, timeout_seconds: float | None) -> dict[str, Any]:
    """Wait until a batch has ended; return its progress object. Raises Failure when the wait takes too long.

    Ctrl-C ends the wait, not the batch, and says how to come back.
    """
    from slackwater.clock import SystemClock  # noqa: PLC0415  # brings asyncio, which other commands do without

    clock = SystemClock()
    started = clock.monotonic()
    wait = _POLL_SECONDS_FIRST
    try:
        with _display(clock.monotonic) as display:
            while True:
                state = progress(api, batch_id)
                api.patient = True
                display.show(state)
                if state["processing_status"] == "ended":
                    return state
                left = float("inf") if timeout_seconds is None else timeout_seconds - (clock.monotonic() - started)
                if left <= 0:
                    raise Failure(
                        f"{batch_id} has not ended after {timeout_seconds:g} s; it goes on",
                        next_step=f"slackwater batches watch {batch_id}",
                        code=TIMED_OUT,
                    )
                api.pause(min(wait, left))
                wait = min(wait * 1.5, _POLL_SECONDS_MAX)
    except KeyboardInterrupt:
        message(f"{batch_id} goes on; come back to it with: slackwater batches watch {batch_id}")
        raise


def progress(api: API, batch_id: str) -> dict[str, Any]:
    """Return a batch's live progress; from a server without that route, what the batch object says."""
    try:
        state: dict[str, Any] = api.request("GET", f"/v1/messages/batches/{batch_id}/progress").json()
    except Failure:
        batch: dict[str, Any] = api.request("GET", f"/v1/messages/batches/{batch_id}").json()
        counts = batch["request_counts"]
        state = {**batch, "progress": counts, "size": sum(counts.values()), "cost_usd": None}
    return state


def ended_code(state: dict[str, Any]) -> int:
    """Return the exit code of an ended batch."""
    counts = state["progress"]
    return INCOMPLETE if counts["errored"] or counts["expired"] else OK


def summary(state: dict[str, Any]) -> str:
    """Return one line: done of all, the types that occur, the cost."""
    counts = state["progress"]
    done = state["size"] - counts["processing"]
    parts = [f"{done:,}/{state['size']:,} done"]
    parts += [f"{counts[name]:,} {name}" for name in _TYPES if counts[name]]
    if state.get("cost_usd") not in (None, "0"):
        parts.append(f"${state['cost_usd']}")
    return ", ".join(parts)


@contextmanager
def _display(monotonic: Any) -> Iterator[_Display]:  # noqa: ANN401  # a clock's method
    if not styled():
        yield _Lines(monotonic)
        return
    from rich.console import Console  # noqa: PLC0415  # only on a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _Bar(bar)


class _Lines:
    """One plain line every few seconds: animation breaks logs."""

    def __init__(self, monotonic: Any) -> None:  # noqa: ANN401  # a clock's method
        self._monotonic = monotonic
        self._last: float | None = None

    def show(self, state: dict[str, Any]) -> None:
        now = self._monotonic()
        ended = state["processing_status"] == "ended"
        if ended or self._last is None or now - self._last >= PLAIN_LINE_SECONDS:
            self._last = now
            message(f"{state['id']} {state['processing_status']}: {summary(state)}")


class _Bar:
    """A bar with the counts beside it."""

    def __init__(self, bar: Any) -> None:  # noqa: ANN401  # rich.progress.Progress
        self._bar = bar
        self._task: Any = None

    def show(self, state: dict[str, Any]) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=state["size"])
        done = state["size"] - state["progress"]["processing"]
        self._bar.update(self._task, completed=done, description=summary(state).partition(", ")[2])
