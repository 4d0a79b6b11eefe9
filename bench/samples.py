"""What a sampling profiler saw, added up: by thread, by group of modules, by our modules, by function."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<place>[^()]*?)(?::\d+)?\)$")
_THREAD: Final = re.compile(r"thread \(.*?\)(?:: (?P<name>.*))?$")
_OURS: Final = re.compile(r"/slackwater/(?P<module>[\w/]+)\.py$")
_LIBRARIES: Final = (
    (re.compile(r"sqlite"), "SQLite"),
    (re.compile(r"libssl|libcrypto|_ssl|_hashlib|_hashopenssl"), "TLS and digests"),
    (re.compile(r"/uvloop/|/libuv"), "uvloop"),
    (re.compile(r"/(?:site|dist)-packages/(\w+)"), r"\1"),
    (
        re.compile(r"/(?:Modules/(?:clinic/)?|lib/python3\.\d+/(?:lib-dynload/)?)_?(asyncio|concurrent|json|zlib)"),
        r"\1",
    ),
    (re.compile(r"/Modules/|/lib/python3\.\d+/"), "standard library"),
)
"""By where the source or the binary of a call lies, the first that fits; all else is the interpreter or C's library."""
_KERNEL: Final = {
    **dict.fromkeys(("write", "writev", "read", "readv", "recv", "send", "epoll_pwait", "poll"), "sockets and files"),
    **dict.fromkeys(("fsync", "fdatasync"), "syncing the disk"),
    "gc_collect_main": "garbage collection",
}
"""Functions of the C library and the interpreter that are a group of their own, whoever calls them."""
_WAITING: Final = frozenset({"pthread_cond_timedwait", "PyThread_acquire_lock_timed"})
"""A thread that wants the interpreter's lock, or the next piece of work."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One call in a stack."""

    function: str
    module: str
    """Of ours: `flow/record`; else the group."""
    group: str

    @property
    def is_ours(self) -> bool:
        """Whether it is in the package."""
        return self.group.startswith("slackwater")


@dataclass(kw_only=True)
class Samples:
    """Counts; each sample is one thread that was at work."""

    total: int = 0
    threads: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    """By where the time was spent itself."""
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Likewise; module and function."""
    own: Counter[str] = field(default_factory=Counter)
    """Likewise, of our modules."""
    below: Counter[str] = field(default_factory=Counter)
    """Of our modules, with everything that they call."""


def add_up(lines: Iterable[str]) -> Samples:
    """Read py-spy's raw format: the calls of a stack from the outermost on, `;` between them, and a count."""
    found = Samples()
    for line in lines:
        text, _, count = line.rpartition(" ")
        calls = [parts for part in text.split(";") if (parts := _FRAME.match(part))]
        if not any(call["function"] in _WAITING for call in calls):
            _add(found, _thread(text), _frames([(call["function"], call["place"]) for call in calls]), int(count))
    return found


def _add(found: Samples, thread: str, frames: Sequence[Frame], count: int) -> None:
    if not frames:
        return
    last = frames[-1]
    found.total += count
    found.threads[thread] += count
    found.groups[last.group] += count
    found.functions[last.module, last.function] += count
    if last.is_ours:
        found.own[last.module] += count
    for module in {frame.module for frame in frames if frame.is_ours}:
        found.below[module] += count


def _thread(text: str) -> str:
    """Return a thread's name without its number: those of a pool do the same."""
    named = _THREAD.match(text.partition(";")[0])
    return re.sub(r"_\d+$", "", (named["name"] or "") if named else "").strip('" ') or "without a name"


def _frames(calls: Iterable[tuple[str, str]]) -> list[Frame]:
    """Return those that are told apart: what the interpreter and the C library do is done by whoever called them."""
    frames = []
    for function, place in calls:
        ours = _OURS.search(place)
        if ours:
            module = ours["module"].removesuffix("/__init__")
            frames.append(Frame(function=function, module=module, group=f"slackwater {module.partition('/')[0]}"))
            continue
        group = _group(function, place)
        if group is not None:
            name = "without a name" if function.startswith("0x") else function
            frames.append(Frame(function=name, module=group, group=group))
    return frames


def _group(function: str, place: str) -> str | None:
    for pattern, name in _LIBRARIES:
        found = pattern.search(place)
        if found:
            return found.expand(name)
    return _KERNEL.get(function)
