"""The programs in examples/ do what they say."""

import json
import subprocess

from support.sdks import ALL, clean_environment
from support.server import RunningServer
from support.source import ROOT

NEWEST = [sdk for sdk in ALL if sdk.language == "py"][-1]


def test_the_classifier_answers_every_line_in_order(server: RunningServer) -> None:
    """examples/classify.py, with the newest SDK: each line of the file comes back with an answer."""
    reviews = ROOT / "examples" / "reviews.txt"
    said = _run([str(NEWEST.python), str(ROOT / "examples" / "classify.py"), str(reviews)], server)
    rows = [line.split("\t") for line in said.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [
        (str(number), text) for number, text in enumerate(reviews.read_text("utf-8").splitlines(), 1)
    ]
    assert all(row[1] for row in rows)


def test_the_shell_batch_prints_one_line_per_request(server: RunningServer) -> None:
    """examples/batch.sh: curl and sed are enough."""
    lines = [json.loads(line) for line in _run([str(ROOT / "examples" / "batch.sh")], server).splitlines()]
    assert {line["custom_id"]: line["result"]["type"] for line in lines} == {
        "first": "succeeded",
        "second": "succeeded",
    }


def _run(command: list[str], server: RunningServer) -> str:
    environment = clean_environment(
        ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY=server.api_key, POLL_SECONDS="0.05"
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
