"""The official SDKs' calls about files, in every namespace that a release has and in every way it takes a file.

Each test reads the section `files` of what an SDK reported: `ga` is `client.files`, `beta` is `client.beta.files`,
which speaks the older shape up to Python 1.1 and TypeScript 0.121 (contract §6.0).
"""

import re
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from support.sdks import SDK

TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PDF: Final = ("application/pdf", 22)
NAMED: Final = {
    "path": ("보고서 최종.pdf", *PDF),
    "tuple": ("contract.pdf", *PDF),
    "stream": ("보고서 최종.pdf", *PDF),
    "named_stream": ("contract.pdf", *PDF),
    "unicode": ("계약서 ü.txt", "text/plain", 7),
    "nested": ("c.txt", "text/plain", 4),
    "untyped": ("table.csv", "text/csv", 4),
    "empty": ("empty.txt", "text/plain", 0),
}
"""What is stored for each way to upload, where the client gives a name."""
KEYS: Final = {"id", "type", "filename", "mime_type", "size_bytes", "created_at", "downloadable", "expires_at"}

Report = dict[str, Any]


@pytest.fixture
def files(namespace: str, report: Report) -> Report:
    """Return what one namespace reported."""
    assert "raised" not in report["files"], report["files"]
    found: Report = report["files"][namespace]
    return found


def test_a_file_is_uploaded_in_every_way_that_the_sdk_takes(files: Report) -> None:
    """Details 5, 6, 7: raw bytes, paths, streams, non-ASCII names, a path for a name, an empty file."""
    made = {name: one for name, one in files["made"].items() if name in NAMED}
    assert {name: (one["filename"], one["mime_type"], one["size_bytes"]) for name, one in made.items()} == {
        name: expected for name, expected in NAMED.items() if name in files["made"]
    }


def test_raw_bytes_get_the_type_of_their_content(sdk: SDK, files: Report) -> None:
    """Detail 5: newer releases send no name, older ones make one up; 3 MB are no text field."""
    given = {"0.52.0": "upload", "0.77.0": "upload", "0.71.0": "unknown_file"}.get(sdk.version)
    found = {name: (files["made"][name]["filename"], files["made"][name]["mime_type"]) for name in ("bytes", "large")}
    assert found == {
        "bytes": (given or "unnamed.pdf", "application/pdf"),
        "large": (given or "unnamed.bin", "application/octet-stream"),
    }


def test_a_name_with_a_forbidden_character_is_refused(files: Report) -> None:
    """Contract §6.1: `%22` stands for a quote."""
    _expect(files["made"]["quoted"], 400, "invalid_request_error", "BadRequestError")
    assert files["made"]["quoted"]["message"].startswith("filename: ")


def test_metadata_has_every_key_and_can_be_read_back(files: Report) -> None:
    """Contract §6.0, §6.3."""
    first = files["made"]["bytes"]
    assert first.keys() >= KEYS
    assert re.fullmatch(r"file_\w{10,}", first["id"])
    assert (first["type"], first["downloadable"], first["expires_at"]) == ("file", False, None)
    assert TIMESTAMP.fullmatch(first["created_at"])
    assert files["read"] == first


def test_a_file_can_be_told_when_to_expire(sdk: SDK, files: Report) -> None:
    """Contract §6.1: fixed at the upload; the field stands before the file in Python, after it in TypeScript."""
    if files["expiring"] is None:
        assert sdk.version in {"0.52.0", "0.77.0"}
        return
    created, expires = (datetime.fromisoformat(files["expiring"][name]) for name in ("created_at", "expires_at"))
    assert expires - created == timedelta(hours=2)


def test_the_list_is_walked_two_by_two_newest_first(files: Report) -> None:
    """Detail 4: the SDK's own pager, with `page` or with `after_id`; every file once."""
    assert files["listed"] == [one["id"] for one in files["made"].values() if "id" in one][::-1]


def test_old_pagers_walk_in_both_directions(files: Report) -> None:
    """Detail 25."""
    if "newer" not in files:
        return
    oldest_first = files["listed"][::-1]
    assert set(files["newer"]) == set(oldest_first[1:])
    assert files["older"] == files["listed"][1:]


def test_given_ids_are_answered_once_and_end_the_pager(files: Report) -> None:
    """Detail 26, contract §6.2: unknown ones are missing, nothing is walked twice."""
    if "by_ids" not in files:
        assert "newer" in files
        return
    assert files["by_ids"] == files["listed"][::-1][:2][::-1]


def test_uploads_are_not_downloadable(sdk: SDK, files: Report) -> None:
    """Detail 8; the newest releases have a class for it."""
    newest = sdk.version in {"2.12.0", "1.12.0"}
    _expect(files["content"], 400, "invalid_request_error", "FileNotDownloadableError" if newest else "BadRequestError")
    assert files["content"]["message"] == "File is not downloadable"


def test_a_file_that_is_too_large_is_a_413(files: Report) -> None:
    """Contract §1.8: one byte over the limit."""
    assert (files["too_large"]["status"], files["too_large"]["type"]) == (413, "request_too_large")


def test_a_limit_above_1000_is_refused(files: Report) -> None:
    """Contract §6.2."""
    _expect(files["limit"], 400, "invalid_request_error", "BadRequestError")


def test_a_deleted_file_is_gone_at_once_and_for_good(files: Report) -> None:
    """Contract §6.5."""
    file_id = files["made"]["bytes"]["id"]
    assert files["deleted"] == {"id": file_id, "type": "file_deleted"}
    for name in ("twice", "gone"):
        _expect(files[name], 404, "not_found_error", "NotFoundError")
        assert files[name]["message"] == f"File `{file_id}` not found."


def _expect(error: Report, status: int, kind: str, raised: str) -> None:
    assert (error.get("status"), error["type"]) == (status, kind), error
    assert raised in error["classes"]
