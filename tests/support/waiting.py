"""Waiting for something that another process does."""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
PAUSE_SECONDS: Final = 0.02


def until(look: Callable[[], T | None], *, deadline_seconds: float = 30) -> T:
    """Call `look` until it answers something true; return that. Raises TimeoutError after the deadline."""
    never = threading.Event()
    for _ in range(int(deadline_seconds / PAUSE_SECONDS)):
        found = look()
        if found:
            return found
        never.wait(PAUSE_SECONDS)
    message = f"nothing after {deadline_seconds} s"
    raise TimeoutError(message)
