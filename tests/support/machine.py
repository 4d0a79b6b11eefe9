"""A server to hurt, and a simulator that outlives it and saw everything: both real processes."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from support.server import RunningServer
from support.simulator import RunningSimulator
from support.waiting import until

IN_FLIGHT_MAX = 64


@dataclass
class Machine:
    """A server on one data directory, through as many lives as a test wants."""

    directory: Path
    simulator: RunningSimulator
    database: str
    settings: str = ""
    altered: dict[str, str] | None = None
    timeout_seconds: float = 20.0
    """Of a call to the backend."""
    server: RunningServer = field(init=False)

    def start(self) -> float:
        """Start the server; return how many seconds it took to be ready."""
        began = time.monotonic()
        self.server = RunningServer.start(self.directory, self.config(), altered=self.altered)
        return time.monotonic() - began

    def kill(self) -> None:
        """End it as a power button would, for this process."""
        self.server.process.kill()
        self.server.process.wait()

    def create(self, prefix: str, count: int, **params: Any) -> str:
        """Send a batch; return its id."""
        return self._create({f"{prefix}-{n}": params for n in range(count)})

    def create_with(self, texts: Mapping[str, str]) -> str:
        """Send a batch of requests, by custom_id, with a text each behind what all of them say; return its id."""
        return self._create(
            {
                name: {"messages": [{"role": "user", "content": f"this is {name} {text}"}]}
                for name, text in texts.items()
            }
        )

    def _create(self, more: Mapping[str, dict[str, Any]]) -> str:
        body = {"requests": [{"custom_id": name, "params": _params(name, params)} for name, params in more.items()]}
        return str(msgspec.json.decode(self.server.call("POST", "/v1/messages/batches", body))["id"])

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Retrieve a batch."""
        found: dict[str, Any] = msgspec.json.decode(self.server.call("GET", f"/v1/messages/batches/{batch_id}"))
        return found

    def progress(self, batch_id: str) -> dict[str, Any]:
        """Return a batch's live numbers."""
        path = f"/v1/messages/batches/{batch_id}/progress"
        found: dict[str, Any] = msgspec.json.decode(self.server.call("GET", path))
        return found

    def ended(self, batch_id: str, *, deadline_seconds: float = 90) -> dict[str, Any]:
        """Wait for a batch's end."""
        return until(
            lambda: found if (found := self.batch(batch_id))["processing_status"] == "ended" else None,
            deadline_seconds=deadline_seconds,
        )

    def results(self, batch_id: str) -> list[dict[str, Any]]:
        """Return a batch's lines."""
        text = self.server.call("GET", f"/v1/messages/batches/{batch_id}/results")
        return [msgspec.json.decode(line) for line in text.splitlines()]

    def assert_whole(self, batch_id: str, prefix: str, count: int) -> Counter[str]:
        """Assert S1 and S2 for an ended batch; return how many lines of each type it has."""
        lines = self.results(batch_id)
        assert sorted(line["custom_id"] for line in lines) == sorted(f"{prefix}-{n}" for n in range(count))
        kinds = Counter(line["result"]["type"] for line in lines)
        counts = self.batch(batch_id)["request_counts"]
        assert counts == {
            "processing": 0,
            **{kind: kinds[kind] for kind in ("succeeded", "errored", "canceled", "expired")},
        }
        return kinds

    def config(self) -> str:
        """Write the configuration that every life starts with."""
        return f"""
            [storage]
            database = "{self.database}"
            [[backends]]
            name = "witness"
            protocol = "anthropic"
            url = "{self.simulator.url}"
            max_in_flight = {IN_FLIGHT_MAX}
            timeout_seconds = {self.timeout_seconds}
            [[models]]
            id = "*"
            backend = "witness"
            price = {{ input = 1.00, output = 5.00 }}
            {self.settings}
        """


def _params(name: str, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": "some-model",
        "max_tokens": 32,
        "metadata": {"user_id": name},
        "messages": [{"role": "user", "content": f"this is {name}"}],
        **more,
    }


MakeMachine = Callable[..., Machine]
"""Machine(database, simulate=(options of the simulator, …), settings=more TOML, altered=its clocks), started."""
