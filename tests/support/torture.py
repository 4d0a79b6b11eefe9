"""A machine that is hurt at one failpoint after the other, under a client that does a bit of everything.

A supervisor starts the server again as soon as it ends, as systemd would, each life with the next failpoint armed. The
client is the official SDK with its own retries; what it was told is held against what the server shows at the end and
against what the simulator saw.
"""

import asyncio
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import anthropic

from slackwater.api.control import ControlUnavailableError, call
from slackwater.domain.errors import WireError
from slackwater.failpoints import POINTS
from support.server import API_KEY, RunningServer, free_port
from support.simulator import RunningSimulator
from support.waiting import until

T = TypeVar("T")
REQUESTS: Final = 24
IN_FLIGHT_MAX: Final = 8
PAUSE_SECONDS: Final = 0.5
LIFE_SECONDS: Final = 120.0
"""After the start; a point that was not passed by then is missed."""
DONE: Final = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """One row of the table."""

    hurt: int
    """Failpoints that fired."""
    deaths: int
    accepted: int
    """Requests of acknowledged batches."""
    finished: int
    """Requests of these whose line was read."""
    lost: int
    doubled: int
    """Lines or batches that are there twice."""
    unsure: int
    """Batches that are there although their create was given up: it ended with an error, an earlier try had not."""
    repeated: int
    """Calls that the simulator got again, those it had refused itself not counted."""
    back_seconds: float
    """The longest time from a death to the first answer."""

    def row(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


@dataclass
class Ordeal:
    """A server, its supervisor, its client."""

    directory: Path
    database: str
    simulator: RunningSimulator
    port: int = field(default_factory=free_port)
    server: RunningServer | None = None
    fired: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    deaths: int = 0
    back_seconds: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _all_done: threading.Event = field(default_factory=threading.Event)
    _problem: BaseException | None = None
    _batches: dict[str, frozenset[str]] = field(default_factory=dict)
    _given_up: list[frozenset[str]] = field(default_factory=list)
    _deleted: set[str] = field(default_factory=set)
    _read: set[str] = field(default_factory=set)
    _accepted: int = 0
    _finished: int = 0
    _doubled: int = 0

    # The supervisor

    @contextmanager
    def supervised(self, plans: list[str]) -> Iterator[threading.Event]:
        """Start the server, and again whenever it ends; yield what is set once every plan has had its life."""
        threads = [
            threading.Thread(target=self._supervise, args=(plans,)),
            threading.Thread(target=self._continue_what_stops),
        ]
        for thread in threads:
            thread.start()
        try:
            yield self._all_done
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
            if self.server is not None:
                self.server.process.kill()
                self.server.process.wait()
        if self._problem is not None:
            raise self._problem

    def _supervise(self, plans: list[str]) -> None:
        try:
            for plan in plans:
                if not self._ended.is_set():
                    self._live(plan)
            self._all_done.set()
            while not self._ended.is_set():
                self._live(DONE)
        except BaseException as problem:  # noqa: BLE001  # told to the test, in its own thread
            self._problem = problem
            self._all_done.set()

    def _live(self, plan: str) -> None:
        """Let the server live with one failpoint armed, until that has done its harm."""
        began = time.monotonic()
        try:
            self.server = RunningServer.start(self.directory, self._config(), failpoints=plan, port=self.port)
        except RuntimeError:  # it ended before it answered
            self._note(plan, died=True)
            return
        if self.deaths:
            self.back_seconds = max(self.back_seconds, time.monotonic() - began - self.server.waited_for_cpu_seconds())
        began = time.monotonic()
        process, survived_at, asked = self.server.process, 0.0, False
        while process.poll() is None and not self._ended.is_set():
            if plan != DONE and (self._has_fired(plan) or time.monotonic() - began > LIFE_SECONDS):
                survived_at = survived_at or time.monotonic()
                # It may die of it yet, or go on: what went on is asked to stop, as at an upgrade.
                if not asked and time.monotonic() - survived_at > 2 * PAUSE_SECONDS:
                    process.terminate()
                    asked = True
            threading.Event().wait(0.02)
        self._note(plan, died=process.poll() not in {None, 0})

    def _continue_what_stops(self) -> None:
        """Continue a stopped server after a while; it may not have answered yet, so that only its parent knows it."""
        while not self._ended.wait(0.05):
            for child in _stopped_children():
                self._ended.wait(PAUSE_SECONDS)
                os.kill(child, signal.SIGCONT)

    def _note(self, plan: str, *, died: bool) -> None:
        if plan != DONE:
            (self.fired if self._has_fired(plan) else self.missed).append(plan)
            self.missed += self.unpassed(POINTS) if plan.startswith("*") else []
        self.deaths += died
        with (self.directory / "torture.log").open("a", encoding="utf-8") as lives:  # for whoever looks for the reason
            lives.write(f"--- {plan or 'unharmed'}{' died' if died else ''}\n")
            lives.write((self.directory / "server.log").read_text("utf-8", errors="replace"))

    def _has_fired(self, plan: str) -> bool:
        name = plan.partition("=")[0]
        return not self.unpassed(POINTS if name == "*" else (name,))

    def unpassed(self, points: Iterable[str]) -> list[str]:
        """Return the failpoints at which nothing has happened in this life."""
        log = (self.directory / "server.log").read_text("utf-8", errors="replace")
        return [point for point in points if f"failpoint {point}: " not in log]

    # The client

    def live_through(self, plans: list[str], day: Callable[["Ordeal", int], None]) -> Tally:
        """Have days until every plan had its life, then count."""
        with self.supervised(plans) as all_done:
            for number in itertools.count():
                day(self, number)
                if all_done.is_set():
                    break
            for batch_id in list(self._batches):
                self.read(batch_id)
            shown = {batch.id for batch in self.client.messages.batches.list(limit=100)}
            kept = self._batches.keys() - self._deleted
            unsure = sum(map(self._was_given_up, shown - kept))
        refused = sum(count for name, count in self.simulator.stats().items() if name.startswith("fault_"))
        arrivals = self.simulator.arrivals()
        return Tally(
            hurt=len(self.fired),
            deaths=self.deaths,
            accepted=self._accepted,
            finished=self._finished,
            lost=self._accepted - self._finished + len(kept - shown),
            doubled=self._doubled + len(shown - kept) - unsure,
            unsure=unsure,
            repeated=max(0, arrivals.total() - len(arrivals) - refused),
            back_seconds=round(self.back_seconds, 2),
        )

    @property
    def client(self) -> anthropic.Anthropic:
        """The official SDK, patient enough for as many restarts as there are."""
        return anthropic.Anthropic(
            base_url=f"http://127.0.0.1:{self.port}",
            api_key=API_KEY,
            max_retries=1_000,
            timeout=10,
            http_client=anthropic.DefaultHttpxClient(trust_env=False),
        )

    def create(self, prefix: str, order: str = "") -> str:
        """Send a batch, its first request with an order for the simulator.

        One that is refused for good is sent again under other names: an earlier try of the SDK may have made a batch,
        whose answer was lost, and nobody could tell the two apart.
        """
        tries = itertools.count()

        def attempt() -> str:
            once = f"{prefix}_{next(tries)}"
            names = [f"{once}-{number}" for number in range(REQUESTS)]
            orders = itertools.chain([order], itertools.repeat(""))
            requests: Any = [{"custom_id": name, "params": _params(name, next(orders))} for name in names]
            self._given_up.append(frozenset(names))
            batch = self.client.messages.batches.create(requests=requests)
            assert batch.id not in self._batches, "two creates were taken for one"
            self._batches[batch.id] = self._given_up.pop()
            self._accepted += len(names)
            return batch.id

        return patiently(attempt)

    def _was_given_up(self, batch_id: str) -> bool:
        """Tell whether a batch that nobody was told of is the whole of a create that was given up, and its only one."""
        names = sorted(line.custom_id for line in self._lines(batch_id))
        of = next((given_up for given_up in self._given_up if sorted(given_up) == names), None)
        if of is not None:
            self._given_up.remove(of)
        return of is not None

    def cancel(self, batch_id: str) -> None:
        """Cancel a batch, unless it has ended meanwhile."""
        with suppress(anthropic.BadRequestError):
            patiently(lambda: self.client.messages.batches.cancel(batch_id))

    def read(self, batch_id: str) -> None:
        """Wait for a batch's end and hold its results against what was sent, once."""
        if batch_id in self._read:
            return
        self._read.add(batch_id)
        names = Counter(line.custom_id for line in self._lines(batch_id))
        assert names.keys() <= self._batches[batch_id], "a line of another batch"
        self._finished += len(names)
        self._doubled += names.total() - len(names)

    def _lines(self, batch_id: str) -> list[Any]:
        """Wait for a batch's end; return its lines, which agree with its counts and hold nobody else's answers."""
        client = self.client
        batch = until(
            lambda: found if (found := client.messages.batches.retrieve(batch_id)).ended_at else None,
            deadline_seconds=60,
        )
        lines = list(client.messages.batches.results(batch_id))
        kinds = Counter(line.result.type for line in lines)
        counts = batch.request_counts.model_dump()
        assert {kind: number for kind, number in counts.items() if number} == kinds
        for line in lines:
            if line.result.type == "succeeded":
                assert f"this is {line.custom_id} " in str(line.result.message.content), "somebody else's answer"
        return lines

    def delete(self, batch_id: str) -> None:
        """Delete a batch that was read."""
        self.read(batch_id)
        with suppress(anthropic.NotFoundError):  # the answer to an earlier try was lost
            patiently(lambda: self.client.messages.batches.delete(batch_id))
        self._deleted.add(batch_id)

    def upload_and_delete(self, content: bytes) -> None:
        """Upload a file, look at it, delete it."""
        client = self.client
        file = patiently(lambda: client.files.upload(file=("notes.txt", content, "text/plain")))
        assert client.files.retrieve_metadata(file.id).size_bytes == len(content)
        with suppress(anthropic.NotFoundError):
            patiently(lambda: client.files.delete(file.id))

    def ask(self, name: str) -> None:
        """Make a synchronous call."""
        patiently(lambda: self.client.messages.create(**_params(name)))

    def administer(self, name: str) -> None:
        """Make a workspace and a key through the control socket, and take both back."""
        self._command("workspaces.create", name=name)
        key = self._command("keys.create", workspace=name, name="a key")
        if key is not None:
            self._command("keys.revoke", id=key["id"])
        self._command("workspaces.archive", workspace=name)

    def _command(self, method: str, **params: str) -> dict[str, Any] | None:
        """Carry out a command; None where it failed, which an operator would see and repeat."""
        socket = self.directory / "data" / "control.sock"
        with suppress(WireError, ControlUnavailableError):
            return asyncio.run(call(socket, method, params))
        return None

    def _config(self) -> str:
        return f"""
            [storage]
            database = "{self.database}"
            [worker]
            lease_seconds = 2
            [[backends]]
            name = "witness"
            protocol = "anthropic"
            url = "{self.simulator.url}"
            max_in_flight = {IN_FLIGHT_MAX}
            timeout_seconds = 20
            [[models]]
            id = "*"
            backend = "witness"
        """


def patiently(step: Callable[[], T]) -> T:
    """Do a step again that was refused with the word that nothing came of it (a full disk), for a while."""

    def attempt() -> list[T]:
        try:
            return [step()]
        except anthropic.APIStatusError as error:
            if error.response.headers.get("x-should-retry") != "false" or error.status_code < 500:
                raise
            return []

    return until(attempt, deadline_seconds=30)[0]


def a_day(ordeal: Ordeal, number: int) -> None:
    """Do everything that a client and an operator do, so that every point of the path is passed."""
    ordeal.ask(f"day {number}")
    kept = ordeal.create(f"kept{number}", "[[sim:slow=1.5]]")  # results in two flushes: there is something to join
    gone = ordeal.create(f"gone{number}")
    stopped = ordeal.create(f"stopped{number}")
    ordeal.cancel(stopped)
    ordeal.upload_and_delete(b"notes of day %d" % number)
    ordeal.administer(f"workspace {number}")
    for batch_id in (gone, kept, stopped):
        ordeal.read(batch_id)
    ordeal.delete(gone)


def _params(name: str, order: str = "") -> dict[str, Any]:
    return {
        "model": "any",
        "max_tokens": 64,
        "metadata": {"user_id": name},  # what the witness writes down
        "messages": [{"role": "user", "content": f"this is {name} {order}"}],
    }


def _stopped_children() -> list[int]:
    """Return which processes of ours are stopped (state T)."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text("utf-8").split():
                state = Path(f"/proc/{child}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
                found += [int(child)] * (state == "T")
    return found
