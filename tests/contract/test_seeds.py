"""The examples of the two pages this project grew from, run as they are printed.

Only the host, the key, the path of a file and the model that is asked about it, the id of a batch and the seconds of a
sleep are put in. The pages' fragments lean on names that stand elsewhere on the page (`client`, `corpus`,
`MESSAGE_BATCH_ID`); those come as a preamble.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from support.pdf import text_pdf
from support.sdks import SDK, clean_environment
from support.server import RunningServer
from support.waiting import until

SEEDS: Final = Path(__file__).parent / "seeds"
PRINTED_HOST: Final = "https://api.anthropic.com"
MODEL: Final = "claude-haiku-4-5-20251001"
PRINTED_PATH: Final = "/path/to/contract.pdf"
PRINTED_MODEL: Final = "claude-sonnet-4-6"
PRINTED_BATCH: Final = "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"

HURRIED: Final = """
[worker]
grace_seconds = 0.2

[batches]
expires_after_seconds = 3

[[backends]]
name = "sim"
protocol = "simulated"
latency_ms = 1
"""


@pytest.fixture
def environment(server: RunningServer) -> dict[str, str]:
    """Return the variables that the SDKs and the scripts read, for the server that most examples share."""
    return _environment(server)


@pytest.fixture(scope="module")
def hurried_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Start a server whose batches expire after three seconds."""
    running = RunningServer.start(tmp_path_factory.mktemp("hurried"), HURRIED)
    try:
        yield running
    finally:
        running.stop()


def test_the_shell_example_creates_a_batch(server: RunningServer) -> None:
    """Guide, "prepare and create": the answer is the printed object, with `archived_at` besides."""
    batch = json.loads(_shell("create.sh", server))
    assert list(batch) == [
        "id",
        "type",
        "processing_status",
        "request_counts",
        "ended_at",
        "created_at",
        "expires_at",
        "archived_at",
        "cancel_initiated_at",
        "results_url",
    ]
    assert batch["processing_status"] == "in_progress"
    assert batch["request_counts"] == {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    assert _results(server, batch["id"]) == {
        "my-first-request": "succeeded",
        "my-second-request": "succeeded",
    }


def test_the_shell_example_with_prompt_caching_succeeds(server: RunningServer) -> None:
    """Guide, "prompt caching": both requests carry the same cached system blocks."""
    batch = json.loads(_shell("create_cached.sh", server))
    assert set(_results(server, batch["id"]).values()) == {"succeeded"}


def test_the_polling_example_ends_when_the_batch_does(
    python_sdk: SDK, server: RunningServer, environment: dict[str, str]
) -> None:
    """Guide, "polling": the loop says that it waits, then prints the ended batch."""
    batch_id = _create(server, {"a": "[[sim:latency=3600]] Hi"})
    program = _program("poll.py", python_sdk, f"MESSAGE_BATCH_ID = {batch_id!r}\n")
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True) as polling:
        assert polling.stdout
        assert polling.stdout.readline() == f"Batch {batch_id} is still processing...\n"
        # Somebody else ends it.
        server.call("POST", f"/v1/messages/batches/{batch_id}/cancel")
        said = polling.stdout.read()
    assert "processing_status='ended'" in said.splitlines()[-1]
    assert polling.returncode == 0


def test_the_listing_example_fetches_all_pages(
    python_sdk: SDK, server: RunningServer, environment: dict[str, str]
) -> None:
    """Guide, "list": more batches than one page of twenty are printed, newest first."""
    made = [_create(server, {"a": "Hi"}) for _ in range(22)]
    said = _python("list.py", python_sdk, environment)
    assert re.findall(r"(?:MessageBatch|^)\(id='(\w+)'", said)[:22] == made[::-1]


def test_the_canceling_example_prints_a_canceling_batch(
    python_sdk: SDK, server: RunningServer, environment: dict[str, str]
) -> None:
    """Guide, "cancel"."""
    batch_id = _create(server, {"a": "[[sim:latency=3600]] Hi"})
    said = _python("cancel.py", python_sdk, environment, f"MESSAGE_BATCH_ID = {batch_id!r}\n")
    assert "processing_status='canceling'" in said
    assert "cancel_initiated_at=datetime" in said


def test_the_classifying_example_prints_a_line_for_each_text(
    python_sdk: SDK, server: RunningServer, environment: dict[str, str]
) -> None:
    """Lesson, "100 classifications at half price": submit, poll, stream the results."""
    corpus = [f"[[sim:text=neutral]] Text {number}." for number in range(100)]
    preamble = f"from anthropic import Anthropic\nclient = Anthropic(base_url={server.url!r})\ncorpus = {corpus!r}\n"
    said = _python("classify.py", python_sdk, environment, preamble).splitlines()
    assert re.fullmatch(r"batch id: msgbatch_\w+ status: in_progress", said[0])
    assert sorted(said[1:]) == sorted(f"row-{number} neutral" for number in range(100))


def test_the_upload_example_asks_about_the_file_it_sent(
    python_sdk: SDK, environment: dict[str, str], tmp_path: Path
) -> None:
    """Lesson, "upload a PDF once and refer to it at each turn"; nothing is printed about the answer, so it is here."""
    contract = tmp_path / "contract.pdf"
    contract.write_bytes(text_pdf(["Section 5. The supplier pays for the return of goods."]))
    command = _program("upload.py", python_sdk, "")
    shown = "\nprint(resp.content[0].text, resp.stop_reason, resp.usage.input_tokens)"
    command[-1] = command[-1].replace(PRINTED_PATH, str(contract)).replace(PRINTED_MODEL, MODEL) + shown
    file_id, answer = _output(command, environment).split("\n", 1)
    assert re.fullmatch(r"file id: file_\w+", file_id)
    assert "end_turn" in answer
    assert int(answer.split()[-1]) > 10  # what the contract says, and not the question alone


def test_the_results_script_prints_the_right_word_for_each_line(hurried_server: RunningServer) -> None:
    """Guide, "retrieve results": succeeded, errored and expired lines, read with grep, cut and sed.

    The script compares with `invalid_request`, a name that no release of the API has sent, and so calls a request that
    must be fixed a server error (contract §4.6 rule 4).
    """
    texts = {
        "fine": "[[sim:text=Hello again!]] Hi",
        "late": "[[sim:latency=3600]] Hi",
        "wrong": "[[sim:status=400]] Hi",
    }
    batch_id = _create(hurried_server, texts)
    until(lambda: _ended(hurried_server, batch_id))
    said = _shell("results.sh", hurried_server, batch_id).splitlines()
    assert sorted(said) == [
        'Expired: {"custom_id":"late","result":{"type":"expired"}}',
        "Server error: wrong",
        "Success! fine",
    ]


def _shell(name: str, server: RunningServer, batch_id: str = PRINTED_BATCH) -> str:
    text = (SEEDS / name).read_text("utf-8").replace(PRINTED_HOST, server.url).replace(PRINTED_BATCH, batch_id)
    return _output(["/bin/sh", "-c", text], _environment(server))


def _python(name: str, sdk: SDK, environment: dict[str, str], preamble: str = "") -> str:
    return _output(_program(name, sdk, preamble), environment)


def _program(name: str, sdk: SDK, preamble: str) -> list[str]:
    text = re.sub(r"time\.sleep\(\d+\)", "time.sleep(0.05)", (SEEDS / name).read_text("utf-8"))
    return [str(sdk.python), "-u", "-W", "ignore", "-c", preamble + text]


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment(server: RunningServer) -> dict[str, str]:
    return clean_environment(ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY=server.api_key)


def _create(server: RunningServer, texts: dict[str, str]) -> str:
    requests = [
        {
            "custom_id": name,
            "params": {"model": MODEL, "max_tokens": 32, "messages": [{"role": "user", "content": text}]},
        }
        for name, text in texts.items()
    ]
    created: str = json.loads(server.call("POST", "/v1/messages/batches", {"requests": requests}))["id"]
    return created


def _ended(server: RunningServer, batch_id: str) -> dict[str, Any] | None:
    batch: dict[str, Any] = json.loads(server.call("GET", f"/v1/messages/batches/{batch_id}"))
    return batch if batch["processing_status"] == "ended" else None


def _results(server: RunningServer, batch_id: str) -> dict[str, str]:
    until(lambda: _ended(server, batch_id))
    lines = server.call("GET", f"/v1/messages/batches/{batch_id}/results").splitlines()
    return {line["custom_id"]: line["result"]["type"] for line in map(json.loads, lines)}
