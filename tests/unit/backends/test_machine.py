"""What a machine can give an engine, read off files like those of a real one."""

import os
from pathlib import Path

import pytest

from slackwater.backends.llamacpp import machine
from slackwater.backends.llamacpp.machine import Machine, this_machine, why_not

GIB = 2**30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1000 kB\nMemAvailable:    8388608 kB\n"
GOOD = Machine(cores=4, memory_bytes=8 * GIB, total_bytes=16 * GIB, x86=True)


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root folder with 16 GiB of memory, half of it free, and no control group."""
    _write(tmp_path / "proc/meminfo", MEMINFO)
    _write(tmp_path / "proc/cpuinfo", "processor: 0\nflags\t\t: fpu sse2 avx avx2\n")
    return tmp_path


def test_without_limits_the_whole_machine_counts(root: Path) -> None:
    """Cores by affinity, memory that could be used now."""
    found = this_machine(root=root)
    assert (found.cores, found.memory_bytes, found.total_bytes) == (8, 8 * GIB, 16 * GIB)
    assert found.avx2 is True


def test_a_control_group_limits_cores_and_memory(root: Path) -> None:
    """Of the group and those around it the tightest counts; files in its memory are no use of it."""
    _write(root / "proc/self/cgroup", "0::/system.slice/one.service\n")
    outer, inner = root / "sys/fs/cgroup/system.slice", root / "sys/fs/cgroup/system.slice/one.service"
    _write(outer / "cpu.max", "250000 100000\n")
    _write(outer / "memory.max", "max\n")
    _write(inner / "cpu.max", "max 100000\n")
    _write(inner / "memory.max", str(4 * GIB))
    _write(inner / "memory.current", str(3 * GIB))
    _write(inner / "memory.stat", f"anon 5\ninactive_file {GIB // 2}\nactive_file {GIB // 2}\n")
    found = this_machine(root=root)
    assert (found.cores, found.memory_bytes, found.total_bytes) == (2, 2 * GIB, 4 * GIB)


def test_old_control_groups_count_too(root: Path) -> None:
    """The first version has other names, and a huge number for no limit."""
    _write(root / "proc/self/cgroup", "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n3:pids:/docker/x\nnonsense\n")
    cpu, memory = root / "sys/fs/cgroup/cpu,cpuacct", root / "sys/fs/cgroup/memory"
    _write(cpu / "cpu.cfs_quota_us", "50000")
    _write(cpu / "cpu.cfs_period_us", "100000")
    _write(memory / "docker/x/memory.limit_in_bytes", str(2**63 - 4096))
    _write(memory / "memory.limit_in_bytes", str(GIB))
    _write(memory / "memory.usage_in_bytes", str(2 * GIB))
    found = this_machine(root=root)
    assert (found.cores, found.memory_bytes, found.total_bytes) == (1, 0, GIB)


def test_a_system_without_proc_is_asked_otherwise(tmp_path: Path) -> None:
    """A guess at what is free is better than none."""
    found = this_machine(root=tmp_path)
    assert 0 < found.memory_bytes < found.total_bytes


def test_a_processor_without_avx2_is_known_by_its_flags(root: Path) -> None:
    """No flags at all mean another kind of processor."""
    _write(root / "proc/cpuinfo", "flags : fpu sse2 avx\n")
    assert this_machine(root=root).avx2 is False
    _write(root / "proc/cpuinfo", "Features : neon\n")
    assert this_machine(root=root).avx2 is True


def test_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """One sentence each; nothing when nothing is missing."""
    assert why_not(GOOD) is None
    lacks = {
        "installed": "The engine is not installed: pip install 'slackwater[local]' installs it.",
        "avx2": "The engine needs a processor with AVX2, which this one does not have.",
    }
    for name, said in lacks.items():
        assert why_not(_without(name)) == said
    assert "apt-get install libgomp1" in (why_not(_without("libgomp")) or "")
    monkeypatch.setattr(machine, "MODULE", "no_such_package_here")
    monkeypatch.setattr(machine, "LIBRARY", "libnothing.so.9")
    found = this_machine(root=root)
    assert (found.installed, found.libgomp) == (False, False)


def _without(name: str) -> Machine:
    lacking = {"installed": True, "avx2": True, "libgomp": True} | {name: False}
    return Machine(cores=4, memory_bytes=8 * GIB, total_bytes=16 * GIB, x86=True, **lacking)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
