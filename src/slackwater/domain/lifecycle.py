"""The life of a batch as a table; every change of `processing_status` is looked up here (contract §5)."""

from typing import Final, Literal

from slackwater.domain.batch import ProcessingStatus

Trigger = Literal["cancel", "finish", "archive", "delete"]

TABLE: Final[dict[tuple[ProcessingStatus, Trigger], ProcessingStatus | Literal["gone"]]] = {
    ("in_progress", "cancel"): "canceling",
    ("in_progress", "finish"): "ended",
    ("canceling", "cancel"): "canceling",
    ("canceling", "finish"): "ended",
    ("ended", "archive"): "ended",
    ("ended", "delete"): "gone",
}
"""What each trigger does in each state; a pair that is missing is refused.

`finish`: the last request's result is committed. `archive`: 29 days after creation the results go, the object stays.
"""

TERMINAL: Final = frozenset({"ended"})


def after(status: ProcessingStatus, trigger: Trigger) -> ProcessingStatus | Literal["gone"] | None:
    """Return the state that follows, or None where the trigger is refused."""
    return TABLE.get((status, trigger))


def allowed_from(trigger: Trigger) -> frozenset[ProcessingStatus]:
    """Return the states in which `trigger` is accepted: the guard of the statement that carries it out."""
    return frozenset(status for status, known in TABLE if known == trigger)
