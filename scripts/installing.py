"""What `sdks.py` and `peers.py` have in common: environments made from a lock, and made anew when it changes."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_STAMP: Final = ".stamp"


def is_stale(home: Path, lock: Path) -> bool:
    """Tell whether an environment is missing, or was made from another lock, in another place or by another Python."""
    stamp = home / _STAMP
    return not stamp.is_file() or stamp.read_text() != _digest(lock)


def stamp(home: Path, lock: Path) -> None:
    """Write down what an environment was made from: then a second run costs nothing."""
    (home / _STAMP).write_text(_digest(lock))


def run(command: list[str]) -> None:
    """Run a program that asks nothing. Raises CalledProcessError, which knows what it printed."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def readable(error: BaseException) -> str:
    """Say what went wrong."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(error.cmd)} failed:\n{error.stderr or error.stdout}".strip()
    return str(error) or repr(error)


def _digest(lock: Path) -> str:
    # An environment points at its place and its interpreter with absolute paths.
    return hashlib.sha256(f"{ROOT}\0{sys.version}\0".encode() + lock.read_bytes()).hexdigest()
