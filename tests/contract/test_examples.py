"""The programs in examples/ do what they say."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

from slackwater.config import load
from support.pdf import text_pdf
from support.sdks import ALL, clean_environment
from support.server import RunningServer
from support.source import ROOT

NEWEST = [sdk for sdk in ALL if sdk.language == "py"][-1]
NEWEST_TYPESCRIPT = [sdk for sdk in ALL if sdk.language == "ts"][-1]
YOURS = runpy.run_path(str(ROOT / "examples" / "yours.py"))


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


def test_the_python_that_the_demo_ends_with_runs_as_printed(server: RunningServer, tmp_path: Path) -> None:
    """What people paste is not an abridgement: a batch is made, and a file is there to be named in requests."""
    (tmp_path / "contract.pdf").write_bytes(text_pdf(["Who? When? How much?"]))
    program = YOURS["PYTHON"] + "\nprint(batch.id, document['source']['file_id'])"
    batch_id, file_id = _run([str(NEWEST.python), "-c", program], server, tmp_path).split()
    assert batch_id.startswith("msgbatch_")
    assert file_id.startswith("file_")


def test_the_typescript_that_the_demo_ends_with_runs_as_printed(server: RunningServer, tmp_path: Path) -> None:
    """It has no types of its own, so that Node runs it as it is."""
    (tmp_path / "node_modules").symlink_to(NEWEST_TYPESCRIPT.home / "node_modules")
    (tmp_path / "pasted.mjs").write_text(YOURS["TYPESCRIPT"] + "\nconsole.log(batch.id);", encoding="utf-8")
    assert _run(["node", "pasted.mjs"], server, tmp_path).startswith("msgbatch_")


def test_the_curl_that_the_demo_ends_with_runs_as_printed(server: RunningServer, tmp_path: Path) -> None:
    """A shell that was given the address and the key makes a batch of it, and the next lines find that batch."""
    made = json.loads(_run(["sh", "-c", YOURS["CURL"]], server, tmp_path))
    assert made["processing_status"] == "in_progress"
    beside = str(Path(sys.executable).parent)
    asked = YOURS["WATCH"].replace(".venv/bin", beside).splitlines()[0]
    assert made["id"] in _run(["sh", "-c", asked], server, tmp_path)


def test_the_configuration_that_the_demo_ends_with_is_one(tmp_path: Path) -> None:
    """One backend that serves every name."""
    (tmp_path / "slackwater.toml").write_text(YOURS["CONFIG"], encoding="utf-8")
    settings = load(tmp_path / "slackwater.toml", {}, {})
    assert [(model.id, model.backend) for model in settings.models] == [("*", settings.backends[0].name)]


def _run(command: list[str], server: RunningServer, folder: Path = ROOT) -> str:
    environment = clean_environment(
        ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY=server.api_key, POLL_SECONDS="0.05"
    )
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=590
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
