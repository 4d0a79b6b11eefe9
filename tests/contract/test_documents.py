"""Documents through the official SDK: a file uploaded once, asked about in calls, streams, counts and batches."""

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import anthropic
import pytest

from support.pdf import text_pdf
from support.server import RunningServer, clean_environment
from support.simulator import RunningSimulator
from support.waiting import until

PAGES = [f"{number}쪽의 내용\nLine two of page {number}" for number in range(1, 121)]
PDF = text_pdf(PAGES)
TEXT = "\n".join(f'<page number="{number}">\n{page}\n</page>' for number, page in enumerate(PAGES, 1))
QUOTE = "[[sim:text=It says <cite>Line two of page 7</cite>, and <cite>what nobody wrote</cite>.]]"

CONFIG = """
[[backends]]
name = "text"
protocol = "simulated"
latency_ms = 1
witness = "witness.jsonl"

[[backends]]
name = "messages"
protocol = "anthropic"
url = "{url}"

[[backends]]
name = "chat"
protocol = "openai"
url = "{url}"

[[models]]
id = "text"
backend = "text"

[[models]]
id = "messages"
backend = "messages"

[[models]]
id = "chat"
backend = "chat"
vision = true

[[models]]
id = "short"
backend = "text"
max_input_tokens = 100
"""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    """Run the simulator that speaks HTTP."""
    running = RunningSimulator.start(tmp_path_factory.mktemp("simulator"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, simulator: RunningSimulator) -> Iterator[RunningServer]:
    """Run a server with a backend of each kind."""
    running = RunningServer.start(tmp_path_factory.mktemp("server"), CONFIG.format(url=simulator.url))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> anthropic.Anthropic:
    """Return the SDK's client."""
    return anthropic.Anthropic(api_key=server.api_key, base_url=server.url, max_retries=0)


@pytest.fixture(scope="module")
def block(client: anthropic.Anthropic) -> dict[str, Any]:
    """Return a document block with an uploaded PDF."""
    file = client.files.upload(file=("book.pdf", PDF, "application/pdf"))
    return {"type": "document", "source": {"type": "file", "file_id": file.id}, "title": "Book"}


def asking(block: dict[str, Any], text: str = "What does it say?") -> list[Any]:
    return [{"role": "user", "content": [block, {"type": "text", "text": text}]}]


def noted(path: Path) -> list[dict[str, Any]]:
    """Return what the witness saw of documents, by line."""
    return [json.loads(line).get("documents", [{}])[0] for line in path.read_text("utf-8").splitlines()]


def test_every_request_of_a_batch_carries_every_page_s_text(
    server: RunningServer, client: anthropic.Anthropic, block: dict[str, Any]
) -> None:
    """A PDF of 120 pages with Korean text, uploaded once; the witness is the simulator's own file."""
    requests: list[Any] = [
        {"custom_id": f"q{number}", "params": {"model": "text", "max_tokens": 9, "messages": asking(block)}}
        for number in range(50)
    ]
    none = {"type": "document", "source": {"type": "file", "file_id": "file_011CUvB4YyR8xM1L5tGhKpZq"}}
    requests.append({"custom_id": "x", "params": {"model": "text", "max_tokens": 9, "messages": asking(none)}})
    batch = client.messages.batches.create(requests=requests)
    until(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended")
    counts = client.messages.batches.retrieve(batch.id).request_counts
    assert (counts.succeeded, counts.errored) == (50, 1)
    digest = sha256(TEXT.encode()).hexdigest()
    seen = noted(server.data.parent / "witness.jsonl")
    assert seen == [{"characters": len(TEXT), "sha256": digest}] * 50
    (errored,) = [line.result for line in client.messages.batches.results(batch.id) if line.custom_id == "x"]
    assert errored.type == "errored"
    assert errored.error.error.type == "not_found_error"
    assert errored.error.error.message == "File `file_011CUvB4YyR8xM1L5tGhKpZq` not found."


def test_each_kind_of_backend_gets_what_it_can_read(
    client: anthropic.Anthropic, simulator: RunningSimulator, block: dict[str, Any]
) -> None:
    """The Messages protocol the PDF itself, chat completions its text and, for a model that sees, its pages."""
    native = client.messages.create(model="messages", max_tokens=500, messages=asking(block))
    assert native.content[0].type == "text"
    assert f"[application/pdf {len(PDF)} bytes" in native.content[0].text
    drawn = client.messages.create(model="chat", max_tokens=5_000, messages=asking(block))
    assert drawn.content[0].type == "text"
    assert drawn.content[0].text.count("[image/jpeg") == len(PAGES)
    pages = [f'<page number="{number}">\n{page}\n</page>' for number, page in enumerate(PAGES, 1)]
    text = "\n\n".join(pages)
    assert noted(simulator.witness)[-1] == {"characters": len(text), "sha256": sha256(text.encode()).hexdigest()}


def test_an_answer_s_quotes_are_citations_whole_and_streamed(
    client: anthropic.Anthropic, block: dict[str, Any]
) -> None:
    """The SDK's own types, the same from both."""
    messages = asking({**block, "citations": {"enabled": True}}, QUOTE)
    whole = client.messages.create(model="text", max_tokens=500, messages=messages)
    with client.messages.stream(model="text", max_tokens=500, messages=messages) as stream:
        streamed = stream.get_final_message()
    for answer in (whole, streamed):
        said = [part for part in answer.content if part.type == "text"]
        assert [part.text for part in said] == ["It says ", "Line two of page 7", ", and what nobody wrote."]
        assert [bool(part.citations) for part in said] == [False, True, False]
        (citation,) = said[1].citations or []
        assert citation.type == "page_location"
        assert (citation.start_page_number, citation.end_page_number) == (7, 8)
        assert (citation.cited_text, citation.document_index, citation.document_title) == (
            "Line two of page 7",
            0,
            "Book",
        )
        assert citation.file_id == block["source"]["file_id"]


def test_tokens_are_counted_with_the_document_and_a_prompt_that_is_surely_too_long_is_refused(
    client: anthropic.Anthropic, block: dict[str, Any]
) -> None:
    """Contract §7.2 and §2.3; the document's text counts, not its id."""
    counted = client.messages.count_tokens(model="text", messages=asking(block))
    assert counted.input_tokens > len(TEXT) // 4
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 100 maximum"):
        client.messages.create(model="short", max_tokens=9, messages=asking(block))
    with (
        pytest.raises(anthropic.BadRequestError, match="prompt is too long"),
        client.messages.stream(model="short", max_tokens=9, messages=asking(block)) as stream,
    ):
        stream.get_final_message()


@pytest.fixture(scope="module")
def stranger(server: RunningServer) -> anthropic.Anthropic:
    """Return a client of another workspace on the same server."""
    program = str(Path(sys.executable).with_name("slackwater"))

    def run(*arguments: str) -> Any:
        command = [program, *arguments, "--data", str(server.data), "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, env=clean_environment()).stdout)

    run("workspaces", "create", "strangers")
    key = run("keys", "create", "--workspace", "strangers")["key"]
    return anthropic.Anthropic(api_key=key, base_url=server.url, max_retries=0)


def test_another_workspace_s_file_is_nowhere(
    client: anthropic.Anthropic, stranger: anthropic.Anthropic, block: dict[str, Any]
) -> None:
    """W1, W2: every endpoint answers as it does for a file that never was, and equal bytes change nothing."""
    theirs, none = block["source"]["file_id"], "file_011CUvB4YyR8xM1L5tGhKpZq"

    def told(file_id: str, model: str) -> list[Any]:
        messages = asking({"type": "document", "source": {"type": "file", "file_id": file_id}})

        def streamed() -> None:
            with stranger.messages.stream(model=model, max_tokens=9, messages=messages) as stream:
                stream.get_final_message()

        calls = [
            lambda: stranger.files.retrieve_metadata(file_id),
            lambda: stranger.files.download(file_id),
            lambda: stranger.files.delete(file_id),
            lambda: stranger.messages.create(model=model, max_tokens=9, messages=messages),
            streamed,
            lambda: stranger.messages.count_tokens(model=model, messages=messages),
        ]
        found: list[Any] = []
        for call in calls:
            with pytest.raises(anthropic.NotFoundError) as error:
                call()
            body: Any = error.value.body
            found.append((error.value.status_code, body["error"]["type"], body["error"]["message"]))
        params: Any = {"model": model, "max_tokens": 9, "messages": messages}
        batch = stranger.messages.batches.create(requests=[{"custom_id": "one", "params": params}])
        until(lambda: stranger.messages.batches.retrieve(batch.id).processing_status == "ended")
        (line,) = stranger.messages.batches.results(batch.id)
        assert line.result.type == "errored"
        found.append((line.result.type, line.result.error.error.type, line.result.error.error.message))
        return [tuple(str(part).replace(file_id, "ID") for part in parts) for parts in found]

    for model in ("text", "messages"):  # one that gets text, and one that reads PDFs itself
        assert told(theirs, model) == told(none, model)
        assert {parts[2] for parts in told(theirs, model)} == {"File `ID` not found."}
    assert [file.id for file in stranger.files.list()] == []
    assert stranger.get("/v1/files?ids[]=" + theirs, cast_to=dict[str, Any])["data"] == []
    own = stranger.files.upload(file=("mine.pdf", PDF, "application/pdf"))
    assert own.id != theirs
    assert told(theirs, "text") == told(none, "text")
    assert stranger.files.delete(own.id).id == own.id
    assert client.files.retrieve_metadata(theirs).id == theirs
