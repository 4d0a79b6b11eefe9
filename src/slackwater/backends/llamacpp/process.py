"""One child process with one model in it: started, waited for, and ended; never outliving this process."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slackwater.backends.llamacpp import causes
from slackwater.backends.llamacpp.causes import Failure
from slackwater.backends.llamacpp.fitting import CHECKPOINTS, INTERACTIVE_SLOTS, Fit, LocalModel, batch_tokens, padded
from slackwater.backends.llamacpp.gguf import GGUF
from slackwater.backends.llamacpp.machine import engine_directory

CHILD: Final = Path(__file__).with_name("child.py")
LOG_BYTES: Final = 64 * 1024
"""How much of what the child wrote last is kept: enough for the cause of its end."""
HTTP_THREADS_SPARE: Final = 8
"""With fewer threads than connections the engine does not see all requests; calls beside generations need some too."""
CHECKED_BYTES_MAX: Final = 2**30
"""Weights of files up to this size are looked through while they are loaded; with larger ones that takes too long."""
START_SECONDS: Final = 120.0
LAST_WORDS_SECONDS: Final = 5.0
LOAD_BYTES_PER_SECOND: Final = 20 * 2**20
"""The slowest disk that a model is waited for."""
ENVIRONMENT: Final[Mapping[str, str]] = {"GOMP_SPINCOUNT": "10000", "GGML_NO_BACKTRACE": "1"}
"""Threads of the engine that wait for each other give up their core soon: else one other busy process stops them all.
And an engine that aborts ends at once, instead of starting a debugger first."""
SECRET: Final = re.compile(r"SLACKWATER_.*|.*_(?:KEY|TOKEN|SECRET|PASSWORD)", re.IGNORECASE)
"""Variables that the child does not get: it reads files that strangers have made, and needs none of our secrets."""


class StartFailedError(Exception):
    """The child did not get ready."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence)
        self.failure = failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that a child is started with."""

    model: LocalModel
    gguf: GGUF
    fit: Fit

    def settings(self, api_key: str) -> dict[str, Any]:
        """Return the line that the child reads first."""
        parallel = self.fit.slots + INTERACTIVE_SLOTS
        return {
            "parent": os.getpid(),
            "package_directory": str(engine_directory() or ""),
            "model": str(self.model.path),
            "mmproj": str(self.model.mmproj) if self.model.mmproj else "",
            "parallel": parallel,
            "context_tokens": padded(self.fit.context_tokens),
            "batch_tokens": max(batch_tokens(self.gguf, self.model), 2 * parallel),
            "checkpoints": CHECKPOINTS,
            "threads": self.fit.threads,
            "http_threads": parallel + HTTP_THREADS_SPARE,
            "cache_mib": self.model.cache_mib or 0,
            "check_tensors": self.gguf.size_bytes <= CHECKED_BYTES_MAX,
            "api_key": api_key,
        }

    @property
    def start_seconds(self) -> float:
        """How long the child may take to get ready."""
        return START_SECONDS + self.gguf.size_bytes / LOAD_BYTES_PER_SECOND


class EngineProcess:
    """A child that is ready, until it ends."""

    def __init__(self, process: Process, api_key: str) -> None:
        self._process = process
        self._log = bytearray()
        self._reading = asyncio.create_task(self._read_log())
        self._ending = asyncio.create_task(self._end())
        self.url = ""
        self.api_key = api_key

    @classmethod
    async def start(cls, plan: Plan) -> "EngineProcess":
        """Start a child and wait until it has generated its first tokens. Raises StartFailedError."""
        api_key = secrets.token_urlsafe(32)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(CHILD),
                stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_environment(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise StartFailedError(causes.of_no_process(error)) from error
        started = cls(process, api_key)
        try:
            answer = await started._first_answer(plan, api_key)
        except BaseException:
            await started.stop()
            raise
        if "url" not in answer:
            await started._last_words()
            await started.stop()
            raise StartFailedError(causes.of_failed_start(plan.model, plan.gguf, answer, started.log(), started.status))
        started.url = str(answer["url"])
        return started

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended: the exit status, or the negative signal; None while it runs."""
        return self._process.returncode

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as is known: the end of its log comes before its connections break."""
        return self._process.returncode is None and not self._reading.done()

    def log(self) -> str:
        """Return the last of what it wrote to stderr."""
        return self._log.decode("utf-8", "replace")

    async def ended(self) -> int:
        """Wait for its end; return how it ended."""
        return await asyncio.shield(self._ending)

    async def answers(self, *, within_seconds: float) -> bool:
        """Whether the loop that generates still turns: the state of the slots comes from there."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        ask = f"GET /slots HTTP/1.0\r\nAuthorization: Bearer {self.api_key}\r\n\r\n"
        try:
            async with asyncio.timeout(within_seconds):
                reader, writer = await asyncio.open_connection(host, int(port))
                with contextlib.closing(writer):
                    writer.write(ask.encode())
                    return (await reader.readline()).startswith(b"HTTP/1.")
        except (OSError, TimeoutError):
            return False

    async def stop(self) -> None:
        """End it now: it has nothing to save."""
        if self._process.returncode is None:
            # Not Process.kill(): it may reap a child that has just ended, whose status asyncio then never learns.
            # macOS refuses the signal (PermissionError) to a child that has ended and is not reaped yet.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self.ended()

    async def _last_words(self) -> None:
        """Let a child that could not load its model end by itself: the cause may come at the very end of its log."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self.ended()

    async def _first_answer(self, plan: Plan, api_key: str) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101  # asked for above
        assert stdout is not None  # noqa: S101  # likewise
        try:
            async with asyncio.timeout(plan.start_seconds):
                stdin.write(json.dumps(plan.settings(api_key)).encode() + b"\n")
                await stdin.drain()
                line = await stdout.readline()
        except TimeoutError:
            await self.stop()
            return {"kind": "slow", "failed": f"nothing after {plan.start_seconds:.0f} seconds"}
        except (ConnectionError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            await self.ended()
            return {"kind": "crash"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _end(self) -> int:
        """Wait from the start on: who asks when the child has ended already is not told when its pipes have closed."""
        status = await self._process.wait()
        await self._reading
        return status

    async def _read_log(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101  # asked for above
        while piece := await stderr.read(LOG_BYTES):
            self._log += piece
            del self._log[:-LOG_BYTES]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not SECRET.fullmatch(name)} | dict(ENVIRONMENT)
