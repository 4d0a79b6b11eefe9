"""A malformed corpus: each source ends in its own error, its neighbours are read, and the server is not held up."""

import asyncio
import base64
import random
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from slackwater.clock import SystemClock
from slackwater.documents import Documents
from slackwater.domain.document import PDF, DocumentError
from slackwater.domain.file import File
from slackwater.domain.ids import FILE
from slackwater.ports import Call
from support.pdf import bomb_pdf, content_pdf, deep_pdf, deflated, encrypted_pdf, pages_pdf, text_pdf
from support.waiting import until
from support.worker import WORKSPACE, Worker, message, working

HELD_SECONDS_MAX: Final = 0.05
TRIES: Final = 5
"""Something else may hold it once; code that holds the loop does so every time."""
WHOLE: Final = text_pdf([f"제{number}쪽" for number in range(1, 6)])


def pages_of_unequal_worth() -> bytes:
    """Say that there are more pages than there are."""
    return text_pdf(["a", "b"]).replace(b"/Count 2", b"/Count 9")


def itself_pdf() -> bytes:
    """Be one's own page tree."""
    return pages_pdf([""]).replace(b"/Kids [3 0 R]", b"/Kids [2 0 R]")


def picture_pdf() -> bytes:
    """Show a picture of 7.5 GB."""
    return content_pdf(
        b"q 600 0 0 600 0 0 cm BI /W 50000 /H 50000 /BPC 8 /CS /RGB /F /Fl ID " + deflated(64) + b" EI Q", ""
    )


CORPUS: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "empty": (lambda: b"", "The PDF is empty"),
    "html": (lambda: b"<!DOCTYPE html><title>paper.pdf</title>", "The file is not a PDF"),
    "header only": (lambda: b"%PDF-1.7\n", "The PDF is cut off"),
    "half": (lambda: WHOLE[: len(WHOLE) // 2], "The PDF is cut off"),
    "without its last bytes": (lambda: WHOLE[:-60], "The PDF is cut off"),
    "noise": (lambda: b"%PDF-1.7\n" + bytes(range(256)) * 40 + b"startxref\n0\n%%EOF", "The PDF is damaged"),
    "encrypted": (encrypted_pdf, "The PDF is password-protected"),
    "unknown encryption": (
        lambda: encrypted_pdf().replace(b"/Standard", b"/Surprise"),
        "encrypted in a way that is not",
    ),
    "no pages": (lambda: pages_pdf([]), "The PDF is damaged"),
    "601 pages": (lambda: pages_pdf([""] * 601), "The PDF has 601 pages; at most 600 are allowed"),
    "10,000 pages": (lambda: pages_pdf([""] * 10_000), "The PDF has 10,000 pages; at most 600 are allowed"),
    "missing pages": (pages_of_unequal_worth, "Page 3 of the PDF is damaged"),
    "deep tree": (lambda: deep_pdf(5_000), "Page 1 of the PDF is damaged"),
    "endless tree": (itself_pdf, "Page 1 of the PDF is damaged"),
    "zip bomb": (lambda: bomb_pdf(900), "reading it takes more than 512 MiB of memory"),
    "nested zip bomb": (
        lambda: content_pdf(deflated(1, deflated(900)), "/Filter [/FlateDecode /FlateDecode]"),
        "reading it takes more than 512 MiB of memory",
    ),
}


PICTURES: Final[dict[str, tuple[bytes, str]]] = {
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "The data is not a PNG, JPEG, GIF or WebP image"),
    "html": (b"<!DOCTYPE html><title>a.png</title>", "The data is not a PNG, JPEG, GIF or WebP image"),
    "50,000 x 50,000": (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 50_000, 50_000) + bytes(100),
        "The image is 50,000 x 50,000 pixels; at most 8,000 on either side are allowed",
    ),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), "The image was specified using the image/png media type"),
    "pdf": (WHOLE, "The data is not a PNG, JPEG, GIF or WebP image"),
}
"""All of them named .png."""


@pytest.fixture
async def documents() -> AsyncIterator[Documents]:
    one = Documents(clock=SystemClock())
    yield one
    await one.close()


class Beat:
    """How long the loop was not there for anybody else.

    Other processes may have had the core meanwhile: no more counts than the processor time of this one.
    """

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._last = time.perf_counter(), time.process_time()
        self._handle = asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        now = time.perf_counter(), time.process_time()
        held_seconds = min(now[0] - self._last[0] - 0.005, now[1] - self._last[1])
        self.longest_seconds = max(self.longest_seconds, held_seconds)
        self._last = now
        self._handle = asyncio.get_running_loop().call_later(0.005, self._tick)

    def stop(self) -> None:
        self._handle.cancel()


@contextmanager
def beat() -> Iterator[Beat]:
    one = Beat()
    try:
        yield one
    finally:
        one.stop()


async def read_between_neighbours(documents: Documents, data: bytes | Path) -> tuple[str, float]:
    """Read it with an innocent one before and behind it; return the reason and how long the loop was held."""
    with beat() as pulse:
        before, spoiled, behind = await asyncio.gather(
            *(documents.read_pdf(one, images=True) for one in (WHOLE, data, WHOLE)), return_exceptions=True
        )
    for neighbour in (before, behind):
        assert isinstance(neighbour, PDF)
        assert [page.text for page in neighbour.pages] == [f"제{number}쪽" for number in range(1, 6)]
    assert isinstance(spoiled, DocumentError)
    return spoiled.reason, pulse.longest_seconds


@pytest.mark.parametrize("name", CORPUS)
async def test_a_malformed_pdf_ends_in_its_own_error_and_its_neighbours_are_read(
    documents: Documents, name: str
) -> None:
    """C7: the reading process may die of it; nobody else notices, and the loop is never held for long."""
    make, reason = CORPUS[name]
    data = make()
    for _ in range(TRIES):
        said, held_seconds = await read_between_neighbours(documents, data)
        assert reason in said
        assert not said.endswith(".")
        if held_seconds < HELD_SECONDS_MAX:
            return
    pytest.fail(f"the loop was held for {held_seconds:.3f} s in each of {TRIES} tries")


async def test_a_document_s_reason_is_not_that_of_the_one_before_it(documents: Documents) -> None:
    """C7: the library remembers its last error, and does not set one for every file that it cannot open."""
    for before in (encrypted_pdf(), encrypted_pdf().replace(b"/Standard", b"/Surprise"), pages_pdf([])):
        with pytest.raises(DocumentError):
            await documents.read_pdf(before, images=False)
        (reader,) = documents._idle
        with pytest.raises(DocumentError, match="The PDF is damaged"):
            await documents.read_pdf(pages_pdf([]), images=False)
        assert documents._idle == [reader], "another process knows nothing of the one before it"


async def test_a_large_document_does_not_hold_the_loop_either(documents: Documents) -> None:
    """C7: 64 MB handed over as bytes, and 600 full pages coming back."""
    data = text_pdf(["국민의 자유와 권리. " * 60] * 600) + b"%" + bytes(2**26) + WHOLE[-40:]
    held = []
    for _ in range(TRIES):
        with beat() as pulse:
            pdf = await documents.read_pdf(data, images=False)
        assert len(pdf.pages) == 600
        held.append(pulse.longest_seconds)
        if held[-1] < HELD_SECONDS_MAX:
            return
    pytest.fail(f"the loop was held for {held} s")


async def test_what_a_page_shows_needs_no_more_memory_than_it_may(documents: Documents) -> None:
    """C7: a picture of 7.5 GB, drawn or left out, and pages of absurd sizes; nothing of it reaches this process."""
    before = resident_bytes()
    for data in (picture_pdf(), text_pdf(["x"], size=(1e9, 1e9)), text_pdf(["x"], size=(14_400, 0.01))):
        try:
            pdf = await documents.read_pdf(data, images=True)
        except DocumentError:
            continue
        assert len(pdf.pages[0].image or b"") < 2**20
    assert resident_bytes() - before < 16 * 2**20


@pytest.mark.parametrize("seed", range(3))
async def test_bytes_turned_at_random_never_break_more_than_their_document(documents: Documents, seed: int) -> None:
    """C7: whatever the parser does with them, it is an answer or a DocumentError, and the next one is read."""
    chance = random.Random(seed)  # noqa: S311  # to be repeatable
    for _ in range(40):
        data = bytearray(WHOLE)
        for _ in range(chance.randint(1, 60)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            pdf = await documents.read_pdf(bytes(data), images=False)
        except DocumentError:
            continue
        assert 0 < len(pdf.pages) <= 600
    assert len((await documents.read_pdf(WHOLE, images=False)).pages) == 5


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 50_000, 50_000) + bytes(2**24),
        b"<svg xmlns='http://www.w3.org/2000/svg'>" + b" " * 2**24,
        b"\xff\xd8" + b"\xff\xe1\x00\x02" * 2**22,
    ],
    ids=["50,000 x 50,000", "SVG named .png", "a JPEG of empty segments"],
)
async def test_an_image_is_judged_in_no_time(documents: Documents, data: bytes) -> None:
    """C6: in the loop itself, without decoding anything."""
    before, fastest = resident_bytes(), 1.0
    for _ in range(TRIES):
        started = time.perf_counter()
        with pytest.raises(DocumentError):
            documents.look_at_image(data, media_type="image/png")
        fastest = min(fastest, time.perf_counter() - started)
    assert fastest < HELD_SECONDS_MAX
    assert resident_bytes() - before < 16 * 2**20


async def seen_by_a_worker(directory: Path) -> float:
    """Give a worker one batch with all of the corpus, by file and in the request; return how long its loop was held."""
    directory.mkdir()  # noqa: ASYNC240  # nothing else is running yet
    sent: dict[str, Any] = {}

    async def answer(call: Call) -> dict[str, Any]:
        sent[str(call.custom_id)] = call.params["messages"][0]["content"]
        return message()

    async with working(directory, answer) as worker:
        requests, reasons = {}, {}
        for name, (data, reason, kind) in spoiled().items():
            media_type = "image/png" if kind == "image" else "application/pdf"
            source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
            file = {"type": "file", "file_id": await stored(worker, directory / "upload", data, media_type)}
            for how in (source, file) if data else (file,):  # an empty one is refused before it comes here
                number = len(requests)
                content = [*[{"type": "text", "text": f"a{place}"} for place in range(number % 4)]]
                path = f"messages.0.content.{len(content)}.{kind}.source.{how['type']}"
                requests[f"r{number}"] = asking([*content, {"type": kind, "source": how}])
                reasons[f"r{number}"] = (name, path, reason)
        whole = {"type": "file", "file_id": await stored(worker, directory / "upload", WHOLE, "application/pdf")}
        mixed = list(requests)
        for place in range(len(mixed)):  # a neighbour behind each of them
            mixed.insert(2 * place + 1, f"good{place}")
            requests[f"good{place}"] = asking([{"type": "document", "source": whole}])
        ordered = {name: requests[name] for name in mixed}
        with beat() as pulse:
            batch = await worker.ended(await worker.create(ordered), deadline_seconds=300)
            lines = await worker.lines(batch)
        for name, (what, path, reason) in reasons.items():
            error = lines[name]["error"]["error"]
            assert (what, error["type"]) == (what, "invalid_request_error")
            assert error["message"].startswith(f"{path}: "), (what, error)
            assert reason in error["message"], (what, error)
        good = {name for name in ordered if name.startswith("good")}
        assert {name for name, line in lines.items() if line["type"] == "succeeded"} == good == set(sent)
        assert all("제5쪽" in blocks[0]["source"]["data"] for blocks in sent.values())
        documents: Any = worker.sources._documents
        assert len(documents._idle) <= 1, "more processes than there may be"
        again = await documents.read_pdf(WHOLE + b"%again", images=True)
        assert len(again.pages) == 5
        (reader,) = documents._idle
        assert not reader.dead
    return pulse.longest_seconds


def spoiled() -> dict[str, tuple[bytes, str, str]]:
    """Return what a request can bring along that is none, why, and as which kind of block."""
    found = {name: (make(), reason, "document") for name, (make, reason) in CORPUS.items()}
    return found | {f"{name}.png": (data, reason, "image") for name, (data, reason) in PICTURES.items()}


async def stored(worker: Worker, path: Path, data: bytes, mime_type: str) -> str:
    """Keep bytes as a file of the worker's workspace, whatever they are; return its id."""
    path.write_bytes(data)  # noqa: ASYNC240  # nothing else is running yet
    file = File(
        id=worker.admit._ids.new(FILE),
        workspace_id=WORKSPACE,
        filename="a",
        mime_type=mime_type,
        size_bytes=len(data),
        digest=sha256(data).digest(),
        blob_key=f"files/{worker.admit._ids.new('blob')}",
        created_at=worker.clock.now(),
    )
    await worker.blobs.put_file(file.blob_key, path)
    return (await worker.store.add_file(file, quota_bytes=2**40)).id


def asking(content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


async def test_a_batch_of_everything_malformed_costs_a_worker_nothing(tmp_path: Path) -> None:
    """C6, C7, S8: each in its own words with its path, its neighbours answered, readers in place, the loop free."""
    held = []
    for number in range(TRIES):
        held.append(await seen_by_a_worker(tmp_path / str(number)))
        if held[-1] < HELD_SECONDS_MAX:
            return
    pytest.fail(f"the loop was held for {held} s")


SERVER: Final = """
import asyncio, sys
from slackwater.clock import SystemClock
from slackwater.documents import Documents

async def main():
    documents = Documents(clock=SystemClock())
    await documents.read_pdf(open(sys.argv[1], "rb").read(), images=False)
    print(documents._idle[0]._process.pid, flush=True)
    if sys.argv[2] == "busy":
        await documents.read_pdf(open(sys.argv[3], "rb").read(), images=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_reading_process_never_outlives_its_server(tmp_path: Path, state: str) -> None:
    """Also when the server is killed, and whatever is being read at that moment."""
    (tmp_path / "whole").write_bytes(WHOLE)
    (tmp_path / "bomb").write_bytes(bomb_pdf(30, b"q 1 0 0 1 0 0 cm Q ", pages=100))
    command = [sys.executable, "-c", SERVER, str(tmp_path / "whole"), state, str(tmp_path / "bomb")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        if state == "busy":
            until(lambda: (processor_ticks(pid) or 0) > 50)
        server.kill()
        until(lambda: processor_ticks(pid) is None, deadline_seconds=5)


def processor_ticks(pid: int) -> int | None:
    """Return how much processor time it has used; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return None
    return None if fields[0] == "Z" else int(fields[11]) + int(fields[12])


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096
