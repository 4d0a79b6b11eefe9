"""`slackwater batches`: streams, exit codes, files that are whole or not there."""

import asyncio
import gzip
import json
import os
import pty
import signal
from pathlib import Path

import pytest
import zstandard

from slackwater.cli import follow

from .conftest import BATCH_ID, KEY, Command, FakeAPI, batch, error, lines, progress, start, variables

ENTRIES = [
    {"custom_id": name, "params": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}}
    for name in ("a", "b")
]
JSONL = "".join(json.dumps(entry) + "\n" for entry in ENTRIES).encode()
CREATE = "/v1/messages/batches"
RESULTS = f"{CREATE}/{BATCH_ID}/results"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Write a batch of two requests."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(JSONL)
    return str(path)


async def test_json_is_the_body_of_the_api_unchanged(api: FakeAPI, command: Command) -> None:
    """Piped or with --json, stdout has the API's bytes and nothing else; messages go to stderr."""
    for arguments in (("retrieve", BATCH_ID), ("retrieve", BATCH_ID, "--json")):
        ended = await command("batches", *arguments)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == json.dumps(api.batch) + "\n"


async def test_the_key_and_the_version_are_sent(api: FakeAPI, command: Command) -> None:
    """Every call names its version and carries the key (contract §1.1, §1.3)."""
    await command("batches", "list", "--limit", "7", "--after-id", "x")
    ((headers, _),) = api.ask("GET", f"{CREATE}?limit=7&after_id=x")
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(401, "authentication_error", 4), (403, "permission_error", 4), (404, "not_found_error", 1), (400, "x", 1)],
)
async def test_a_refusal_is_what_request_id_and_next_step_with_nothing_on_stdout(
    api: FakeAPI, command: Command, status: int, kind: str, code: int
) -> None:
    """Three lines at most, on stderr; the exit code tells authentication from the rest; no retry."""
    api.failures = [(status, error(kind, "no such thing"), {"request-id": "req_01Test"})]
    ended = await command("batches", "retrieve", BATCH_ID)
    assert (ended.code, ended.out) == (code, "")
    told = ended.err.splitlines()
    assert told[:2] == [f"no such thing ({kind})", "request id: req_01Test"]
    assert len(told) == 2 or told[2].startswith("next: ")
    assert len(api.seen) == 1


async def test_what_a_repetition_may_cure_is_repeated(api: FakeAPI, command: Command, source: str) -> None:
    """A create that met 529 goes out again under the same Idempotency-Key, so that it cannot become two batches."""
    api.failures = [(529, error("overloaded_error", "Overloaded"), {"retry-after": "0"})] * 2
    ended = await command("batches", "create", source, "--id-only")
    assert (ended.code, ended.out) == (0, BATCH_ID + "\n")
    calls = api.ask("POST", CREATE)
    assert len(calls) == 3
    assert len({headers["idempotency-key"] for headers, _ in calls}) == 1
    assert {body for _, body in calls} == {calls[0][1]}
    assert json.loads(calls[0][1]) == {"requests": ENTRIES}


async def test_a_server_that_says_no_retry_is_asked_once(api: FakeAPI, command: Command) -> None:
    """`x-should-retry: false` wins over the status (contract §9)."""
    api.failures = [(500, error("api_error", "broken"), {"x-should-retry": "false"})] * 2
    assert (await command("batches", "retrieve", BATCH_ID)).code == 1
    assert len(api.seen) == 1


async def test_no_server_is_said_in_one_sentence_with_the_next_step(command: Command) -> None:
    """Nobody has to read a traceback to learn that nothing is running."""
    ended = await command("batches", "list", SLACKWATER_BASE_URL="http://127.0.0.1:1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == "no server answers at http://127.0.0.1:1"
    assert "slackwater serve" in ended.err


@pytest.mark.parametrize("form", ["jsonl", "document", "gz", "zst", "stdin"])
async def test_every_form_of_input_becomes_the_same_call(
    api: FakeAPI, command: Command, tmp_path: Path, form: str
) -> None:
    """JSONL, a create body, compressed, or from stdin."""
    document = json.dumps({"requests": ENTRIES}, indent=1).encode()
    content = {
        "jsonl": JSONL,
        "document": document,
        "gz": gzip.compress(JSONL),
        "zst": zstandard.compress(document),
        "stdin": JSONL,
    }[form]
    (tmp_path / "in").write_bytes(content)
    ended = await command("batches", "create", "-" if form == "stdin" else "in", stdin=content)
    assert ended.code == 0, ended.err
    ((headers, body),) = api.ask("POST", CREATE)
    assert json.loads(body) == {"requests": ENTRIES}
    assert headers["content-length"] == str(len(body))


async def test_mistakes_are_found_before_anything_is_sent(api: FakeAPI, command: Command) -> None:
    """Line numbers are the input's; every problem is told at once."""
    bad = b"\n".join([JSONL.splitlines()[0], b"", b'{"custom_id": "b"}', b"{", JSONL.splitlines()[0], b""])
    ended = await command("batches", "create", "-", stdin=bad)
    assert (ended.code, ended.out, api.seen) == (1, "", [])
    told = ended.err.splitlines()
    assert told[0].startswith("-: line 3: Object missing required field `params`")
    assert told[1].startswith("-: line 4: ")
    assert told[2] == "-: line 5: custom_id 'a' was used at line 1 already"


async def test_a_dry_run_checks_params_and_sends_nothing(api: FakeAPI, command: Command, source: str) -> None:
    """The same validation as the server's, with line numbers."""
    fine = await command("batches", "create", source, "--dry-run")
    assert (fine.code, fine.out) == (0, "")
    assert "2 requests" in fine.err
    entry = {"custom_id": "c", "params": {"model": "m", "messages": []}}
    ended = await command("batches", "create", "-", "--dry-run", stdin=JSONL + json.dumps(entry).encode())
    assert ended.code == 1
    assert ended.err.startswith("-: line 3 (c): ")
    assert api.seen == []


async def test_waiting_ends_with_the_results_in_a_file_in_the_order_of_the_input(
    api: FakeAPI, command: Command, source: str, tmp_path: Path
) -> None:
    """--wait -o --order input: exit code 0 when everything succeeded; progress on stderr, the batch on stdout."""
    api.progress = [progress("in_progress", processing=2), progress(succeeded=2)]
    ended = await command("batches", "create", source, "--wait", "-o", "out.jsonl", "--order", "input")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == api.batch
    assert (tmp_path / "out.jsonl").read_bytes() == lines("a", "b")
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]  # noqa: PTH208  # a name is all that matters
    assert f"{BATCH_ID} in_progress: 0/2 done" in ended.err
    assert f"{BATCH_ID} ended: 2/2 done, 2 succeeded, $0.25" in ended.err


@pytest.mark.parametrize(("counts", "code"), [({"errored": 1}, 5), ({"expired": 1}, 5), ({"canceled": 1}, 0)])
async def test_a_batch_that_ended_with_failures_is_exit_code_5(
    api: FakeAPI, command: Command, counts: dict[str, int], code: int
) -> None:
    """Scripts learn of errored and expired requests without reading the results."""
    api.progress = [progress(succeeded=1, **counts)]
    api.batch = batch(succeeded=1, **counts)
    ended = await command("batches", "watch", BATCH_ID)
    assert ended.code == code
    assert json.loads(ended.out) == api.batch


async def test_a_wait_that_takes_too_long_is_exit_code_3_and_the_batch_goes_on(api: FakeAPI, command: Command) -> None:
    """The next step is the command that continues the wait."""
    api.progress = [progress("in_progress", processing=1)]
    ended = await command("batches", "watch", BATCH_ID, "--timeout", "0.3s")
    assert (ended.code, ended.out) == (3, "")
    assert f"slackwater batches watch {BATCH_ID}" in ended.err


async def test_ctrl_c_leaves_the_batch_running_and_says_how_to_come_back(api: FakeAPI, tmp_path: Path) -> None:
    """Exit code 130, no cancel."""
    api.progress = [progress("in_progress", processing=1)]
    process = await start("batches", "watch", BATCH_ID, cwd=tmp_path, **variables(api))
    assert process.stderr is not None
    assert b"in_progress" in await asyncio.wait_for(process.stderr.readline(), 20)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out) == (130, b"")
    assert f"slackwater batches watch {BATCH_ID}" in err.decode()
    assert [method for method, *_ in api.seen if method != "GET"] == []


async def test_a_wait_survives_a_server_that_restarts(api: FakeAPI, command: Command) -> None:
    """Hours of waiting do not end because the server was away for a while."""
    api.progress = [progress("in_progress", processing=1)]
    waiting = asyncio.create_task(command("batches", "watch", BATCH_ID))
    await asyncio.wait_for(api.asked.wait(), 20)
    api.failures = [(503, error("api_error", "starting"), {"retry-after": "0"})] * 8
    api.progress = [progress(succeeded=1)]
    ended = await waiting
    assert ended.code == 0, ended.err


async def test_progress_is_a_bar_on_a_terminal(api: FakeAPI, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done of all, the counts, the cost so far."""
    monkeypatch.setattr(follow, "styled", lambda: True)
    api.progress = [progress("in_progress", processing=2), progress("in_progress", processing=1, succeeded=1)]
    api.progress += [progress(succeeded=1, errored=1)]
    ended = await command("batches", "watch", BATCH_ID)
    assert ended.code == 5
    assert "2/2" in ended.err
    assert "1 succeeded, 1 errored, $0.25" in ended.err


async def test_a_server_without_the_progress_route_can_be_watched(api: FakeAPI, command: Command) -> None:
    """The official API has no such extension: the batch object says enough."""
    ended = await command("batches", "watch", BATCH_ID)
    assert ended.code == 0
    assert json.loads(ended.out) == api.batch


async def test_a_download_that_is_cut_goes_on_where_it_stopped(api: FakeAPI, command: Command, tmp_path: Path) -> None:
    """R1, R2: Range and If-Range; the file appears under its name only when it is whole."""
    api.results = lines(*(f"row-{n}" for n in range(200)))
    api.results_cut_at = [1000, 0, 5000]
    ended = await command("batches", "results", BATCH_ID, "-o", "out.jsonl")
    assert ended.code == 0, ended.err
    assert (tmp_path / "out.jsonl").read_bytes() == api.results
    assert os.listdir(tmp_path) == ["out.jsonl"]  # noqa: PTH208  # likewise
    ranges = [headers.get("range") for headers, _ in api.ask("GET", RESULTS)]
    assert ranges[0] is None
    assert ranges[-1] is not None
    assert api.ask("GET", RESULTS)[-1][0]["if-range"] == '"v1"'


async def test_an_interrupted_download_is_continued_by_the_next_call(
    api: FakeAPI, command: Command, tmp_path: Path
) -> None:
    """What lies in FILE.part is not fetched again, also when it was complete already."""
    for have in (1000, len(api.results)):
        (tmp_path / "out.jsonl.part").write_bytes(api.results[:have])
        (tmp_path / "out.jsonl.part.etag").write_text('"v1"')
        ended = await command("batches", "results", BATCH_ID, "-o", "out.jsonl")
        assert ended.code == 0, ended.err
        assert (tmp_path / "out.jsonl").read_bytes() == api.results
    wanted = [f"bytes={min(1000, len(api.results)) - 1}-", f"bytes={len(api.results) - 1}-"]
    assert [headers["range"] for headers, _ in api.ask("GET", RESULTS)] == wanted


async def test_a_download_that_cannot_be_finished_leaves_no_file(
    api: FakeAPI, command: Command, tmp_path: Path
) -> None:
    """A reader never meets half of the results."""
    api.results_cut_at = [0] * 20
    ended = await command("batches", "results", BATCH_ID, "-o", "out.jsonl")
    assert ended.code == 1
    assert not (tmp_path / "out.jsonl").exists()


async def test_results_flow_to_stdout_unchanged(api: FakeAPI, command: Command, source: str) -> None:
    """Byte for byte, or in the order of the input when it is given."""
    assert (await command("batches", "results", BATCH_ID)).out.encode() == api.results
    ordered = await command("batches", "results", BATCH_ID, "--order", "input", "--input", source)
    assert ordered.out.encode() == lines("a", "b")


async def test_a_reader_that_has_seen_enough_is_no_error(api: FakeAPI, tmp_path: Path) -> None:
    """`slackwater batches results … | head -1` exits 0."""
    api.results = lines(*(f"row-{n}" for n in range(20_000)))
    reader, writer = os.pipe()
    process = await start("batches", "results", BATCH_ID, cwd=tmp_path, stdout=writer, **variables(api))
    os.close(writer)
    await asyncio.to_thread(os.read, reader, 10)
    os.close(reader)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")


async def test_a_terminal_is_not_steered_by_what_a_model_wrote(api: FakeAPI, tmp_path: Path) -> None:
    """C4: escape sequences, C1 controls and reordering marks do not reach a terminal."""
    api.results = "a\x1b]52;c;aGk=\x07b\x1b[2Jc\x9b31md\u202ee한\n".encode()
    terminal, end = pty.openpty()
    process = await start("batches", "results", BATCH_ID, cwd=tmp_path, stdout=end, **variables(api))
    await asyncio.wait_for(process.communicate(), 20)
    os.set_blocking(terminal, False)
    shown = os.read(terminal, 4096).decode()
    os.close(terminal)
    os.close(end)
    assert shown.strip() == "a]52;c;aGk=b[2Jc31mde한"


async def test_deleting_asks_first(api: FakeAPI, command: Command) -> None:
    """Without a terminal to ask on, --yes is needed; usage mistakes are exit code 2."""
    refused = await command("batches", "delete", BATCH_ID)
    assert (refused.code, refused.out, api.seen) == (2, "", [])
    done = await command("batches", "delete", BATCH_ID, "--yes")
    assert json.loads(done.out) == {"id": BATCH_ID, "type": "message_batch_deleted"}


async def test_cancel_prints_the_batch(api: FakeAPI, command: Command) -> None:
    """POST without a body."""
    ended = await command("batches", "cancel", BATCH_ID)
    assert json.loads(ended.out) == api.batch
    ((_, body),) = api.ask("POST", f"{CREATE}/{BATCH_ID}/cancel")
    assert body == b""


async def test_debug_shows_the_traffic_with_the_key_masked(command: Command) -> None:
    """I4: enough to see which key it is, not enough to use it."""
    ended = await command("batches", "retrieve", BATCH_ID, "--debug")
    assert "> GET http://127.0.0.1" in ended.err
    assert "< 200 OK" in ended.err
    assert KEY not in ended.err
    assert "x-api-key: slw_…ttes" in ended.err


async def test_results_into_a_dash_are_refused_before_anything_is_sent(
    api: FakeAPI, command: Command, source: str, tmp_path: Path
) -> None:
    """`-o -` makes no file called `-`, and the refusal names the command that writes results to stdout."""
    for arguments in (("create", source, "--wait", "-o", "-"), ("results", BATCH_ID, "-o", "-")):
        ended = await command("batches", *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert "slackwater batches results ID" in " ".join(ended.err.split())
    assert not api.seen
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("content", [b"", b"\n \n"])
async def test_an_empty_input_is_called_empty(api: FakeAPI, command: Command, content: bytes) -> None:
    """Nothing at all is no truncated JSON: what is missing is a request."""
    ended = await command("batches", "create", "-", stdin=content)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == "-: there is no request in it"
    assert not api.seen
