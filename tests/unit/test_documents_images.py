"""Images by their headers, files by their first bytes, texts by their encoding."""

import io
import struct
from base64 import b64encode
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slackwater.clock import SystemClock
from slackwater.documents import Documents, look_at_image, read_text, sniff
from slackwater.documents.sources import Sources
from slackwater.domain.document import IMAGE_BYTES_MAX, DocumentError, ImageFacts

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def picture(kind: str, size: tuple[int, int] = (37, 21), **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    return SIGNATURE + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)


REAL: Final = {
    "png": picture("PNG"),
    "jpeg": picture("JPEG"),
    "progressive jpeg": picture("JPEG", progressive=True),
    "jpeg with a long comment": picture("JPEG", comment=b"\xff\xc0" * 5_000),
    "gif": picture("GIF"),
    "webp": picture("WEBP"),
    "lossless webp": picture("WEBP", lossless=True),
    "webp with more": picture("WEBP", exif=b"Exif\0\0" + b"x" * 40),
}


@pytest.mark.parametrize("name", REAL)
def test_type_and_size_of_a_real_image_are_read_off_its_header(name: str) -> None:
    """All four formats, in the forms in which they occur."""
    kind = "image/" + next(word for word in ("png", "jpeg", "gif", "webp") if word in name)
    assert look_at_image(REAL[name]) == ImageFacts(media_type=kind, width=37, height=21)
    assert look_at_image(REAL[name], media_type=kind).width == 37
    assert sniff(REAL[name][:64], "photo.svg") == kind


@given(st.sampled_from(sorted(REAL)), st.integers(0, 700), st.binary(max_size=40), st.integers(0, 700))
def test_a_cut_or_damaged_image_has_a_size_or_an_error_of_its_own(name: str, end: int, junk: bytes, at: int) -> None:
    """C6: whatever the bytes are, nothing else comes out than facts or a DocumentError."""
    data = REAL[name][:end]
    data = data[:at] + junk + data[at + len(junk) :]
    try:
        facts = look_at_image(data)
    except DocumentError:
        return
    assert 0 < facts.width <= 8_000


def test_an_image_that_would_fill_memory_is_refused_by_its_header_alone() -> None:
    """C6: 50,000 by 50,000 pixels are 7.5 GB when decoded; 33 bytes are enough to say no."""
    with pytest.raises(DocumentError, match=r"50,000 x 50,000 pixels; at most 8,000") as caught:
        look_at_image(png_header(50_000, 50_000))
    assert caught.value.error_code == "image_dimensions_too_large"
    assert caught.value.details == {"max_side_length_pixels": 8_000}


@pytest.mark.parametrize(
    ("side", "limit", "fits"), [(8_000, 8_000, True), (8_001, 8_000, False), (2_001, 2_000, False)]
)
def test_the_longest_side_decides(side: int, limit: int, *, fits: bool) -> None:
    """Up to the limit, and not a pixel more; with many images the caller's limit is a lower one."""
    if fits:
        assert look_at_image(png_header(1, side), side_pixels_max=limit).height == side
    else:
        with pytest.raises(DocumentError, match="image is"):
            look_at_image(png_header(1, side), side_pixels_max=limit)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "The data is not a PNG, JPEG, GIF or WebP image: it is empty"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "it looks like SVG"),
        (b"\n<!DOCTYPE html><html></html>", "it looks like HTML"),
        (b"%PDF-1.7", "it looks like a PDF"),
        (b"BM" + bytes(60), r"WebP image$"),
        (SIGNATURE, "The PNG image is cut off or damaged"),
        (SIGNATURE + struct.pack(">I4sII", 13, b"IDAT", 5, 5), "The PNG image is cut off or damaged"),
        (png_header(0, 10), "The PNG image is cut off or damaged"),
        (b"GIF89a\x01", "The GIF image is cut off or damaged"),
        (b"\xff\xd8\xff\xe0\x00", "The JPEG image is cut off or damaged"),
        (b"\xff\xd8\xff\xda" + bytes(40), "The JPEG image is cut off or damaged"),
        (b"\xff\xd8" + b"\xff\xe1\x00\x02" * 2_000_000, "The JPEG image is cut off or damaged"),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8), "The WebP image is cut off or damaged"),
    ],
)
def test_what_is_no_image_says_what_it_is_instead(data: bytes, reason: str) -> None:
    """C6: SVG and HTML that are named .png, other formats, and headers that end too early or never."""
    with pytest.raises(DocumentError, match=reason):
        look_at_image(data)


def test_a_declared_type_that_is_not_the_bytes_type_is_refused() -> None:
    """A backend would believe the one or the other."""
    with pytest.raises(DocumentError, match=r"specified using the image/png media type, but its bytes are a JPEG"):
        look_at_image(REAL["jpeg"], media_type="image/png")


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [
        (b"%PDF-1.4\n", None, "application/pdf"),
        (b"\xef\xbb\xbf\n\n%PDF-1.4\n", "scan.txt", "application/pdf"),
        (b"<svg/>", "photo.png", "text/plain"),
        (b"\x00\x01\x02", "paper.pdf", "application/octet-stream"),
        (b"not a picture", "photo.JPG", "text/plain"),
        (b"a,b\n1,2\n", "table.csv", "text/csv"),
        (b"# Title\n", "NOTES.MD", "text/markdown"),
        (b"<p>", "page.html", "text/html"),
        ("안녕하세요".encode()[:-1], None, "text/plain"),
        ("안녕".encode("utf-16"), None, "text/plain"),
        (b"\xe9t\xe9 ", None, "application/octet-stream"),
        (b"", None, "application/octet-stream"),
        (b"", "empty.txt", "text/plain"),
        (b"\x1f\x8b\x08", "logs.txt.gz", "application/octet-stream"),
        (b"plain words", "unnamed", "text/plain"),
    ],
)
def test_a_media_type_comes_from_the_bytes_then_the_name_then_a_guess(head: bytes, name: str | None, kind: str) -> None:
    """A name never makes a picture or a PDF of something else."""
    assert sniff(head, name) == kind


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("안녕하세요, größer 😀\r\n".encode(), "안녕하세요, größer 😀\r\n"),
        ("\ufeff표".encode(), "표"),
        ("표 😀".encode("utf-16"), "표 😀"),
        (b"\xfe\xff" + "표".encode("utf-16-be"), "표"),
        ("déjà vu, créées, 5 €".encode("cp1252"), "déjà vu, créées, 5 €"),
        (b"", ""),
        (("가" * 400_000).encode(), "가" * 400_000),
        (b"x" * 2_000_000 + b"\xe9", "x" * 2_000_000 + "é"),
    ],
)
def test_a_text_is_decoded_by_its_mark_else_as_utf_8_else_as_latin_1(data: bytes, text: str) -> None:
    """Line ends stay: citations count characters."""
    assert read_text(data) == text


def test_a_declared_charset_is_believed() -> None:
    """Only a byte order mark says more than the one who declares."""
    assert read_text("안녕하세요".encode("cp949"), charset="cp949") == "안녕하세요"
    assert read_text("안녕".encode("euc-kr"), charset="EUC-KR") == "안녕"
    assert read_text("é".encode(), charset="latin-1") == "Ã©"
    assert read_text("\ufeffé".encode(), charset="latin-1") == "é"


@pytest.mark.parametrize(
    ("data", "charset", "reason"),
    [
        ("안녕하세요 여러분".encode("cp949"), None, "neither UTF-8 nor Latin-1; use UTF-8"),
        ("x" * 2_000_000 + "안녕하세요 여러분", None, None),
        (b"a\0b", None, "not text: it contains control characters"),
        (b"PK\x03\x04 and more", None, "not text: it contains control characters"),
        (b"\xff\xfea", None, "not valid UTF-16"),
        (b"abc\xff", "utf-8", "not valid UTF-8"),
        (b"a\0b", "utf-8", "not text: it contains control characters"),
        (b"abc", "zip", "charset is not supported"),
        (b"abc", "klingon", "charset is not supported"),
        (b"abc\x81\x8d", None, "neither UTF-8 nor Latin-1"),
    ],
)
def test_what_no_rule_decodes_is_refused_and_never_garbled(
    data: bytes | str, charset: str | None, reason: str | None
) -> None:
    """A Korean text in an older encoding is valid Latin-1, byte by byte, and means nothing in it."""
    encoded = data.encode("cp949") if isinstance(data, str) else data
    with pytest.raises(DocumentError, match=reason or "neither UTF-8 nor Latin-1"):
        read_text(encoded, charset=charset)


@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "utf-16", "cp949", "ascii"]))
def test_any_bytes_are_a_text_or_an_error(data: bytes, charset: str | None) -> None:
    """And never another exception; a text holds no NUL."""
    try:
        text = read_text(data, charset=charset)
    except DocumentError:
        return
    assert "\0" not in text


@pytest.mark.parametrize(("size", "fits"), [(IMAGE_BYTES_MAX - 1, True), (IMAGE_BYTES_MAX, True), (10_485_761, False)])
async def test_an_encoded_image_may_have_ten_mebibytes_to_the_byte(size: int, *, fits: bool) -> None:
    """Contract §12; what pads the base64 does not count."""
    sources = Sources(documents=Documents(clock=SystemClock()), clock=SystemClock())
    data = b64encode(png_header(9, 9).ljust(size, b"x")).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    try:
        if fits:
            await sources.look(source, 8_000)
        else:
            with pytest.raises(DocumentError, match="exceeds 10 MB: 10485761 bytes > 10485760 bytes"):
                await sources.look(source, 8_000)
    finally:
        await sources.close()
