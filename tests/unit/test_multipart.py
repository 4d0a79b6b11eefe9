"""The streaming form parser of uploads (contract §6.1; details 5, 6, 7)."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.api.multipart import (
    ENVELOPE_BYTES_MAX,
    FIELD_BYTES_MAX,
    HEADER_BYTES_MAX,
    PARTS_MAX,
    Form,
    Received,
)
from slackwater.domain.errors import InvalidRequestError, RequestTooLargeError, WireError

BOUNDARY = "0123456789abcdef0123456789abcdef"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
DISPOSITION = 'form-data; name="file"; filename="contract.pdf"'
FIELDS = frozenset({"expires_in_seconds"})


def part(data: bytes, disposition: str | bytes = DISPOSITION, **headers: str) -> bytes:
    """Write one part without the boundary before it."""
    value = disposition.encode() if isinstance(disposition, str) else disposition
    lines = [b"Content-Disposition: " + value]
    lines += [f"{name.replace('_', '-')}: {given}".encode() for name, given in headers.items()]
    return b"\r\n".join([*lines, b"", data])


def body(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    """Write a form."""
    edge = b"--" + boundary.encode()
    return b"".join(edge + b"\r\n" + one + b"\r\n" for one in parts) + edge + b"--\r\n"


def read(form: bytes, *, content_type: str = TYPE, most: int = 10**9, step: int = 10**9) -> tuple[bytes, Received]:
    """Feed a form in pieces; return the file's bytes and what came with them."""
    reader = Form(content_type, file_bytes_max=most, fields=FIELDS)
    pieces = [form[at : at + step] for at in range(0, len(form), step)]
    data = b"".join(kept for piece in pieces for kept in reader.feed(piece))
    return data, reader.finish()


def refusal(form: bytes, *, content_type: str = TYPE, most: int = 10**9) -> WireError:
    """Feed a form that is refused."""
    with pytest.raises(WireError) as refused:
        read(form, content_type=content_type, most=most)
    return refused.value


def expires(seconds: str) -> bytes:
    """Write the other field."""
    return part(seconds.encode(), 'form-data; name="expires_in_seconds"')


def named(disposition: str | bytes) -> str | None:
    """Return the file name that a part with this disposition gives."""
    return read(body(part(b"x", disposition)))[1].filename


def test_a_file_comes_out_as_it_went_in() -> None:
    """Bytes, name and type as the client wrote them."""
    data, received = read(body(part(b"%PDF-1.7\r\n\0\xff", content_type="application/pdf")))
    assert data == b"%PDF-1.7\r\n\0\xff"
    assert received == Received(filename="contract.pdf", media_type="application/pdf", fields={})


@pytest.mark.parametrize("step", [1, 7, 10**9])
def test_fields_may_come_before_the_file_or_after_it(step: int) -> None:
    """Detail 6: Python sends `expires_in_seconds` first, TypeScript last."""
    for form in (body(expires("3600"), part(b"data")), body(part(b"data"), expires("3600"))):
        data, received = read(form, step=step)
        assert (data, received.fields) == (b"data", {"expires_in_seconds": "3600"})


def test_a_file_part_needs_no_file_name_and_no_type() -> None:
    """Detail 5: raw bytes arrive like a text field, whatever their size."""
    data, received = read(body(part(b"x" * 3_000_000, 'form-data; name="file"')), step=65_536)
    assert len(data) == 3_000_000
    assert (received.filename, received.media_type) == (None, None)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="file"', None),
        ('form-data; name="file"; filename=""', ""),
        ('form-data; name="file"; filename="계약서 최종.pdf"', "계약서 최종.pdf"),
        ('form-data; name="file"; filename="a%22b%22.pdf"', 'a"b".pdf'),
        ('form-data; name="file"; filename="50%25 %0a.pdf"', "50%25 \n.pdf"),
        ('form-data; name="file"; filename="a\\"b\\\\c.pdf"', 'a"b\\c.pdf'),
        ('form-data; name="file"; filename="C:\\dir\\x.pdf"', "C:\\dir\\x.pdf"),
        ('form-data; name="file"; filename="a;b=c.pdf"', "a;b=c.pdf"),
        ("form-data; name=file; filename=plain.pdf", "plain.pdf"),
        ('FORM-DATA;NAME="file";FileName="x"', "x"),
        ('form-data ; filename = "x" ; name = "file" ;', "x"),
        ("form-data; name=\"file\"; filename*=UTF-8''%EA%B3%84.pdf", "계.pdf"),
        ('form-data; name="file"; filename*=iso-8859-1\'en\'%e4.pdf; filename="fallback.pdf"', "ä.pdf"),
        ('form-data; name="file"; filename="a/b/../c.txt"', "a/b/../c.txt"),
    ],
)
def test_a_file_name_is_read_as_clients_write_it(disposition: str, name: str | None) -> None:
    """Detail 7, RFC 6266, and the WHATWG's form encoding; what may be in a name is decided later."""
    assert named(disposition) == name


@pytest.mark.parametrize(
    ("disposition", "words"),
    [
        (b'form-data; name="file"; filename="\xb0\xe8.pdf"', "not valid UTF-8"),
        (b"form-data; name=\"file\"; filename*=UTF-8''%ff.pdf", "filename: not valid UTF-8"),
        (b"form-data; name=\"file\"; filename*=utf-16''x", "filename: filename* should look like"),
        (b'form-data; name="file"; filename*=x', "filename: filename* should look like"),
        (b'form-data; name="file"; filename="open', "cannot be read"),
        (b'form-data; name="file"; filename="a"; filename="b"', "cannot be read"),
        (b'attachment; name="file"', "no content-disposition: form-data"),
        (b"", "no content-disposition: form-data"),
    ],
)
def test_a_name_that_cannot_be_read_is_a_400(disposition: bytes, words: str) -> None:
    """Never garbled, never guessed."""
    error = refusal(body(part(b"x", disposition)))
    assert (error.status, words in error.message) == (400, True)


@pytest.mark.parametrize(
    "content_type",
    [
        f'multipart/form-data; boundary="{BOUNDARY}"',
        f"Multipart/Form-Data; charset=utf-8; Boundary={BOUNDARY}",
        f"multipart/form-data;boundary={BOUNDARY};x=y",
    ],
)
def test_a_boundary_is_found_wherever_it_stands(content_type: str) -> None:
    """Quoted or not, in any case, among others."""
    assert read(body(part(b"data")), content_type=content_type)[0] == b"data"


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        ("", "a file is uploaded as multipart/form-data"),
        ("application/json", "a file is uploaded as multipart/form-data"),
        ("multipart/mixed; boundary=a", "a file is uploaded as multipart/form-data"),
        ("multipart/form-data", "needs a boundary"),
        ("multipart/form-data; boundary=", "needs a boundary"),
        ('multipart/form-data; boundary=" "', "needs a boundary"),
        (f"multipart/form-data; boundary={'b' * 71}", "needs a boundary"),
    ],
)
def test_a_body_of_another_kind_is_a_400_before_anything_is_read(content_type: str, words: str) -> None:
    """Contract §6.1: nothing else is a file."""
    with pytest.raises(InvalidRequestError, match=words):
        Form(content_type, file_bytes_max=1)


FORM = body(expires("3600"), part(b"%PDF-1.7\r\n--0123\r\n-- data"))


@pytest.mark.parametrize("end", range(0, len(FORM) - 2, 7))
def test_a_cut_body_is_a_400(end: int) -> None:
    """Wherever it was cut: a file that is not whole is no file."""
    error = refusal(FORM[:end])
    assert error.message.startswith("The request body is not valid multipart/form-data: ")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (body(expires("3600")), "file: Field required"),
        (body(part(b"x", 'form-data; name="document"')), "file: Field required"),
        (body(part(b"a"), part(b"b")), "file: Only one part of this name may be sent"),
        (body(expires("1"), part(b"a"), expires("2")), "expires_in_seconds: Only one part of this name may be sent"),
        (
            body(part(b"YQ==", content_transfer_encoding="base64")),
            "file: a content-transfer-encoding is not supported; send the bytes as they are",
        ),
        (
            body(part(b"a"), part(b"\xff", 'form-data; name="expires_in_seconds"')),
            "expires_in_seconds: not valid UTF-8",
        ),
        (
            body(part(b"a"), expires("1" * (FIELD_BYTES_MAX + 1))),
            f"expires_in_seconds: Value should have at most {FIELD_BYTES_MAX} bytes",
        ),
    ],
)
def test_a_form_that_is_not_an_upload_is_a_400_that_says_why(form: bytes, message: str) -> None:
    """The API's own words where there are some."""
    error = refusal(form)
    assert (error.status, error.message) == (400, message)


@pytest.mark.parametrize(
    "form",
    [
        b"%PDF-1.7 no form at all",
        b"--other\r\n" + part(b"x"),
        b"--" + BOUNDARY.encode() + b"\r\nno colon\r\n\r\nx",
        body(b": no name\r\n\r\nx"),
        body(part(b"x", DISPOSITION, x="y" * HEADER_BYTES_MAX)),
        body(b"".join(b"a: b\r\n" for _ in range(17)) + part(b"x")),
        body(*(part(b"", 'form-data; name="x"') for _ in range(PARTS_MAX + 1))),
    ],
)
def test_what_is_no_form_is_a_400(form: bytes) -> None:
    """Never a 500, and never without bounds."""
    error = refusal(form)
    assert (error.status, error.type) == (400, "invalid_request_error")


def test_other_parts_are_ignored_up_to_a_limit() -> None:
    """Nobody asked for them; nobody keeps them."""
    other = part(b"z" * 1000, 'form-data; name="purpose"; filename="file"')
    assert read(body(other, part(b"data"), other))[0] == b"data"
    large = part(b"z" * (ENVELOPE_BYTES_MAX + 1), 'form-data; name="purpose"')
    assert refusal(body(large, part(b"data"))).status == 413


def test_the_limit_is_on_the_file_s_bytes_to_the_byte() -> None:
    """Contract §1.8: counted while streaming; nothing is passed on once it is crossed."""
    form = body(expires("3600"), part(b"x" * 100))
    assert len(read(form, most=100)[0]) == 100
    reader = Form(TYPE, file_bytes_max=99)
    with pytest.raises(RequestTooLargeError):
        reader.feed(form[: form.index(b"x" * 100) + 100 + len(BOUNDARY) + 4])


@settings(max_examples=200, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from([b"\r", b"\n", b"-", b"--", BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode()[:-1], b"x"])
        )
        .map(b"".join)
        .filter(lambda data: b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + data),
    ),
    cuts=st.lists(st.integers(0, 900), max_size=12),
    field_first=st.booleans(),
)
def test_nothing_depends_on_where_the_network_cuts(data: bytes, cuts: list[int], field_first: bool) -> None:
    """Any bytes, near-boundaries among them, in any pieces."""
    parts = [part(data), expires("3600")]
    form = body(*(reversed(parts) if field_first else parts))
    edges = [0, *sorted(min(cut, len(form)) for cut in cuts), len(form)]
    reader = Form(TYPE, file_bytes_max=10**9, fields=FIELDS)
    kept = b"".join(one for start, stop in pairwise(edges) for one in reader.feed(form[start:stop]))
    assert kept == data
    assert reader.finish() == Received(filename="contract.pdf", media_type=None, fields={"expires_in_seconds": "3600"})


@settings(max_examples=200, deadline=None)
@given(junk=st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([FORM[:40], FORM[40:90], FORM[90:]]))))
def test_rubbish_is_refused_or_read_but_never_fails_otherwise(junk: list[bytes]) -> None:
    """Bad input is the client's 4xx."""
    reader = Form(TYPE, file_bytes_max=100, fields=FIELDS)
    status = 200
    try:
        for piece in junk:
            reader.feed(piece)
        reader.finish()
    except WireError as error:
        status = error.status
    assert status in {200, 400, 413}
