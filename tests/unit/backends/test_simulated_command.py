"""`slackwater simulate` as a process: what scripts that start one rely on."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slackwater.backends.simulated.faults import _LOOKS, _SETTERS, FaultKind

PAGE = Path(__file__).resolve().parents[3] / "docs" / "simulator.md"
COMMAND = [str(Path(sys.executable).with_name("slackwater")), "simulate"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([*COMMAND, "--port", "0", *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", first)
            assert found, first
            yield process, found.group(1)
        finally:
            process.kill()


def ask(url: str, text: str) -> str:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
    with urllib.request.urlopen(f"{url}/v1/messages", json.dumps(body).encode(), timeout=10) as response:  # noqa: S310  # a loopback URL of ours
        return json.load(response)["content"][0]["text"]


def test_it_says_where_it_listens_and_ends_well_on_sigterm() -> None:
    """The first line on stderr, even with port 0; exit code 0."""
    with running("--latency-ms", "0") as (process, url):
        assert ask(url, "hello").endswith("hello")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_what_the_witness_saw_survives_kill_9(tmp_path: Path) -> None:
    """S7: the line is in the file before the answer is on the wire."""
    witness = tmp_path / "witness.jsonl"
    with running("--latency-ms", "0", "--witness", str(witness)) as (process, url):
        answer = ask(url, "hello [[id:row-1]]")
        process.kill()
    [line] = [json.loads(line) for line in witness.read_text().splitlines()]
    assert line["custom_id"] == "row-1"
    assert f"[simulated {line['digest']}]" in answer


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--faults", "429=2"], "429=2"), (["--capacity", "0"], "capacity"), (["--latency-ms", "soon"], "soon")],
)
def test_a_mistake_on_the_command_line_is_named(arguments: list[str], named: str) -> None:
    """Exit code 2 and no traceback."""
    ended = subprocess.run([*COMMAND, "--port", "0", *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_page_names_every_fault_and_every_order() -> None:
    """docs/simulator.md is complete."""
    page = PAGE.read_text(encoding="utf-8")
    missing = {name for name in {*map(str, FaultKind), *_SETTERS, *_LOOKS, "text"} if f"`{name}" not in page}
    assert missing == set()


def test_the_page_names_every_option() -> None:
    """As the command shows them."""
    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "200"})
    options = set(re.findall(r"--[a-z][a-z-]+", shown.stdout)) - {"--help"}
    page = PAGE.read_text(encoding="utf-8")
    assert len(options) > 10
    assert {option for option in options if f"`{option}" not in page} == set()
