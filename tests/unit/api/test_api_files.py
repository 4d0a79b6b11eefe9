"""The file endpoints (contract §6)."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slackwater.domain.errors import InvalidRequestError, StoreUnavailableError
from slackwater.domain.ids import IdSource
from support.api import CREATED, HEADERS, SMALL, World, make_file

FILES = "/v1/files"
IDS = IdSource(lambda: 1_795_338_000_000)
MULTIPART = "multipart/form-data; boundary=b"


def ids(count: int) -> list[str]:
    """Return ids, newest first."""
    return [IDS.new("file") for _ in range(count)][::-1]


def form(data: bytes = b"%PDF-1.7\n", disposition: str = 'name="file"; filename="contract.pdf"') -> bytes:
    """Write a form with a file."""
    head = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    return head + data + b"\r\n--b--\r\n"


async def spools(world: World) -> int:
    """Count the bodies that are on their way."""
    return len(await asyncio.to_thread(lambda: list(world.services.spool_dir.iterdir())))


async def test_an_upload_is_handed_to_the_step_and_answered_200_with_its_metadata(world: World) -> None:
    """Contract §6.0, §6.1: every key, the nullable one too; nothing is left in the spool."""
    async with world.client() as client:
        response = await client.post(FILES, files={"file": ("contract.pdf", b"%PDF-1.7\n", "application/pdf")})
    assert response.status_code == 200
    assert list(response.json().items()) == [
        ("id", "file_01A"),
        ("type", "file"),
        ("filename", "contract.pdf"),
        ("mime_type", "application/pdf"),
        ("size_bytes", 9),
        ("created_at", "2026-11-22T09:00:00.123456Z"),
        ("downloadable", False),
        ("expires_at", None),
    ]
    (told,) = world.files.uploads
    assert told["data"] == b"%PDF-1.7\n"
    assert (told["workspace_id"], told["filename"], told["mime_type"]) == (
        "wrkspc_01Mine",
        "contract.pdf",
        "application/pdf",
    )
    assert told["expires_in_seconds"] is None
    assert world.files.modes == [0o600]
    assert not list(world.services.spool_dir.iterdir())


async def test_raw_bytes_without_a_name_and_a_lifetime_before_them(world: World) -> None:
    """Details 5 and 6."""
    head = b'--b\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n3600\r\n'
    content = head + form(b"\0" * 2_000_000, 'name="file"')
    async with world.client() as client:
        response = await client.post(FILES, content=content, headers={"content-type": MULTIPART})
    assert response.status_code == 200
    (told,) = world.files.uploads
    assert (told["filename"], told["mime_type"], told["expires_in_seconds"]) == (None, None, 3600)
    assert told["data"] == b"\0" * 2_000_000


@pytest.mark.parametrize("seconds", ["", "soon", "3600.5", "1e5", "9" * 30])
async def test_a_lifetime_that_is_no_number_is_a_400(world: World, seconds: str) -> None:
    """In the API's words; the range is the step's business."""
    async with world.client() as client:
        response = await client.post(FILES, files={"file": b"x"}, data={"expires_in_seconds": seconds})
    assert response.status_code == 400
    message = "expires_in_seconds: Input should be a valid integer, unable to parse string as an integer"
    assert response.json()["error"]["message"] == message
    assert not world.files.uploads


async def test_bytes_are_stored_as_they_are_whatever_charset_the_form_names(world: World) -> None:
    """A charset is about text; a file is not."""
    headers = {"content-type": f"{MULTIPART}; charset=iso-8859-1"}
    async with world.client() as client:
        await client.post(FILES, content=form(b"\xe4\xff"), headers=headers)
    assert world.files.uploads[0]["data"] == b"\xe4\xff"


async def test_a_compressed_form_is_unpacked(world: World) -> None:
    """Contract §1.7."""
    headers = {"content-type": MULTIPART, "content-encoding": "gzip"}
    async with world.client() as client:
        response = await client.post(FILES, content=gzip.compress(form(b"x" * 10_000)), headers=headers)
    assert response.status_code == 200
    assert world.files.uploads[0]["data"] == b"x" * 10_000


async def test_the_limit_is_on_the_file_to_the_byte(world: World) -> None:
    """Contract §1.8."""
    world.reconfigure(limits=SMALL)
    async with world.client() as client:
        fits = await client.post(FILES, files={"file": b"x" * 2000})
        exceeds = await client.post(FILES, files={"file": b"x" * 2001})
    assert (fits.status_code, exceeds.status_code) == (200, 413)
    assert exceeds.json()["error"] == {"type": "request_too_large", "message": "Request exceeds the maximum size"}
    assert not list(world.services.spool_dir.iterdir())


async def test_what_is_announced_too_large_is_refused_before_it_is_sent(world: World) -> None:
    """Contract §1.8: nobody uploads for nothing; what is sent meanwhile is not kept."""
    world.reconfigure(limits=SMALL)
    async with world.server() as address:
        wire = await address.connect()
        lines = [
            f"POST {FILES} HTTP/1.1",
            "host: x",
            f"content-type: {MULTIPART}",
            "content-length: 999999999",
            *(f"{name}: {value}" for name, value in HEADERS.items()),
        ]
        wire.writer.write("\r\n".join([*lines, "", ""]).encode())
        assert (await wire.exactly(12)).endswith(b" 413")
        await wire.close()


async def endless(sent: list[int]) -> AsyncIterator[bytes]:
    """Send a file without an end."""
    yield form()[:-9]
    for number in range(10_000):
        sent.append(number)
        yield b"x" * 1000


async def test_a_chunked_upload_is_measured_while_it_streams(world: World) -> None:
    """Contract §1.8: reading stops soon after the limit."""
    world.reconfigure(limits=SMALL)
    sent: list[int] = []
    async with world.client() as client:
        response = await client.post(FILES, content=endless(sent), headers={"content-type": MULTIPART})
    assert response.status_code == 413
    assert len(sent) < 2000
    assert not list(world.services.spool_dir.iterdir())


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        (b"{}", "application/json", "content-type: a file is uploaded as multipart/form-data"),
        (b"", "", "content-type: a file is uploaded as multipart/form-data"),
        (form(), "multipart/form-data", "content-type: multipart/form-data needs a boundary"),
        (form()[:-6], MULTIPART, "it ends before its last boundary"),
        (b"--b--\r\n", MULTIPART, "file: Field required"),
        (form() * 2, "multipart/form-data; boundary=c", "The request body is not valid multipart/form-data"),
    ],
)
async def test_what_is_no_upload_is_a_400_that_says_why(
    world: World, content: bytes, content_type: str, words: str
) -> None:
    """Detail 28: our envelope, the API's tone."""
    async with world.client() as client:
        response = await client.post(FILES, content=content, headers={"content-type": content_type})
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]
    assert not world.files.uploads
    assert not list(world.services.spool_dir.iterdir())


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(world: World) -> None:
    """A broken upload is no file."""
    async with world.server() as address:
        wire = await address.connect()
        lines = [f"POST {FILES} HTTP/1.1", "host: x", f"content-type: {MULTIPART}", "content-length: 100000"]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        wire.writer.write("\r\n".join([*lines, "", ""]).encode() + form()[:-9])
        async with asyncio.timeout(10):
            while not await spools(world):
                pass
            wire.reset()
            while await spools(world):
                pass
    assert not world.files.uploads


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequestError("filename: bad"), 400),
        (InvalidRequestError("full", error_code="storage_quota_exceeded"), 400),
        (StoreUnavailableError("no disk"), 529),
        (OSError("/secret/path"), 500),
    ],
)
async def test_what_the_step_refuses_is_told_and_nothing_is_left(world: World, error: Exception, status: int) -> None:
    """Whatever happens, the spool is empty afterwards."""
    world.files.error = error
    async with world.client() as client:
        response = await client.post(FILES, files={"file": b"x"})
    assert response.status_code == status
    assert "secret" not in response.text
    assert not list(world.services.spool_dir.iterdir())


async def test_a_full_disk_refuses_uploads_before_they_are_read(world: World) -> None:
    """P4: as with batches; the SDKs are told not to send it again."""
    world.reconfigure(storage=lambda: "low")
    async with world.client() as client:
        response = await client.post(FILES, files={"file": b"x"})
    assert (response.status_code, response.headers["x-should-retry"]) == (529, "false")


async def test_a_list_has_the_keys_of_both_shapes(world: World) -> None:
    """Contract §6.0: each kind of client ignores what it does not know; the header changes nothing about that."""
    newest, oldest = ids(2)
    world.files.files = {one: make_file(one) for one in (newest, oldest)}
    world.files.has_more = True
    async with world.client() as client:
        plain = (await client.get(FILES)).json()
        beta = (await client.get(f"{FILES}?beta=true", headers={"anthropic-beta": "files-api-2025-04-14"})).json()
    assert plain == beta
    assert list(plain) == ["data", "has_more", "first_id", "last_id", "next_page"]
    assert [one["id"] for one in plain["data"]] == [plain["first_id"], plain["last_id"]] == [newest, oldest]
    assert plain["has_more"]
    assert plain["next_page"].startswith("page_")
    assert world.files.pages == [{"limit": 20, "after": None, "before": None}] * 2


async def test_the_next_page_continues_where_the_last_one_ended(world: World) -> None:
    """Detail 4: `page` and `after_id` are two ways to say the same, with the header and without."""
    (last,) = ids(1)
    world.files.files = {last: make_file(last)}
    world.files.has_more = True
    async with world.client() as client:
        next_page = (await client.get(FILES)).json()["next_page"]
        for query in ({"page": next_page}, {"after_id": last}):
            for headers in ({}, {"anthropic-beta": "files-api-2025-04-14"}):
                await client.get(FILES, params={"limit": 7, **query}, headers=headers)
    assert world.files.pages[1:] == [{"limit": 7, "after": last, "before": None}] * 4


async def test_a_walk_to_newer_files_has_no_next_page(world: World) -> None:
    """`next_page` leads to older ones; `before_id` walks on by `first_id`."""
    (only,) = ids(1)
    world.files.files = {only: make_file(only)}
    world.files.has_more = True
    async with world.client() as client:
        found = (await client.get(FILES, params={"before_id": "file_01X"})).json()
    assert (found["has_more"], found["first_id"], found["next_page"]) == (True, only, None)
    assert world.files.pages == [{"limit": 20, "after": None, "before": "file_01X"}]


async def test_an_empty_list_and_the_last_page_end_both_pagers(world: World) -> None:
    """Contract §3 and §6.2: nulls, never a missing key."""
    async with world.client() as client:
        empty = (await client.get(FILES)).json()
    assert empty == {"data": [], "has_more": False, "first_id": None, "last_id": None, "next_page": None}


@pytest.mark.parametrize("style", ["ids[]", "ids"])
async def test_given_ids_are_answered_in_one_page_without_a_next_one(world: World, style: str) -> None:
    """Detail 26, contract §6.2: duplicates once, unknown ones silently missing, what is no id too."""
    newest, oldest = ids(2)
    world.files.files = {one: make_file(one) for one in (newest, oldest)}
    asked = [("ids[]" if style == "ids[]" else "ids", one) for one in (oldest, newest, oldest, "no id\0", *ids(1))]
    async with world.client() as client:
        found = (await client.get(FILES, params=asked)).json()
    assert [one["id"] for one in found["data"]] == [newest, oldest]
    assert (found["has_more"], found["next_page"]) == (False, None)
    assert len(world.files.pages[0]["ids"]) == 3


async def test_a_hundred_ids_are_fine_and_one_more_is_not(world: World) -> None:
    """Contract §6.2: counted after removing duplicates."""
    many = ids(101)
    async with world.client() as client:
        fine = await client.get(FILES, params=[("ids[]", one) for one in (*many[:100], many[0])])
        over = await client.get(FILES, params=[("ids[]", one) for one in many])
    assert (fine.status_code, over.status_code) == (200, 400)
    message = "ids: List should have at most 100 items after validation, not 101"
    assert over.json()["error"]["message"] == message


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ids[]=file_a&page=page_x", "ids: `ids` and `page` cannot be given together"),
        ("ids%5B%5D=file_a&limit=5", "ids: `ids` and `limit` cannot be given together"),
        ("ids=file_a&after_id=file_b", "ids: `ids` and `after_id` cannot be given together"),
        ("page=file_a", "page: Input should be the `next_page` of an earlier page"),
        ("page=page_%ff", "page: Input should be the `next_page` of an earlier page"),
        ("page=page_ZmlsZV8wMQ==", "page: Input should be the `next_page` of an earlier page"),
        ("after_id=a&before_id=b", "before_id: Only one of `after_id` and `before_id` may be given"),
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("limit=1001", "limit: Input should be less than or equal to 1000"),
        ("limit=x", "limit: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
async def test_a_query_that_makes_no_sense_is_a_400_that_names_the_parameter(
    world: World, query: str, message: str
) -> None:
    """Contract §3, §6.2."""
    async with world.client() as client:
        response = await client.get(f"{FILES}?{query}")
    assert (response.status_code, response.json()["error"]["message"]) == (400, message)


async def test_a_page_and_another_cursor_exclude_each_other(world: World) -> None:
    """Two places to begin are one too many."""
    (only,) = ids(1)
    world.files.files, world.files.has_more = {only: make_file(only)}, True
    async with world.client() as client:
        next_page = (await client.get(FILES)).json()["next_page"]
        response = await client.get(FILES, params={"page": next_page, "before_id": only})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("page: Only one of")


async def test_no_file_belongs_to_a_scope(world: World) -> None:
    """What an old client filters by exists elsewhere only: an empty page, not everything."""
    world.files.files = {"file_01A": make_file()}
    async with world.client() as client:
        found = (await client.get(FILES, params={"scope_id": "session_01"})).json()
    assert (found["data"], found["next_page"]) == ([], None)


async def test_metadata_shows_the_expiry(world: World) -> None:
    """Contract §6.3."""
    world.files.files["file_01A"] = make_file(expires_at=CREATED)
    async with world.client() as client:
        found = (await client.get(f"{FILES}/file_01A")).json()
    assert found["expires_at"] == "2026-11-22T09:00:00.123456Z"


async def test_an_unknown_file_is_a_404_in_the_api_s_words(world: World) -> None:
    """Contract §6.3; with and without a content."""
    async with world.client() as client:
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            response = await client.request(method, f"{FILES}/file_01X{path}")
            assert response.status_code == 404
            assert response.json()["error"] == {"type": "not_found_error", "message": "File `file_01X` not found."}


async def test_uploads_are_not_downloadable_unless_the_operator_says_so(world: World) -> None:
    """Detail 8: clients test for the 400."""
    world.files.files["file_01A"] = make_file()
    async with world.client() as client:
        response = await client.get(f"{FILES}/file_01A/content", headers={"accept": "application/binary"})
    assert response.status_code == 400
    assert response.json()["error"] == {
        "type": "invalid_request_error",
        "message": "File is not downloadable",
        "details": {"error_code": "file_not_downloadable"},
    }


def downloadable(world: World, content: bytes = b"%PDF-1.7\n", **changes: Any) -> None:
    """Have a file that may be fetched."""
    world.files.downloadable = True
    world.files.delivery.content = content
    world.files.files["file_01A"] = make_file(**changes)


async def test_a_download_is_an_attachment_that_no_browser_runs(world: World) -> None:
    """Type, name, nosniff and a sandbox; the metadata says that it can be fetched."""
    downloadable(world)
    async with world.client() as client:
        response = await client.get(f"{FILES}/file_01A/content")
        metadata = (await client.get(f"{FILES}/file_01A")).json()
    assert (response.status_code, response.content) == (200, b"%PDF-1.7\n")
    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["content-disposition"] == 'attachment; filename="contract.pdf"'
    assert response.headers["content-length"] == "9"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert metadata["downloadable"]


@pytest.mark.parametrize("mime_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", "x/y"])
async def test_what_a_browser_might_run_is_handed_out_as_bytes(world: World, mime_type: str) -> None:
    """HTML and SVG bring scripts along: types are on a list, or not told."""
    downloadable(world, mime_type=mime_type)
    async with world.client() as client:
        response = await client.get(f"{FILES}/file_01A/content")
    assert response.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("filename", "written"),
    [
        ("a b.txt", 'attachment; filename="a b.txt"'),
        ("계약.pdf", "attachment; filename=\"__.pdf\"; filename*=UTF-8''%EA%B3%84%EC%95%BD.pdf"),
        ("50%25.txt", "attachment; filename=\"50_25.txt\"; filename*=UTF-8''50%2525.txt"),
        ("ä'\x7f.txt", "attachment; filename=\"_'_.txt\"; filename*=UTF-8''%C3%A4%27%7F.txt"),
    ],
)
async def test_a_file_name_survives_the_download(world: World, filename: str, written: str) -> None:
    """RFC 6266: plain for old clients, whole for new ones, nothing that ends the header."""
    downloadable(world, filename=filename)
    async with world.client() as client:
        response = await client.get(f"{FILES}/file_01A/content")
    assert response.headers["content-disposition"] == written


async def test_a_range_of_a_file_is_a_206(world: World) -> None:
    """Resumable, like results."""
    downloadable(world, b"0123456789")
    async with world.client() as client:
        response = await client.get(f"{FILES}/file_01A/content", headers={"range": "bytes=2-4"})
    assert (response.status_code, response.content) == (206, b"234")
    assert response.headers["content-range"] == "bytes 2-4/10"


async def test_a_download_whose_bytes_break_is_cut_and_never_cleanly_ended(world: World) -> None:
    """D5, R2: a torn file is an error, never content."""
    downloadable(world, b"x" * 100)
    world.files.delivery.fails_after = 50
    async with world.server() as address:
        wire = await address.connect()
        lines = [f"GET {FILES}/file_01A/content HTTP/1.1", "host: x"]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        wire.writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await wire.rest()
    head, _, data = answer.partition(b"\r\n\r\n")
    assert b"content-length: 100" in head
    assert len(data) < 100


async def test_a_delete_answers_with_the_id_and_the_second_is_a_404(world: World) -> None:
    """Contract §6.5; no header where nothing pins it."""
    world.files.files["file_01A"] = make_file()
    async with world.client() as client:
        first = await client.delete(f"{FILES}/file_01A")
        second = await client.delete(f"{FILES}/file_01A")
    assert (first.status_code, first.json()) == (200, {"id": "file_01A", "type": "file_deleted"})
    assert "slackwater-pinned-by" not in first.headers
    assert second.status_code == 404


async def test_a_delete_names_the_batches_that_still_use_the_bytes(world: World) -> None:
    """I3: as many as a header holds."""
    world.files.files["file_01A"] = make_file()
    world.files.pinned_by = tuple(f"msgbatch_{number}" for number in range(30))
    async with world.client() as client:
        response = await client.delete(f"{FILES}/file_01A")
    assert response.headers["slackwater-pinned-by"].split(", ") == [f"msgbatch_{number}" for number in range(20)]


async def test_uploads_at_once_do_not_share_a_spool(world: World) -> None:
    """Each has a file of its own."""
    async with world.client() as client:
        await asyncio.gather(*(client.post(FILES, files={"file": b"x" * number}) for number in range(8)))
    assert sorted(told["length"] for told in world.files.uploads) == list(range(8))
