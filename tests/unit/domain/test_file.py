"""What a file may be called and how long it may live (contract §6.1)."""

from datetime import UTC, datetime, timedelta

import pytest

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.file import File, lifetime, name_for

PDF = "application/pdf"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("contract.pdf", "contract.pdf"),
        ("a/b/../c.txt", "c.txt"),
        ("../../etc/passwd", "passwd"),
        ("/보고서 (최종).pdf", "보고서 (최종).pdf"),
        ("CON", "CON"),
        ("n" * 255, "n" * 255),
        ("d" * 300 + "/x", "x"),
        (None, "unnamed.pdf"),
        ("", "unnamed.pdf"),
        ("a/", "unnamed.pdf"),
        ("..", "unnamed.pdf"),
        (" . ", "unnamed.pdf"),
    ],
)
def test_the_last_component_is_the_name(given: str | None, stored: str) -> None:
    """It is data, never a path; none or nothing becomes `unnamed` with the type's extension."""
    assert name_for(given, PDF) == stored


@pytest.mark.parametrize(
    "given",
    ["n" * 256, "a\r\nX: y", "a\0b", "C:\\x", "a\\b", "a<b", "a>b", "a:b", 'a"b', "a|b", "a?b", "a*b", "\ud800"],
)
def test_a_name_that_is_not_allowed_is_refused(given: str) -> None:
    """C1: 400 that names the parameter and does not repeat the name."""
    with pytest.raises(InvalidRequestError, match=r"^filename: ") as caught:
        name_for(given, PDF)
    assert given not in caught.value.message


def test_a_type_without_a_usual_extension_is_bytes() -> None:
    """`unnamed` always has one."""
    assert name_for(None, "application/x-unheard-of") == "unnamed.bin"
    assert name_for(None, "text/plain") == "unnamed.txt"


def test_a_lifetime_is_an_hour_to_ninety_days_or_for_ever() -> None:
    """Contract §6.1, both ends included."""
    assert lifetime(None) is None
    assert lifetime(3_600) == timedelta(hours=1)
    assert lifetime(7_776_000) == timedelta(days=90)
    with pytest.raises(InvalidRequestError, match=r"^expires_in_seconds: .* greater than or equal to 3600$"):
        lifetime(3_599)
    with pytest.raises(InvalidRequestError, match=r"^expires_in_seconds: .* less than or equal to 7776000$"):
        lifetime(7_776_001)


def test_a_file_expires_at_its_instant() -> None:
    """T4: at `expires_at`, not after it; without one never."""
    facts = {"id": "file_1", "workspace_id": "w", "filename": "f", "mime_type": PDF, "blob_key": "k"}
    lasting = File(**facts, size_bytes=1, digest=b"", created_at=NOW)  # type: ignore[arg-type]  # strings, all of them
    until = File(**facts, size_bytes=1, digest=b"", created_at=NOW, expires_at=NOW)  # type: ignore[arg-type]  # likewise
    assert not lasting.expired(NOW + timedelta(days=9999))
    assert until.expired(NOW)
    assert not until.expired(NOW - timedelta(microseconds=1))


def test_a_file_whose_bytes_were_removed_has_expired_whatever_our_clock_says() -> None:
    """T4: a sweeper whose clock is ahead of ours took them; there is no blob to ask for."""
    facts = {"id": "file_1", "workspace_id": "w", "filename": "f", "mime_type": PDF, "blob_key": ""}
    swept = File(**facts, size_bytes=1, digest=b"", created_at=NOW, expires_at=NOW)  # type: ignore[arg-type]  # strings
    assert swept.expired(NOW - timedelta(seconds=1))
