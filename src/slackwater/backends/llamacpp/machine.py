"""What this machine can give an engine: cores, memory, and whether the engine's library can run here at all."""

import ctypes
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KIB: Final = 1_024
UNLIMITED_BYTES: Final = 2**60
"""Control groups write limits near 2**63 for "none"."""
LIBRARY: Final = "libgomp.so.1"
MODULE: Final = "xllamacpp"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine as a process on it may use it."""

    cores: int
    """Cores this process may run on, by affinity and by its control group's share; at least 1."""
    memory_bytes: int
    """Memory that could be used now without anything else being pushed out."""
    total_bytes: int
    """Memory that could be used if nothing else ran: of the machine, or what its control group allows."""
    x86: bool = False
    avx2: bool = True
    """Meaningful on x86 only."""
    libgomp: bool = True
    installed: bool = True
    """Whether the package with the engine is installed in this Python."""


def this_machine(*, root: Path = Path("/")) -> Machine:
    """Look at the machine this process runs on. `root` is where `proc` and `sys` lie."""
    available, total = _memory(root)
    x86 = platform.machine().lower() in {"x86_64", "amd64", "i686", "i386"}
    return Machine(
        cores=_cores(root),
        memory_bytes=available,
        total_bytes=total,
        x86=x86,
        avx2=_avx2(root),
        libgomp=not sys.platform.startswith("linux") or _loads(LIBRARY),
        installed=engine_directory() is not None,
    )


def why_not(machine: Machine | None = None) -> str | None:
    """Say in one sentence why the engine cannot run on a machine; None when it can."""
    machine = machine or this_machine()
    if not machine.installed:
        return "The engine is not installed: pip install 'slackwater[local]' installs it."
    if machine.x86 and not machine.avx2:
        return "The engine needs a processor with AVX2, which this one does not have."
    if not machine.libgomp:
        return (
            "The engine needs the system library libgomp (the GNU OpenMP run time):"
            " `apt-get install libgomp1` installs it on Debian and Ubuntu, `dnf install libgomp` on Fedora."
        )
    return None


def engine_directory() -> Path | None:
    """Return the folder that the engine's package lies in, without importing it; None when it is not installed."""
    try:
        found = importlib.util.find_spec(MODULE)
    except (ImportError, ValueError):
        return None
    return Path(found.origin).parent.parent if found is not None and found.origin else None


def _cores(root: Path) -> int:
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    for group in _groups(root):
        quota = _quota(group)
        if quota is not None:
            cores = min(cores, max(1, int(quota)))
    return max(1, cores)


def _quota(group: Path) -> float | None:
    """Return the cores that a control group's time share amounts to."""
    limit = _words(group / "cpu.max")
    if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit():  # noqa: PLR2004  # quota and period
        return int(limit[0]) / max(1, int(limit[1]))
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _memory(root: Path) -> tuple[int, int]:
    """Return (usable now, usable at all) in bytes."""
    facts = _meminfo(root)
    if not facts:
        return _without_proc()
    total = facts.get("MemTotal", 0)
    available = facts.get("MemAvailable", total)
    for group in _groups(root):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit = _number(group / limit_name)
            if limit is None or limit >= UNLIMITED_BYTES:
                continue
            total = min(total, limit)
            used = (_number(group / used_name) or 0) - _cached(group)
            available = min(available, max(0, limit - used))
    return available, total


def _meminfo(root: Path) -> dict[str, int]:
    facts = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            facts[name] = int(words[0]) * KIB
    return facts


def _without_proc() -> tuple[int, int]:
    """Where there is no /proc (macOS): two thirds of what is built in, as a guess at what is free."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        total = 4 * 2**30
    return total * 2 // 3, total


def _cached(group: Path) -> int:
    """Return the bytes of files that a control group holds in memory and gives back when asked."""
    found = 0
    for line in _text(group / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in {"inactive_file", "active_file"} and value.isdigit():
            found += int(value)
    return found


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups this process is in, innermost first; inside a container, its own."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, inside = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")  # noqa: PLR2004  # a:b:c
        if controllers not in {"", "memory", "cpu", "cpu,cpuacct"}:
            continue
        top = root / "sys/fs/cgroup" / controllers
        folder = top / inside.lstrip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def _avx2(root: Path) -> bool:
    text = _text(root / "proc/cpuinfo")
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not flags or "avx2" in flags.split()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _number(path: Path) -> int | None:
    words = _words(path)
    try:
        return int(words[0]) if words else None
    except ValueError:
        return None
