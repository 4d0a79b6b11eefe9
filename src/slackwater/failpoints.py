"""Named points of the path at which a test makes a process fail, as disks, databases and operators do.

    SLACKWATER_FAILPOINTS="store.commit.after_commit=kill@3;blobs.before_fsync=enospc@1+"

kills the process when it passes the first point for the third time, and lets the disk be full from the first time on
that it passes the second. Each failure is announced by a line on stderr. Nothing is armed unless the variable
is set when the process starts; a step that every request passes looks at `armed` before it calls.
"""

import errno
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

VARIABLE: Final = "SLACKWATER_FAILPOINTS"

Action = Literal["kill", "stop", "eio", "enospc", "delay", "trace"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
"""SIGKILL; SIGSTOP (somebody else has to continue the process); an OSError; a thread that stands still; nothing."""
DELAY_SECONDS: Final = 1.0

TRANSACTIONS: Final = (
    "migrate",
    "hold",
    "high_water",
    "release_worker",
    "create_workspace",
    "archive_workspace",
    "create_key",
    "revoke_key",
    "seal",
    "lease",
    "renew",
    "commit",
    "release",
    "cancel",
    "lease_closing",
    "compacted",
    "delete",
    "archive_due",
    "add_file",
    "delete_file",
    "sweep_files",
    "forget_creates",
    "charge",
)
"""The store's methods that write; each is one transaction."""

POINTS: Final = (
    "spool.before_write",
    "spool.after_write",
    "ingest.before_fsync",
    "ingest.after_fsync",
    "blobs.before_fsync",
    "blobs.after_fsync",
    "blobs.before_rename",
    "blobs.after_rename",
    "blobs.before_directory_fsync",
    "blobs.after_directory_fsync",
    "blobs.before_delete",
    "blobs.after_delete",
    "backend.before_send",
    "backend.before_receive",
    "backend.after_receive",
    "journal.before_write",
    "journal.after_write",
    "store.migration_step",
    "store.end",
    *(f"store.{name}.{when}" for name in TRANSACTIONS for when in ("before_commit", "after_commit")),
)
"""Every point there is. In `store.end` a transaction ends a batch; `store.migration_step` follows each migration."""


@dataclass(slots=True)
class Plan:
    """What is to happen at a point."""

    action: Action
    first: int = 1
    """The pass at which it happens."""
    ever_after: bool = False
    """Whether it happens at every later pass too."""
    passes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def due(self) -> bool:
        """Count a pass; tell whether something happens at it."""
        with self.lock:
            self.passes += 1
            return self.passes == self.first or (self.ever_after and self.passes > self.first)


def parse(text: str) -> dict[str, Plan]:
    """Read `point=action@pass;…`; `@pass` may be left out, and `*` is every point. Raises ValueError."""
    plans: dict[str, Plan] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, _, what = entry.partition("=")
        given, _, count = what.partition("@")
        action = next((known for known in ACTIONS if known == given), None)
        number = count.removesuffix("+") or "1"
        if name != "*" and name not in POINTS:
            raise ValueError(f"there is no failpoint {name!r}")
        if action is None:
            raise ValueError(f"{entry!r}: the action must be one of {', '.join(ACTIONS)}")
        if not number.isdecimal() or int(number) == 0:
            raise ValueError(f"{entry!r}: after @ comes the number of a pass, from 1 on")
        for point in POINTS if name == "*" else (name,):
            plans[point] = Plan(action=action, first=int(number), ever_after=count.endswith("+"))
    return plans


def _armed() -> dict[str, Plan]:
    try:
        return parse(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        sys.exit(f"{VARIABLE}: {error}")


armed: dict[str, Plan] = _armed()
"""What is to happen where; empty unless a test wants it otherwise."""


def hit(name: str) -> None:
    """Pass a point. Raises OSError where that was asked for."""
    if armed:
        _hit(name)


def _hit(name: str) -> None:
    if name not in POINTS:
        raise RuntimeError(f"the failpoint {name!r} is not in the list")
    plan = armed.get(name)
    if plan is not None and plan.due():
        os.write(sys.stderr.fileno(), f"failpoint {name}: {plan.action}\n".encode())
        _fail(plan.action)


def _fail(action: Action) -> None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "delay":
            threading.Event().wait(DELAY_SECONDS)  # not a look at a clock: this thread has an accident
        case "trace":
            pass
