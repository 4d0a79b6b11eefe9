"""`slackwater files`: forms that any server reads, data on stdout, nothing sent by mistake."""

import asyncio
import io
import json
import os
import pty
from pathlib import Path
from typing import Any

import pytest
from python_multipart.multipart import parse_form

from .conftest import BATCH_ID, FILE, FILE_ID, Command, FakeAPI, error, start, variables

FILES = "/v1/files"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Write a PDF, or what passes for one."""
    path = tmp_path / "contract.pdf"
    path.write_bytes(b"%PDF-1.7\r\n--x\r\n")
    return str(path)


def forms(api: FakeAPI) -> list[tuple[dict[str, bytes], tuple[str | None, str | None, bytes]]]:
    """Read the uploads with somebody else's parser: their fields, and the file's name, type and bytes."""
    found = []
    for headers, body in api.ask("POST", FILES):
        assert headers["content-length"] == str(len(body))
        fields: dict[str, bytes] = {}
        parts: list[Any] = []
        parse_form(
            {"Content-Type": headers["content-type"].encode()},
            io.BytesIO(body),
            lambda field, fields=fields: fields.update({field.field_name.decode(): field.value}),
            parts.append,
        )
        if parts:
            (part,) = parts
            part.file_object.seek(0)
            file = (part.file_name.decode(), part.content_type, part.file_object.read())
        else:
            file = (None, None, fields.pop("file"))
        found.append((fields, file))
    return found


async def test_an_upload_sends_a_form_and_prints_the_answer_unchanged(
    api: FakeAPI, command: Command, source: str
) -> None:
    """One call; what is said about it goes to stderr."""
    ended = await command("files", "upload", source)
    assert (ended.code, ended.out) == (0, json.dumps(FILE) + "\n")
    assert ended.err == f"sending contract.pdf, 15 bytes, to {api.url}\n"
    ((fields, file),) = forms(api)
    assert fields == {}
    assert (file[0], file[2]) == ("contract.pdf", b"%PDF-1.7\r\n--x\r\n")


async def test_what_is_said_about_a_file_is_sent_with_it(api: FakeAPI, command: Command, source: str) -> None:
    """Lifetime in seconds, media type, another name."""
    options = ("--expires-in", "7d", "--mime-type", "text/plain", "--filename", "보고서.txt")
    ended = await command("files", "upload", source, *options, "-q")
    assert (ended.code, ended.out) == (0, FILE_ID + "\n")
    ((fields, file),) = forms(api)
    assert fields == {"expires_in_seconds": b"604800"}
    assert file[:2] == ("보고서.txt", "text/plain")


async def test_stdin_has_no_name_unless_it_is_given_one(api: FakeAPI, command: Command) -> None:
    """The server makes one up."""
    await command("files", "upload", "-", stdin=b"bytes\xff")
    await command("files", "upload", "-", "--filename", "a.bin", stdin=b"more")
    (_, first), (_, second) = forms(api)
    assert first == (None, None, b"bytes\xff")
    assert (second[0], second[2]) == ("a.bin", b"more")


async def test_a_name_cannot_break_out_of_its_place(api: FakeAPI, command: Command, tmp_path: Path) -> None:
    """Quotes and line ends are written as browsers write them."""
    path = tmp_path / 'a"b\r\nx.txt'
    path.write_bytes(b"x")
    await command("files", "upload", str(path))
    ((_, body),) = api.ask("POST", FILES)
    assert b'filename="a%22b%0D%0Ax.txt"\r\n' in body


async def test_several_files_are_printed_one_by_one(api: FakeAPI, command: Command, tmp_path: Path) -> None:
    """One line of JSON each; those that were stored are printed although a later one fails."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    ended = await command("files", "upload", "a", "b")
    assert (ended.code, len(ended.out.splitlines())) == (0, 2)
    assert [file[2] for _, file in forms(api)] == [b"a", b"b"]


async def test_nothing_is_sent_when_one_path_is_wrong(api: FakeAPI, command: Command, source: str) -> None:
    """Looked at before the first is sent."""
    for wrong, words in (("missing.pdf", "there is no such file"), (".", "is a directory")):
        ended = await command("files", "upload", source, wrong)
        assert (ended.code, ended.out) == (1, "")
        assert words in ended.err
    assert not api.seen


@pytest.mark.parametrize(
    "arguments",
    [
        ("upload",),
        ("upload", "-", "-"),
        ("upload", "a", "b", "--filename", "c"),
        ("upload", "a", "--expires-in", "soon"),
        ("retrieve", "../batches"),
        ("download", FILE_ID, "-o", "-"),
        ("delete", FILE_ID),
        ("list", "--limit", "1001"),
    ],
)
async def test_what_makes_no_sense_is_exit_code_2(api: FakeAPI, command: Command, arguments: tuple[str, ...]) -> None:
    """Before anything is asked or sent; deleting without a terminal needs --yes."""
    ended = await command("files", *arguments)
    assert (ended.code, ended.out, api.seen) == (2, "", [])


async def test_a_server_that_is_full_is_asked_again_with_the_whole_file(
    api: FakeAPI, command: Command, source: str
) -> None:
    """It said that it did nothing: a repetition makes no second file."""
    api.failures = [(529, error("overloaded_error", "Overloaded"), {"retry-after": "0"})]
    ended = await command("files", "upload", source)
    assert ended.code == 0
    first, second = forms(api)
    assert first == second


async def test_an_upload_whose_answer_did_not_come_is_not_repeated(command: Command, source: str) -> None:
    """It may have been stored: a second file would be nobody's wish."""
    calls = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"--x\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        ended = await command("files", "upload", source, SLACKWATER_BASE_URL=f"http://127.0.0.1:{port}")
    assert (ended.code, ended.out, calls) == (1, "", 1)
    assert "look whether it was" in ended.err


async def test_a_refused_upload_says_why(api: FakeAPI, command: Command, source: str) -> None:
    """Three lines on stderr, nothing on stdout."""
    api.failures = [(413, error("request_too_large", "Request exceeds the maximum size"), {"request-id": "req_01Test"})]
    ended = await command("files", "upload", source)
    assert (ended.code, ended.out) == (1, "")
    assert "Request exceeds the maximum size (request_too_large)\nrequest id: req_01Test" in ended.err


async def test_a_list_is_the_body_of_the_api(api: FakeAPI, command: Command) -> None:
    """Pages follow each other by `next_page`."""
    ended = await command("files", "list", "--limit", "7", "--page", "page_a")
    assert json.loads(ended.out) == {"data": [FILE], "next_page": "page_x"}
    assert api.ask("GET", f"{FILES}?limit=7&page=page_a")


async def test_retrieve_and_delete_print_what_the_api_says(api: FakeAPI, command: Command) -> None:
    """Batches that still need the bytes are named on stderr."""
    shown = await command("files", "retrieve", FILE_ID)
    assert json.loads(shown.out) == FILE
    gone = await command("files", "delete", FILE_ID, "--yes")
    assert json.loads(gone.out) == {"id": FILE_ID, "type": "file_deleted"}
    assert gone.err == f"its bytes are kept until these batches have ended: {BATCH_ID}\n"
    assert api.ask("DELETE", f"{FILES}/{FILE_ID}")


async def test_an_unknown_file_leads_to_the_list_of_files(api: FakeAPI, command: Command) -> None:
    """The next step is one that helps."""
    api.failures = [(404, error("not_found_error", f"File `{FILE_ID}` not found."), {})]
    ended = await command("files", "retrieve", FILE_ID)
    assert "next: `slackwater files list` shows what this key can see" in ended.err


async def test_a_download_is_whole_or_not_there(api: FakeAPI, command: Command, tmp_path: Path) -> None:
    """Cut twice on its way, continued, and the same bytes; without -o they go to stdout."""
    api.results = b"0123456789" * 100
    api.results_cut_at = [300, 300]
    ended = await command("files", "download", FILE_ID, "-o", "copy.pdf")
    assert (ended.code, ended.out) == (0, "")
    assert (tmp_path / "copy.pdf").read_bytes() == api.results
    assert [*tmp_path.glob("copy*")] == [tmp_path / "copy.pdf"]  # noqa: ASYNC240  # a tiny directory
    piped = await command("files", "download", FILE_ID)
    assert piped.out.encode() == api.results


async def on_a_terminal(api: FakeAPI, directory: Path, *arguments: str) -> tuple[int, str]:
    """Run a command whose stdout is a terminal; return its exit code and what was shown there."""
    terminal, end = pty.openpty()
    process = await start("files", *arguments, cwd=directory, stdout=end, **variables(api))
    await asyncio.wait_for(process.communicate(), 20)
    os.set_blocking(terminal, False)
    try:
        shown = os.read(terminal, 65_536).decode()
    except BlockingIOError:
        shown = ""
    os.close(terminal)
    os.close(end)
    assert process.returncode is not None
    return process.returncode, shown


async def test_a_terminal_gets_a_table_and_never_a_file_s_bytes(api: FakeAPI, tmp_path: Path, source: str) -> None:
    """As with batches; bytes need a file to go to."""
    code, shown = await on_a_terminal(api, tmp_path, "upload", source)
    head, row = shown.split("\r\n")[:2]
    assert (code, head.split()) == (0, ["ID", "FILENAME", "BYTES", "TYPE", "CREATED", "EXPIRES"])
    assert row.split()[:4] == [FILE_ID, "contract.pdf", "1,048,576", "application/pdf"]
    assert await on_a_terminal(api, tmp_path, "download", FILE_ID) == (2, "")
