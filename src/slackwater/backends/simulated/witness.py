"""One line per request that arrived, kept apart from everything else: what tests believe instead of the sender."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

_ENCODE = msgspec.json.Encoder().encode


class Witness:
    """Appends lines, each with one write to a file opened for appending; a line that was written survives any kill."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def saw(self, at: datetime, facts: dict[str, Any]) -> None:
        """Write one line: the instant, then the facts."""
        os.write(self._file, _ENCODE({"at": at.isoformat(), **facts}) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
