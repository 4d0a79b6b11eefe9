"""Resident memory of a process and its children, sampled from /proc."""

import contextlib
import threading
from pathlib import Path
from typing import Self

SAMPLE_SECONDS = 0.02
_KIB = 1024


def tree(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(map(int, children.read_text("ascii").split()))
    return found


class Peak:
    """Context manager that watches a process; `resident_bytes` and `own_bytes` hold the peaks afterwards."""

    def __init__(self, pid: int) -> None:
        self.resident_bytes = 0
        """Pages in memory, those of mapped files included."""
        self.own_bytes = 0
        """Pages that no file stands behind."""
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        resident = own = 0
        for pid in tree(self._pid):
            with contextlib.suppress(OSError, KeyError):
                lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
                status = dict(line.split(":", 1) for line in lines)
                resident += int(status["VmRSS"].split()[0]) * _KIB
                own += int(status["RssAnon"].split()[0]) * _KIB
        self.resident_bytes = max(self.resident_bytes, resident)
        self.own_bytes = max(self.own_bytes, own)
