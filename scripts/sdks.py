"""Installs the official SDKs, unmodified, for the acceptance tests: `.sdk/py-VERSION` and `.sdk/ts-VERSION`.

Each one lives in an environment of its own, from a lock file with hashes in `requirements/sdk/`.
"""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from installing import ROOT, is_stale, readable, run, stamp

LOCKS: Final = ROOT / "requirements" / "sdk"
TARGET: Final = ROOT / ".sdk"
NODE_MAJOR_MIN: Final = 18
PARALLEL_MAX: Final = 3
"""Installing waits for the network more than for the processor, but a small machine has little of either."""


def main() -> int:
    """Install whatever is missing or stale; answer the exit code."""
    TARGET.mkdir(exist_ok=True)
    python_locks = sorted(LOCKS.glob("py-*.lock"))
    npm_locks = sorted(LOCKS.glob("ts-*/package-lock.json"))
    if any(is_stale(_npm_home(lock), lock) for lock in npm_locks):
        _need_node()
    with ThreadPoolExecutor(PARALLEL_MAX) as pool:
        work = [pool.submit(_install_python, lock) for lock in python_locks]
        work += [pool.submit(_install_npm, lock) for lock in npm_locks]
    failures = [error for error in (future.exception() for future in work) if error]
    for error in failures:
        print(readable(error), file=sys.stderr)
    return 1 if failures else 0


def _install_python(lock: Path) -> None:
    home = TARGET / lock.stem
    if not is_stale(home, lock):
        return
    print(
        f"Installing the Python SDK {lock.stem.removeprefix('py-')} into {home.relative_to(ROOT)} ...", file=sys.stderr
    )
    shutil.rmtree(home, ignore_errors=True)
    # The new environment needs no pip: this one's installs into it, which saves most of the time.
    run([sys.executable, "-m", "venv", "--without-pip", str(home)])
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    run([*pip, "--python", str(home / "bin" / "python"), "install", "--require-hashes", "-r", str(lock)])
    stamp(home, lock)


def _install_npm(lock: Path) -> None:
    home = _npm_home(lock)
    if not is_stale(home, lock):
        return
    print(
        f"Installing the TypeScript SDK {home.name.removeprefix('ts-')} into {home.relative_to(ROOT)} ...",
        file=sys.stderr,
    )
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock.parent / name, home / name)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(home)])
    stamp(home, lock)


def _npm_home(lock: Path) -> Path:
    return TARGET / lock.parent.name


def _need_node() -> None:
    """Make sure that node and npm are there; exit with a readable message where we cannot."""
    present = shutil.which("node") and shutil.which("npm")
    if not present and subprocess.run([str(ROOT / "scripts" / "apt.sh"), "nodejs", "npm"], check=False).returncode:
        sys.exit("The acceptance tests run the official TypeScript SDK: they need Node.js and npm.")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    major = re.match(r"v(\d+)", version)
    if not major or int(major[1]) < NODE_MAJOR_MIN:
        sys.exit(f"The acceptance tests need Node.js {NODE_MAJOR_MIN} or newer; this machine has {version or 'none'}.")


if __name__ == "__main__":
    sys.exit(main())
