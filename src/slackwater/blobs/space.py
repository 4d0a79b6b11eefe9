"""How much room the data directory's file system has, and a ballast that is given up when there is none (P4).

A full disk also stops what would help: a deletion needs room in the database's log, and so does opening the database.
Hence a file that only takes up space. Processes that share a data directory share the ballast.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

import structlog

from slackwater.domain.limits import MIB
from slackwater.ports import Clock

LOOK_SECONDS: Final = 1.0
RESERVE_BYTES_MIN: Final = 1024 * MIB
RESERVE_BYTES_MAX: Final = 10 * 1024 * MIB
RESERVE_SHARE: Final = 20
"""The default reserve is one part in so many of the file system, between the two bounds above."""
FLOOR_BYTES_MIN: Final = MIB

State = Literal["ok", "low", "full"]
"""`low`: nothing new is taken in or begun. `full`: the ballast had to be given up as well."""

_log = structlog.get_logger(__name__)


class Measured(NamedTuple):
    """What a file system says about itself."""

    free_bytes: int
    """Available to us, not only to root."""
    size_bytes: int


def measure(directory: Path) -> Measured:
    """Ask the file system that a directory lies on. Raises OSError."""
    found = os.statvfs(directory)
    return Measured(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


class Space:
    """Looks every second; what it found is then read at no cost."""

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int | None,
        ballast_bytes: int,
        measure: Callable[[Path], Measured] = measure,
    ) -> None:
        """Take the free space below which nothing new is taken in (None: the default), and the size of the ballast."""
        self._directory = directory
        self._reserve_bytes = reserve_bytes
        self._ballast_bytes = ballast_bytes
        self._measure = measure
        self._ballast = directory / "ballast"
        self._floor_bytes = max(FLOOR_BYTES_MIN, ballast_bytes // 4)
        self._given_up = False
        self.state: State = "ok"
        self.free_bytes = 0
        """At the last look."""

    @property
    def low(self) -> bool:
        """True while nothing new may be taken in or begun."""
        return self.state != "ok"

    async def watch(self, clock: Clock) -> None:
        """Look again and again, until canceled."""
        while True:
            await clock.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Measure, give the ballast up or take it again, and say what has changed."""
        try:
            found = self._measure(self._directory)
            if self._tend(found.free_bytes):
                found = self._measure(self._directory)
        except OSError as error:
            _log.warning("cannot measure the free disk space", error=str(error))
            return
        self.free_bytes = found.free_bytes
        reserve_bytes = _default_reserve(found.size_bytes) if self._reserve_bytes is None else self._reserve_bytes
        before, self.state = self.state, self._judge(found.free_bytes, reserve_bytes)
        if self.state != before:
            _say(self.state, free_bytes=found.free_bytes, reserve_bytes=reserve_bytes)

    def _judge(self, free_bytes: int, reserve_bytes: int) -> State:
        if self._given_up or free_bytes < self._floor_bytes:
            return "full"
        enough = reserve_bytes + (self._floor_bytes if self.low else 0)  # so that it does not change with every file
        return "ok" if free_bytes >= enough else "low"

    def _tend(self, free_bytes: int) -> bool:
        """Give the ballast up, or take it again with ample room; return whether something was done."""
        if free_bytes < self._floor_bytes and not self._given_up:
            self._given_up = True
            self._ballast.unlink(missing_ok=True)
            return True
        ample = free_bytes >= 2 * self._ballast_bytes + self._floor_bytes
        held = self._ballast.exists()
        if held or not ample:
            self._given_up = self._ballast_bytes > 0 and not held
            return False
        self._given_up = False
        return self._take()

    def _take(self) -> bool:
        """Take up the space for real; a file of holes would be of no use."""
        if self._ballast_bytes == 0:
            return False
        partial = self._ballast.with_name(f"ballast.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._ballast_bytes)
            finally:
                os.close(descriptor)
            partial.replace(self._ballast)
        except OSError as error:
            _log.warning("cannot set disk space aside, and will not try again before the next start", error=str(error))
            self._ballast_bytes = 0
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return False
        return True


def _default_reserve(size_bytes: int) -> int:
    return max(RESERVE_BYTES_MIN, min(RESERVE_BYTES_MAX, size_bytes // RESERVE_SHARE))


def _say(state: State, **measured: int) -> None:
    match state:
        case "ok":
            _log.info("there is disk space again", **measured)
        case "low":
            _log.warning("disk space is low: no batches and files are taken in, and no requests are begun", **measured)
        case "full":
            _log.error("the disk is full: what was set aside is given up for the work in flight", **measured)
