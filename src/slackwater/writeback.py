"""Have the disk write a long file while it is still being made, so that the sync at its end finds little to do."""

import os
import threading
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

STEP_BYTES: Final = 32 * 2**20
"""Written between two syncs: enough that the disk is kept busy, little enough that not much is left for the last."""


def written_back(descriptor: int, parts: Iterable[tuple[T, int]]) -> Iterator[tuple[T, int]]:
    """Pass on what is written, (anything, bytes), and sync behind it, in a thread; nothing is promised of the end.

    Raises the OSError of such a sync: a later one of the same file may not tell of it again (D6).
    """
    syncs = _Syncs(descriptor)
    written = 0
    try:
        for part in parts:
            written += part[1]
            if written >= STEP_BYTES:
                written = 0
                syncs.ask()
            yield part
    finally:
        syncs.end()


class _Syncs:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._due = threading.Event()
        self._over = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._due.set()

    def end(self) -> None:
        if self._thread is not None:
            self._over = True
            self._due.set()
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while self._due.wait() and not self._over:
            self._due.clear()
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                self._error = error
                return
