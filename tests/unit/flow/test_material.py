"""What requests refer to, filled in: by a whole worker, whose backend remembers what it was sent."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from slackwater.documents.sources import Sources
from slackwater.domain.document import PDF, DocumentError, Fetched, PDFPage, Ready
from slackwater.domain.errors import BackendAwayError, InvalidRequestError, NotFoundError, WireError
from slackwater.domain.file import File
from slackwater.domain.model import Route, Routes
from slackwater.flow.files import Files
from slackwater.flow.gate import AWAY_FAILURES
from slackwater.flow.interactive import Caller, Interactive
from slackwater.flow.material import Material
from slackwater.ports import Call
from support.pdf import ballasted, encrypted_pdf, number_in, text_pdf
from support.worker import TERMS, WORKSPACE, Worker, message, until, working

THEIRS = "wrkspc_theirs"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
KOREAN = ["첫째 장 one", "둘째 장 two", "셋째 장 three"]
ROUTES = (
    Route(id="m", backend="scripted"),
    Route(id="seeing", backend="scripted", page_images=True),
    Route(id="blind", backend="scripted", vision=False),
    Route(id="short", backend="scripted", max_input_tokens=20),
    Route(id="fetching", backend="scripted", pass_urls=True),
)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> bytes:
    return PIXEL[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + PIXEL[24:]


def document(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **more}


def image(source: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image", "source": source}


def of(file: File) -> dict[str, Any]:
    return {"type": "file", "file_id": file.id}


def inline(data: bytes, media_type: str = "application/pdf") -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": encoded(data)}


def asking(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*blocks, {"type": "text", "text": "?"}]}], **more}


@dataclass
class Desk:
    """A worker, ways to give it files, and what its backend was sent."""

    worker: Worker
    files: Files
    directory: Path
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    answer: str = "hi"
    reads: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)
    """Of the blobs that were read."""
    urgent: list[bool] = field(default_factory=list)
    """For each fetch and each PDF that was read, whether somebody waited for it in person."""
    fetched: Counter[str] = field(default_factory=Counter)
    web: dict[str, Fetched | list[Fetched | DocumentError]] = field(default_factory=dict)
    """What is at each URL; of a list, one after the other."""

    async def upload(self, data: bytes, mime_type: str = "application/pdf", workspace_id: str = WORKSPACE) -> File:
        path = self.directory / "upload"
        path.write_bytes(data)
        return await self.files.upload(
            path,
            workspace_id=workspace_id,
            filename="a.bin",
            mime_type=mime_type,
            digest=sha256(data).digest(),
            length=len(data),
        )

    async def ask(self, requests: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return each request's message, or its error."""
        batch = await self.worker.ended(await self.worker.create(requests), deadline_seconds=120)
        lines = await self.worker.lines(batch)
        return {
            name: line["message"] if line["type"] == "succeeded" else line["error"]["error"]
            for name, line in lines.items()
        }

    @property
    def interactive(self) -> Interactive:
        """The way of those who wait, over the same parts."""
        worker = self.worker
        return Interactive(
            routes=Routes(routes=ROUTES),
            backends={"scripted": worker.backend},
            gates={"scripted": worker.gate},
            material=Material(files=worker.store, blobs=worker.blobs, sources=worker.sources, clock=worker.clock),
            ledger=worker.store,
            clock=worker.clock,
        )

    async def call(self, block: dict[str, Any], workspace_id: str = WORKSPACE) -> dict[str, Any]:
        """Return the answer to a synchronous call."""
        caller = Caller(workspace_id=workspace_id, key_id="k", terms=TERMS)
        body = json.dumps({"model": "m", "max_tokens": 10, **asking(block)}).encode()
        return await self.interactive.create(self.interactive.check(body, caller), caller)

    async def block(self, block: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Return what a block became."""
        outcomes = await self.ask({"one": asking(block, **more)})
        assert "content" in outcomes["one"], outcomes
        became: dict[str, Any] = self.sent["one"]["messages"][0]["content"][0]
        return became


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Open one, over the real reader of PDFs and a web that the test fills."""
    found: list[Desk] = []

    async def answer(call: Call) -> dict[str, Any]:
        found[0].sent[str(call.custom_id)] = json.loads(json.dumps(dict(call.params)))
        return message(found[0].answer)

    async with working(tmp_path, answer, routes=ROUTES) as worker:
        files = Files(
            store=worker.store,
            blobs=worker.blobs,
            clock=worker.clock,
            ids=worker.admit._ids,
            sniff=lambda _head, _name: "application/octet-stream",
            quota_bytes=2**40,
        )
        desk = Desk(worker, files, tmp_path)
        found.append(desk)
        _watch(desk, worker.sources)
        yield desk


def _watch(desk: Desk, sources: Sources) -> None:
    """Count what is read and converted, and let the web be what the test says."""
    documents: Any = sources._documents
    read_pdf: Callable[..., Awaitable[PDF]] = documents.read_pdf
    read: Callable[..., Awaitable[bytes]] = desk.worker.blobs.read

    async def counting_pdf(data: bytes, **how: bool) -> PDF:
        desk.urgent.append(how["urgent"])
        desk.reads["pdf"] += 1
        return await read_pdf(data, **how)

    async def counting_read(key: str, offset: int = 0, length: int | None = None) -> bytes:
        desk.reads[key.split("/", maxsplit=1)[0]] += 1
        desk.keys.append(key)
        return await read(key, offset, length)

    async def fetch(url: str, *, urgent: bool) -> Fetched:
        desk.urgent.append(urgent)
        desk.fetched[url] += 1
        await asyncio.sleep(0)
        found = desk.web.get(url, DocumentError("The URL's host is not at a public address"))
        if isinstance(found, list):
            found = found.pop(0)
        if isinstance(found, DocumentError):
            raise found
        return found

    documents.read_pdf, documents.fetch = counting_pdf, fetch
    desk.worker.blobs.read = counting_read  # type: ignore[method-assign]


async def test_a_thousand_questions_about_one_pdf_read_and_convert_it_once(desk: Desk) -> None:
    """Every request carries every page's text, in order, pages marked; title and context stay with the block."""
    file = await desk.upload(ballasted(text_pdf(KOREAN), 20_000_000))
    block = document(of(file), title="T", context="C", cache_control={"type": "ephemeral"})
    outcomes = await desk.ask({f"r{number}": asking(block) for number in range(1_000)})
    assert all("content" in outcome for outcome in outcomes.values())
    text = "\n".join(f'<page number="{number}">\n{page}\n</page>' for number, page in enumerate(KOREAN, 1))
    expected = {**block, "source": {"type": "text", "media_type": "text/plain", "data": text}}
    assert [params["messages"][0]["content"][0] for params in desk.sent.values()] == [expected] * 1_000
    assert (desk.reads["pdf"], desk.reads["files"]) == (1, 1)


async def test_a_pdf_comes_to_each_backend_as_it_can_read_it(desk: Desk) -> None:
    """As text, with a picture of every page for a model that sees, as it is where the backend reads PDFs itself."""
    pdf = text_pdf(KOREAN)
    file = await desk.upload(pdf)
    for source in (of(file), inline(pdf)):
        became = await desk.block(document(source), model="seeing")
        content = became["source"]["content"]
        assert [part["type"] for part in content] == ["text", "image"] * 3
        assert [page in part["text"] for page, part in zip(KOREAN, content[::2], strict=True)] == [True] * 3
        assert all(base64.b64decode(part["source"]["data"]).startswith(b"\xff\xd8\xff") for part in content[1::2])
        assert (await desk.block(document(source)))["source"]["type"] == "text"
    desk.worker.backend.natively = frozenset({"pdf", "citations"})
    for source in (of(file), inline(pdf)):
        block = document(source, citations={"enabled": True})
        assert await desk.block(block) == {**block, "source": inline(pdf)}


async def test_a_model_that_sees_gets_every_page_of_a_long_pdf_in_order(desk: Desk) -> None:
    """Its text and its picture, page by page, each picture that of its own page."""
    pages = [f"{number}쪽: 대한민국의 주권은 국민에게 있다" for number in range(1, 121)]
    file = await desk.upload(text_pdf(pages, numbered=True))
    content = (await desk.block(document(of(file)), model="seeing"))["source"]["content"]
    assert [part["type"] for part in content] == ["text", "image"] * 120
    assert [f'<page number="{number}">' in part["text"] for number, part in enumerate(content[::2], 1)] == [True] * 120
    assert [page in part["text"] for page, part in zip(pages, content[::2], strict=True)] == [True] * 120
    pictures = [base64.b64decode(part["source"]["data"]) for part in content[1::2]]
    assert [number_in(picture) for picture in pictures] == [*range(1, 121)]


async def test_texts_and_images_come_from_files_too_and_inside_tool_results(desk: Desk) -> None:
    """Contract §6.6; everything else of the request is as it was."""
    text, picture = await desk.upload("héllo 한글".encode(), "text/plain"), await desk.upload(PIXEL, "image/png")
    assert await desk.block(document(of(text))) == document(
        {"type": "text", "media_type": "text/plain", "data": "héllo 한글"}
    )
    assert await desk.block(image(of(picture))) == image(inline(PIXEL, "image/png"))
    inner = [{"type": "text", "text": "see"}, image(of(picture)), document(of(text))]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": inner}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    await desk.ask({"tool": {"messages": turns}})
    sent = desk.sent["tool"]["messages"]
    assert sent[:2] == turns[:2]
    became = sent[2]["content"][0]["content"]
    assert [part.get("source", {}).get("type") for part in became] == [None, "base64", "text"]
    nested = document({"type": "content", "content": [{"type": "text", "text": "a"}, image(of(picture))]})
    assert (await desk.block(nested))["source"]["content"][1] == image(inline(PIXEL, "image/png"))


async def test_a_url_is_fetched_once_for_a_batch_and_its_content_decides(desk: Desk) -> None:
    """Each batch sees one state of it; a backend that may fetch gets the address of an image, never of a document."""
    desk.web["https://x/a"] = Fetched(data=text_pdf(KOREAN), media_type="application/pdf")
    desk.web["https://x/b"] = Fetched(data=b"caf\xe9", media_type="text/plain", charset="latin-1")
    desk.web["https://x/c"] = Fetched(data=PIXEL, media_type="image/png")
    pdf, text, picture = ({"type": "url", "url": f"https://x/{name}"} for name in "abc")
    await desk.ask({f"r{number}": asking(document(pdf), document(text), image(picture)) for number in range(20)})
    blocks = desk.sent["r7"]["messages"][0]["content"]
    assert KOREAN[2] in blocks[0]["source"]["data"]
    assert blocks[1]["source"]["data"] == "café"
    assert blocks[2] == image(inline(PIXEL, "image/png"))
    assert desk.fetched == {"https://x/a": 1, "https://x/b": 1, "https://x/c": 1}
    await desk.ask({"next": asking(document(text))})
    assert desk.fetched["https://x/b"] == 2
    assert await desk.block(image(picture), model="fetching") == image(picture)
    assert (await desk.block(document(text), model="fetching"))["source"]["type"] == "text"


def away(reason: str = "The URL's server answered with status 503", seconds: float = 0.01) -> DocumentError:
    return DocumentError(reason, retry_after_seconds=seconds)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits between tries grow from a hundredth of a second."""
    monkeypatch.setattr("slackwater.documents.shelf.AGAIN_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_a_url_that_is_not_there_for_a_moment_is_asked_again_once_for_all_requests(desk: Desk) -> None:
    """X7: what may pass costs a request attempts, not its life, and the server one call for each try of all of them."""
    text = Fetched(data=b"at last", media_type="text/plain")
    desk.web["https://x/a"] = [away(), away(), away(), away(), text]
    source = {"type": "url", "url": "https://x/a"}
    outcomes = await desk.ask({f"r{number}": asking(document(source)) for number in range(30)})
    assert {outcome["type"] for outcome in outcomes.values()} == {"message"}
    assert desk.sent["r7"]["messages"][0]["content"][0]["source"]["data"] == "at last"
    assert desk.fetched["https://x/a"] == 5
    assert desk.worker.gate.parked == 0


@pytest.mark.usefixtures("impatient")
async def test_a_url_that_stays_away_becomes_each_request_s_error_after_a_few_tries(desk: Desk) -> None:
    """S8, X7: bounded; what is permanent is not tried twice; the neighbours, and the backend's other work, go on."""
    desk.web["https://x/away"] = [away()] * 9
    desk.web["https://x/none"] = [DocumentError("The URL's server answered with status 404")] * 9
    gone, none = ({"type": "url", "url": f"https://x/{name}"} for name in ("away", "none"))
    requests = {f"away{number}": asking(document(gone)) for number in range(20)}
    requests |= {f"none{number}": asking(image(none)) for number in range(20)} | {"good": asking()}
    outcomes = await desk.ask(requests)
    at = "messages.0.content.0"
    assert {outcomes[f"away{number}"]["message"] for number in range(20)} == {
        f"{at}.document.source.url: The URL's server answered with status 503"
    }
    assert {outcomes[f"none{number}"]["message"] for number in range(20)} == {
        f"{at}.image.source.url: The URL's server answered with status 404"
    }
    kinds = {name: outcome["type"] for name, outcome in outcomes.items()}
    assert kinds == dict.fromkeys(requests, "invalid_request_error") | {"good": "message"}
    assert desk.fetched == {"https://x/away": 5, "https://x/none": 1}
    assert set(desk.sent) == {"good"}


async def test_requests_that_wait_for_a_server_that_is_away_hold_up_nobody_else(desk: Desk) -> None:
    """S8: they hold no slot and no room meanwhile, and however many there are, others are started."""
    requests = {}
    for number in range(100):
        desk.web[f"https://x/{number}"] = [away(seconds=3600)] * 9
        requests[f"r{number}"] = asking(document({"type": "url", "url": f"https://x/{number}"}))
    await desk.worker.create(requests)
    await until(lambda: len(desk.fetched) == 100)
    assert (await desk.ask({"other": asking()}))["other"]["type"] == "message"
    assert desk.worker.gate.in_flight == 0


async def test_what_cannot_be_honoured_is_each_request_s_own_error(desk: Desk) -> None:
    """S8, W3: with the JSON path; the neighbours succeed."""
    pdf = await desk.upload(text_pdf(KOREAN))
    text, picture = await desk.upload(b"text", "text/plain"), await desk.upload(PIXEL, "image/png")
    theirs = await desk.upload(text_pdf(KOREAN), workspace_id=THEIRS)
    locked, broken = await desk.upload(encrypted_pdf()), await desk.upload(b"%PDF-1.7 nothing")
    mislabelled = await desk.upload(b"<svg/>", "image/png")
    csv = await desk.upload(b"a,b", "text/csv")
    page = {"type": "url", "url": "https://x/html"}
    desk.web["https://x/html"] = Fetched(data=b"<html>", media_type="text/html")
    at = "messages.0.content.0"
    bad = {
        "theirs": (document(of(theirs)), f"File `{theirs.id}` not found."),
        "none": (image({"type": "file", "file_id": "file_none"}), "File `file_none` not found."),
        "picture-as-document": (
            document(of(picture)),
            f"{at}.document.source.file: File `{picture.id}` is image/png; document blocks take application/pdf, ",
        ),
        "text-as-image": (image(of(text)), f"{at}.image.source.file: File `{text.id}` is text/plain; image blocks"),
        "csv": (document(of(csv)), f"{at}.document.source.file: File `{csv.id}` is text/csv"),
        "locked": (document(of(locked)), f"{at}.document.source.file: The PDF is password-protected"),
        "broken": (document(of(broken)), f"{at}.document.source.file: The PDF is "),
        "inline": (document(inline(b"no pdf")), f"{at}.document.source.base64: The file is not a PDF"),
        "svg": (image(of(mislabelled)), f"{at}.image.source.file: The data is not a PNG, JPEG, GIF or WebP image"),
        "jpeg": (image(inline(PIXEL, "image/jpeg")), f"{at}.image.source.base64: The image was specified using"),
        "large": (image(inline(png(9_000, 9), "image/png")), f"{at}.image.source.base64: The image is 9,000 x 9"),
        "html": (document(page), f"{at}.document.source.url: The URL's content is text/html"),
        "inside": (image({"type": "url", "url": "http://10.0.0.1"}), f"{at}.image.source.url: The URL's host is not"),
        "container": ({"type": "container_upload", "file_id": pdf.id}, f"{at}.container_upload: not supported"),
    }
    requests = {name: asking(block) for name, (block, _) in bad.items()}
    requests["blind"] = asking(image(of(picture)), model="blind")
    requests["long"] = asking(document({"type": "text", "media_type": "text/plain", "data": "x" * 200}), model="short")
    requests["many"] = asking(*[image(inline(png(2_001, 9), "image/png"))] * 21)
    requests |= {f"good{number}": asking(document(of(pdf))) for number in range(5)}
    outcomes = await desk.ask(requests)
    told = {name: outcomes[name]["message"] for name in bad}
    assert {name: text[: len(bad[name][1])] for name, text in told.items()} == {name: bad[name][1] for name in bad}
    kinds = {name: outcome["type"] for name, outcome in outcomes.items()}
    gone = {"theirs": "not_found_error", "none": "not_found_error"}
    good = {f"good{number}": "message" for number in range(5)}
    assert kinds == dict.fromkeys(requests, "invalid_request_error") | gone | good
    assert outcomes["blind"]["message"] == f"{at}.image: blind does not accept images"
    assert outcomes["long"]["message"] == "prompt is too long: 50 tokens > 20 maximum"
    assert "at most 2,000" in outcomes["many"]["message"]
    assert outcomes["large"]["details"] == {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": 8_000,
        "paths": [f"{at}.image.source.base64"],
    }
    assert set(desk.sent) == set(good)


async def test_another_workspace_s_file_is_touched_by_nothing_that_this_one_asks(desk: Desk) -> None:
    """W1 to W3, A5: in calls, streams, counts and batches it is as if there were none.

    Nothing of it is read meanwhile, neither its bytes nor what was made of them: there is nothing to be measured.
    """
    pdf = text_pdf(KOREAN)
    theirs = await desk.upload(pdf, workspace_id=THEIRS)
    block = document(of(theirs))
    await desk.call(block, THEIRS)
    assert (desk.keys, desk.reads["pdf"]) == ([theirs.blob_key], 1)
    told = []
    used: list[str] = []
    of_file = desk.worker.sources.of_file

    async def watched(file: File, *more: Any) -> Ready:
        used.append(file.id)
        return await of_file(file, *more)

    desk.worker.sources.of_file = watched  # type: ignore[method-assign]
    interactive, caller = desk.interactive, Caller(workspace_id=WORKSPACE, key_id="k", terms=TERMS)
    for file_id in (theirs.id, "file_01" + "1" * 22):
        params = {"model": "m", **asking(document({"type": "file", "file_id": file_id}))}
        asked = interactive.check(json.dumps({**params, "max_tokens": 9}).encode(), caller)
        with pytest.raises(NotFoundError) as called:
            await interactive.create(asked, caller)
        with pytest.raises(NotFoundError) as streamed:
            await anext(interactive.stream(asked, caller))
        with pytest.raises(NotFoundError) as counted:
            await interactive.count_tokens(json.dumps(params).encode(), caller)
        outcome = (await desk.ask({"one": params}))["one"]
        assert outcome["type"] == "not_found_error"
        messages = {called.value.message, streamed.value.message, counted.value.message, outcome["message"]}
        told.append({message.replace(file_id, "ID") for message in messages})
    assert told == [{"File `ID` not found."}] * 2
    assert (used, desk.reads["files"], desk.reads["pdf"]) == ([], 1, 1)
    mine = await desk.upload(pdf)
    await desk.block(document(of(mine)))
    assert mine.blob_key != theirs.blob_key
    assert used == [mine.id]
    assert [key for key in desk.keys if key.startswith("files/")] == [theirs.blob_key, mine.blob_key]
    assert desk.reads["pdf"] == 2, "equal bytes were not converted anew, which others can measure"


async def test_who_waits_in_person_waits_for_no_batch_s_documents(desk: Desk) -> None:
    """Interactive first: with a room of its own in memory, and ahead at the readers of PDFs and the fetcher."""
    desk.worker.sources._shelf._room_bytes_max = 1  # any request with documents fills it
    text = await desk.upload(b"text", "text/plain")
    desk.web["https://x/b"] = Fetched(data=b"text", media_type="text/plain")
    go_on = asyncio.Event()
    answer = desk.worker.backend.answer

    async def slow(call: Call) -> dict[str, Any]:
        if call.custom_id is not None:
            await go_on.wait()
        return await answer(call)

    desk.worker.backend.answer = slow
    # A file for each request: with the same one they had a common prefix and waited for the first.
    files = [await desk.upload(text_pdf([*KOREAN, str(number)])) for number in range(4)]
    batch = await desk.worker.create({f"r{number}": asking(document(of(file))) for number, file in enumerate(files)})
    await until(lambda: desk.worker.backend.calls and desk.worker.gate.in_flight == 4)
    assert len(desk.worker.backend.calls) == 1
    for block in (
        document(of(text)),
        document(inline(text_pdf(["new"]))),
        document({"type": "url", "url": "https://x/b"}),
    ):
        async with asyncio.timeout(20):
            assert (await desk.call(block))["type"] == "message"
    go_on.set()
    await desk.worker.ended(batch)
    assert desk.urgent == [False, True, True, False, False, False]


async def test_a_url_that_is_away_is_told_at_once_to_who_waits_in_person(desk: Desk) -> None:
    """Its SDK tries again, and is told when; what is wrong for good is not worth that."""
    desk.web["https://x/away"] = [away(seconds=7.0)]
    desk.web["https://x/none"] = [DocumentError("The URL's server answered with status 404")]
    told = []
    for name in ("away", "none"):
        with pytest.raises(InvalidRequestError, match=r"source\.url: The URL's server answered") as error:
            await desk.call(document({"type": "url", "url": f"https://x/{name}"}))
        told.append((error.value.retry_after_seconds, error.value.should_retry))
    assert told == [(7.0, True), (None, None)]


async def test_a_pdf_of_pictures_is_refused_where_only_text_can_be_given(desk: Desk) -> None:
    """An empty document would be dropped in silence."""
    scan = document(inline(text_pdf([" ", " "])))
    outcomes = await desk.ask({"text": asking(scan), "seeing": asking(scan, model="seeing")})
    assert "hold no text" in outcomes["text"]["message"]
    assert outcomes["seeing"]["type"] == "message"


async def test_a_deleted_file_is_there_for_the_batch_that_pins_it_and_for_nobody_else(desk: Desk) -> None:
    """I3: what was accepted is done; what comes later is told that there is no such file."""
    file = await desk.upload(b"pinned", "text/plain")
    gate = desk.worker.gate
    taken = range(gate.limit)
    for _ in taken:  # nothing starts before the file is deleted
        gate.take()
    batch = await desk.worker.create({"first": asking(document(of(file)))})
    assert (await desk.files.delete(WORKSPACE, file.id))[1] == (batch.id,)
    for _ in taken:
        gate.release()
    lines = await desk.worker.lines(await desk.worker.ended(batch))
    assert lines["first"]["type"] == "succeeded"
    later = await desk.ask({"later": asking(document(of(file)))})
    assert later["later"]["type"] == "not_found_error"


async def test_an_expired_file_is_told_apart_from_none(desk: Desk) -> None:
    """Contract §6.6: before anything is sent."""
    file = await desk.upload(b"text", "text/plain")
    store: Any = desk.worker.store
    find = store.find_file

    async def expired(*args: Any, **more: Any) -> File | None:
        found = await find(*args, **more)
        return found and replace(found, expires_at=desk.worker.clock.now() - timedelta(seconds=1))

    store.find_file = expired
    outcome = (await desk.ask({"one": asking(document(of(file)))}))["one"]
    assert outcome["message"] == f"messages.0.content.0.document.source.file: File `{file.id}` has expired."


async def test_bytes_that_are_not_those_that_were_uploaded_reach_nobody(desk: Desk) -> None:
    """D5: a flipped bit is an error of ours, tried again a few times, and never content."""
    file = await desk.upload(b"the true text", "text/plain")
    (desk.directory / "blobs" / file.blob_key).write_bytes(b"the false one")
    outcome = (await desk.ask({"one": asking(document(of(file)))}))["one"]
    assert (outcome["type"], outcome["message"]) == ("api_error", "A file could not be read")
    assert desk.sent == {}


async def test_a_reader_that_does_not_start_is_tried_again(desk: Desk) -> None:
    """What is our own fault costs a request an attempt, not its life."""
    documents: Any = desk.worker.sources._documents
    failures = iter([WireError("no process"), WireError("no process")])

    async def flaky(_data: bytes, *, images: bool, urgent: bool) -> PDF:
        assert not images
        assert not urgent
        for failure in failures:
            raise failure
        return PDF(pages=(PDFPage(number=1, text="at last"),))

    documents.read_pdf = flaky
    became = await desk.block(document(inline(b"%PDF-")))
    assert "at last" in became["source"]["data"]


async def test_a_backend_that_cannot_be_asked_what_it_reads_is_away(desk: Desk) -> None:
    """X7: its circuit opens as it does for any call; the request waits for it and loses nothing."""
    reads, asked = desk.worker.backend.reads, []

    async def refused() -> frozenset[str]:
        asked.append(desk.worker.gate.away)
        if len(asked) <= AWAY_FAILURES:
            raise BackendAwayError("connection refused")
        return await reads()

    desk.worker.backend.reads = refused  # type: ignore[method-assign]
    desk.worker.gate._clock.sleep = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]
    await desk.block(document(inline(text_pdf(KOREAN))))
    assert asked == [False] * AWAY_FAILURES + [True]


async def test_quotes_become_citations_where_the_backend_has_none(desk: Desk) -> None:
    """Contract §12; the file is named, the tags and the switch do not reach anybody."""
    file = await desk.upload(text_pdf(KOREAN))
    desk.answer = "Says <cite>둘째 장 two</cite> and <cite>nothing</cite>."
    cited = document(of(file), title="Book", citations={"enabled": True})
    result = {
        "type": "search_result",
        "title": "R",
        "source": "s",
        "content": [{"type": "text", "text": "other"}],
        "citations": {"enabled": True},
    }
    outcome = (await desk.ask({"one": asking(cited, result, system="Brief.")}))["one"]
    place = {"document_index": 0, "document_title": "Book", "file_id": file.id}
    place |= {"start_page_number": 2, "end_page_number": 3}
    assert outcome["content"] == [
        {"type": "text", "text": "Says "},
        {
            "type": "text",
            "text": "둘째 장 two",
            "citations": [{"type": "page_location", "cited_text": "둘째 장 two", **place}],
        },
        {"type": "text", "text": " and nothing."},
    ]
    sent = desk.sent["one"]
    assert all("citations" not in block for block in sent["messages"][0]["content"])
    assert [block["text"][:6] for block in sent["system"]] == ["Brief.", "Answer"]
