"""Installs what the benchmarks compare with: `.peers/NAME`, each in an environment of its own from a lock with hashes.

What cannot be installed here leaves its reason in `.peers/NAME.txt`, and the benchmarks go on without it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from installing import ROOT, is_stale, readable, run, stamp

LOCKS: Final = ROOT / "requirements" / "peers"
TARGET: Final = ROOT / ".peers"
_UV: Final = (sys.executable, "-m", "uv")


def main() -> int:
    """Install whatever is missing or stale, and say what could not be; that is no failure."""
    TARGET.mkdir(exist_ok=True)
    for lock in sorted(LOCKS.glob("*.lock")):
        reason = TARGET / f"{lock.stem}.txt"
        if not is_stale(TARGET / lock.stem, lock):
            continue
        try:
            _install(lock)
        except (OSError, subprocess.CalledProcessError, LookupError) as error:
            reason.write_text(readable(error), encoding="utf-8")
            print(f"{lock.stem} could not be installed: {readable(error)}", file=sys.stderr)
        else:
            reason.unlink(missing_ok=True)
    return 0


def _install(lock: Path) -> None:
    home = TARGET / lock.stem
    python = _interpreter(_least(lock))
    print(f"Installing {lock.stem} into {home.relative_to(ROOT)} ...", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    run([*_UV, "venv", "--quiet", "--python", python, str(home)])
    into = ["--python", str(home / "bin" / "python")]
    run([*_UV, "pip", "install", "--quiet", *into, "--require-hashes", "-r", str(lock)])
    stamp(home, lock)


def _least(lock: Path) -> tuple[int, int]:
    """Return the oldest Python that the lock is for: what its input says, where it asks for more than we do."""
    said = re.search(r"^# Python 3\.(\d+)$", lock.with_suffix(".in").read_text("utf-8"), re.MULTILINE)
    return (3, int(said[1])) if said else (3, 11)


def _interpreter(least: tuple[int, int]) -> str:
    """Return a Python of at least this version: this one, one on PATH, or one that pyenv keeps. Raises LookupError."""
    if sys.version_info >= least:
        return sys.executable
    for minor in range(least[1], least[1] + 4):
        name = f"python{least[0]}.{minor}"
        for found in (shutil.which(name), _said("pyenv", "whence", "--path", name)):
            # A pyenv shim is on PATH even where its version is not selected: only one that runs counts.
            if found and _said(found, "--version"):
                return found
    raise LookupError(f"it needs Python {least[0]}.{least[1]} or newer, and there is none on this machine")


def _said(*command: str) -> str:
    """Return the first line that a program prints; nothing where it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return next(iter(done.stdout.splitlines()), "")


if __name__ == "__main__":
    sys.exit(main())
