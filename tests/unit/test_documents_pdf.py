"""Reading PDFs in processes of our own: every page in order, pictures when asked for, processes that come and go."""

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from slackwater.clock import SystemClock
from slackwater.documents import Documents, process
from slackwater.documents.pool import DOCUMENTS_MAX
from slackwater.documents.process import ReaderFailedError, ReaderProcess
from slackwater.domain.document import DocumentError, Fetched
from slackwater.domain.errors import WireError
from support.pdf import bomb_pdf, pages_pdf, text_pdf
from support.waiting import until

KOREAN: Final = [
    f"제{number}쪽\n모든 국민은 인간으로서의 존엄과 가치를 가진다. Page {number} of 120." for number in range(1, 121)
]


@pytest.fixture
async def documents() -> AsyncIterator[Documents]:
    one = Documents(clock=SystemClock())
    yield one
    await one.close()


def child(documents: Documents) -> int:
    """Return the process that waits for the next document."""
    (reader,) = documents._idle
    assert reader._process is not None
    return reader._process.pid


def gone(pid: int) -> bool:
    """Whether a process has ended, also when nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_every_page_of_a_long_korean_document_is_there_in_order(documents: Documents, tmp_path: Path) -> None:
    """120 pages, from bytes and from a file, character by character."""
    data = text_pdf(KOREAN)
    path = tmp_path / "book"
    path.write_bytes(data)
    for source in (data, path):
        pdf = await documents.read_pdf(source, images=False)
        assert [page.text for page in pdf.pages] == KOREAN
        assert [page.number for page in pdf.pages] == list(range(1, 121))
        assert {page.image for page in pdf.pages} == {None}


async def test_pages_are_drawn_when_that_is_asked_for(documents: Documents) -> None:
    """JPEG, the longest side 1,568 pixels; small pages are not blown up beyond 200 pixels for an inch."""
    for size, pixels in (((612, 792), (1212, 1568)), ((1e7, 5e6), (1568, 784)), ((252, 144), (700, 400))):
        (page,) = (await documents.read_pdf(text_pdf(["x"], size=size), images=True)).pages
        assert page.image is not None
        with Image.open(io.BytesIO(page.image)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", pixels)


async def test_a_text_holds_what_the_page_shows_and_nothing_else(documents: Documents) -> None:
    """No NUL, no other control, no lone surrogate; characters beyond the first 65,536 are whole; a hyphen stays one."""
    shown = "a\x00b\x0cc\x02d 😀 𠮷\ninter-\nnational"
    (page,) = (await documents.read_pdf(text_pdf([shown]), images=False)).pages
    assert not set(page.text) & {chr(code) for code in range(32) if code != 10}
    assert not any("\ud800" <= character <= "\udfff" or character in "\ufffe\uffff" for character in page.text)
    assert page.text.endswith("😀 𠮷\ninter-\nnational")


@pytest.mark.parametrize("images", [False, True])
async def test_characters_that_are_set_one_by_one_are_all_there(documents: Documents, *, images: bool) -> None:
    """In a font that is neither embedded nor on this machine: none of them has a width of its own."""
    shown = ["가", "제1조 모든\n國民은 x", "가나다\n라마바\nxyz", "x가x나\nabc 가나 abc"]
    pdf = await documents.read_pdf(text_pdf(shown, single=True), images=images)
    assert [page.text for page in pdf.pages] == shown
    assert all((page.image is not None) is images for page in pdf.pages)


async def test_a_page_without_text_is_an_empty_one(documents: Documents) -> None:
    """A scan has its place among the pages."""
    pdf = await documents.read_pdf(pages_pdf(["", ""]), images=False)
    assert [(page.number, page.text) for page in pdf.pages] == [(1, ""), (2, "")]


async def test_one_process_reads_one_document_after_the_other(documents: Documents) -> None:
    """Calls at the same time wait for their turn, and the process is kept."""
    first, *others = await asyncio.gather(*(documents.read_pdf(text_pdf([f"{n}"]), images=False) for n in range(8)))
    assert [pdf.pages[0].text for pdf in (first, *others)] == [f"{n}" for n in range(8)]
    pid = child(documents)
    await documents.read_pdf(text_pdf(["x"]), images=False)
    assert child(documents) == pid


async def test_two_processes_read_two_documents_at_once() -> None:
    """As many as are configured, and no more."""
    documents = Documents(clock=SystemClock(), processes=2)
    try:
        await asyncio.gather(*(documents.read_pdf(text_pdf(KOREAN), images=False) for _ in range(4)))
        assert len({reader._process.pid for reader in documents._idle if reader._process}) == 2
    finally:
        await documents.close()


async def test_a_process_is_replaced_after_so_many_documents(documents: Documents) -> None:
    """What a library keeps, it keeps no longer."""
    await documents.read_pdf(text_pdf(["x"]), images=False)
    pid = child(documents)
    documents._idle[0].read = DOCUMENTS_MAX - 1
    await documents.read_pdf(text_pdf(["x"]), images=False)
    assert documents._idle == []
    assert gone(pid)


async def test_a_process_that_died_while_it_waited_harms_nobody(documents: Documents) -> None:
    """The next document gets another one."""
    await documents.read_pdf(text_pdf(["x"]), images=False)
    pid = child(documents)
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))
    assert (await documents.read_pdf(text_pdf(["y"]), images=False)).pages[0].text == "y"


async def test_a_process_that_does_not_start_is_our_fault_and_not_the_document_s(
    documents: Documents, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is an error that may be tried again; afterwards everything works as before."""
    broken = tmp_path / "reader.py"
    broken.write_text("raise SystemExit(3)")
    with monkeypatch.context() as patched:
        patched.setattr(process, "READER", broken)
        with pytest.raises(WireError, match="cannot be read at the moment") as caught:
            await documents.read_pdf(text_pdf(["x"]), images=False)
        assert caught.value.retryable
    assert len((await documents.read_pdf(text_pdf(["x"]), images=False)).pages) == 1


async def test_a_caller_who_leaves_takes_the_process_along_and_nobody_else(documents: Documents) -> None:
    """A bomb whose reader has gone away is not read to its end."""
    await documents.read_pdf(text_pdf(["x"]), images=False)
    pid = child(documents)
    leaving = asyncio.create_task(documents.read_pdf(bomb_pdf(400, b"0 0 m 1 1 l S "), images=True))
    staying = asyncio.create_task(documents.read_pdf(text_pdf(["y"]), images=False))
    await asyncio.wait({staying}, timeout=0.05)
    leaving.cancel()
    async with asyncio.timeout(10):
        assert (await staying).pages[0].text == "y"
    assert leaving.cancelled()
    assert gone(pid)


class HastyClock:
    """Time passes as fast as somebody waits for it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waited: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        await asyncio.sleep(0)
        self.seconds += seconds


async def test_a_process_that_gives_no_answer_is_ended_by_the_clock(documents: Documents) -> None:
    """C7: six times its processor time, so that a busy machine fails no innocent; the sentence names the limit."""
    await documents.read_pdf(text_pdf(["x"]), images=False)
    clock, pid = HastyClock(), child(documents)
    os.kill(pid, signal.SIGSTOP)
    documents._clock = clock
    with pytest.raises(DocumentError, match="takes longer than 10 seconds"):
        await documents.read_pdf(text_pdf(["x"]), images=False)
    assert clock.waited == [60.0]
    assert gone(pid)


async def test_a_caller_who_leaves_leaves_no_timer(documents: Documents) -> None:
    """The wait for the time limit ends with the call."""
    await documents.read_pdf(text_pdf(["x"]), images=False)
    os.kill(child(documents), signal.SIGSTOP)
    leaving = asyncio.create_task(documents.read_pdf(text_pdf(["x"]), images=False))
    await asyncio.wait({leaving}, timeout=0.05)
    leaving.cancel()
    await asyncio.wait({leaving})
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_process_that_is_ended_before_it_started_leaves_no_open_file() -> None:
    """Its caller left in between."""
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    killed = ReaderProcess()
    killed.kill()
    with pytest.raises(ReaderFailedError):
        killed.start()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


async def test_a_process_that_computes_too_long_is_ended_by_the_kernel() -> None:
    """C7: processor time is what counts."""
    documents = Documents(clock=SystemClock(), seconds_max=1)
    try:
        with pytest.raises(DocumentError, match="takes longer than 1 seconds"):
            await documents.read_pdf(bomb_pdf(30, b"q 1 0 0 1 0 0 cm Q ", pages=100), images=False)
    finally:
        await documents.close()


async def test_closing_ends_every_process() -> None:
    """Also the one that is at work."""
    documents = Documents(clock=SystemClock(), processes=2)
    await documents.read_pdf(text_pdf(["x"]), images=False)
    pid = child(documents)
    busy = asyncio.create_task(documents.read_pdf(bomb_pdf(400, b"0 0 m 1 1 l S "), images=True))
    await asyncio.sleep(0)
    await documents.close()
    with pytest.raises((DocumentError, WireError)):
        await busy
    until(lambda: gone(pid))


async def test_the_process_gets_none_of_our_secrets(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment and its open files are what it needs, and its arguments name nothing."""
    monkeypatch.setenv("SLACKWATER_API_KEY", "secret")
    await documents.read_pdf(text_pdf(["x"]), images=False)
    directory = Path(f"/proc/{child(documents)}")
    assert b"secret" not in (directory / "environ").read_bytes()
    assert (directory / "oom_score_adj").read_text("ascii").strip() == "500"
    assert "Max core file size        0" in (directory / "limits").read_text("ascii")
    opened = set[str]()
    for link in (directory / "fd").iterdir():
        with suppress(FileNotFoundError):  # the child is closing it at this moment
            opened.add(str(link.readlink()).split(":")[0])
    assert opened <= {"/dev/null", "/memfd", "pipe", "socket"}  # the document itself may not be let go of yet


async def test_without_a_fetcher_no_url_is_fetched(documents: Documents) -> None:
    """It is off unless it is on."""
    with pytest.raises(DocumentError, match="not enabled"):
        await documents.fetch("https://docs.example/")


async def test_everything_the_port_asks_for_is_there() -> None:
    """Images, texts and names go the same way as elsewhere."""

    class Found:
        async def fetch(self, url: str, *, urgent: bool) -> Fetched:
            assert urgent is False
            return Fetched(data=url.encode(), media_type="text/plain")

        async def close(self) -> None:
            pass

    documents = Documents(clock=SystemClock(), fetcher=Found())  # type: ignore[arg-type]
    assert documents.sniff(b"%PDF-1.7", None) == "application/pdf"
    assert await documents.read_text("가".encode()) == "가"
    assert await documents.read_text(b"a" * 2**19) == "a" * 2**19
    assert (await documents.fetch("u")).data == b"u"
    with pytest.raises(DocumentError):
        documents.look_at_image(b"")
    await documents.close()
