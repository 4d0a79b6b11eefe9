"""`slackwater simulate` as a process of its own: the backend that outlives the server and saw every call."""

import http.client
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from support.waiting import until

_LISTENING = "listening on "


@dataclass(frozen=True, kw_only=True)
class RunningSimulator:
    """One simulator."""

    url: str
    witness: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, directory: Path, *options: str) -> Self:
        """Start a simulator with a witness file in `directory`."""
        witness, log = directory / "witness.jsonl", directory / "simulator.log"
        witness.touch()
        command = [str(Path(sys.executable).with_name("slackwater")), "simulate", "--port", "0", "--witness"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, str(witness), *options], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
        text = until(lambda: found if _LISTENING in (found := log.read_text("utf-8")) else None)
        return cls(url=text.split(_LISTENING, 1)[1].split()[0], witness=witness, process=process)

    def stats(self) -> dict[str, int]:
        """Return its counters."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        try:
            connection.request("GET", "/stats")
            counters: dict[str, int] = json.load(connection.getresponse())
            return counters
        finally:
            connection.close()

    def arrived(self) -> int:
        """Return how many requests have arrived."""
        return self.stats().get("arrived", 0)

    def arrivals(self) -> Counter[str]:
        """Return how often each custom_id arrived."""
        return Counter(json.loads(line)["custom_id"] for line in self.witness.read_text("utf-8").splitlines())

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
