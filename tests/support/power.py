"""A disk whose power can be cut: ext4 on a loop device that forgets what it was not told to sync.

After the cut nothing more is written, not even the file system's own journal; a mount afterwards finds what had reached
the disk. It takes root, and a kernel that lets a loop device be mounted.
"""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import pytest

from support.postgres import find_binaries, locale_of, options, whom
from support.server import free_port
from support.waiting import until

SIZE_BYTES: Final = 512 * 2**20
_SHUTDOWN: Final = 0x8004587D
"""EXT4_IOC_SHUTDOWN, of the kernel's fs/ext4/ext4.h."""
_NO_LOG_FLUSH: Final = 2


class CutDisk:
    """An image and where it is mounted."""

    def __init__(self, image: Path, place: Path) -> None:
        self.place = place
        self._image = image

    @classmethod
    @contextmanager
    def mounted(cls) -> Iterator[Self]:
        """Have an empty one, in a directory that other accounts may enter; skip the test where there can be none."""
        if os.geteuid() != 0:
            pytest.skip("a file system can be mounted by root alone")
        directory = Path(tempfile.mkdtemp(prefix="slackwater-disk-"))
        directory.chmod(0o755)
        disk = cls(directory / "image", directory / "disk")
        disk.place.mkdir()
        with disk._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        try:
            _run("mkfs.ext4", "-q", "-F", str(disk._image))
            try:
                disk._mount()
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no loop device can be mounted here: {error.stderr.decode().strip()}")
            try:
                yield disk
            finally:
                until(disk._is_let_go)
        finally:
            shutil.rmtree(directory)

    def cut(self) -> None:
        """Cut the power: who has a file of it open gets errors from now on."""
        directory = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(directory, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def come_back(self) -> None:
        """Mount what is left; nobody may have a file of it open any more."""
        until(self._is_let_go)
        self._mount()

    def _is_let_go(self) -> bool:
        """Take it off, once those that were killed are gone."""
        return subprocess.run(["umount", str(self.place)], check=False, capture_output=True).returncode == 0

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.place))


class CutPostgres:
    """A PostgreSQL whose files lie on such a disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory = directory / "postgres"
        directory.mkdir()
        self._user = whom()
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        binaries = find_binaries()
        self._binaries = binaries
        if self._user:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        initdb = [*self._as_itself(), f"{binaries}/initdb", "-D", f"{directory}/data", "-U", "postgres", "-A", "trust"]
        _run(*initdb, "-E", "UTF8", *locale_of(binaries).split())

    @property
    def url(self) -> str:
        """The address, as `storage.database` takes it."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it, with recovery where it was cut off."""
        settings = " ".join(options(Path("/tmp"), self._port, fsync=True)).split()  # noqa: S108  # its socket
        self._process = subprocess.Popen(
            [*self._as_itself(), f"{self._binaries}/postgres", "-D", f"{self._directory}/data", *settings],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self._answers, deadline_seconds=60)

    def kill(self) -> None:
        """End all its processes at once; each is in a group of its own."""
        if self._process is not None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text("ascii").split()
            for one in (self._process.pid, *map(int, children)):
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        ready = [f"{self._binaries}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _as_itself(self) -> list[str]:
        if self._user is None:
            return []
        return ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
