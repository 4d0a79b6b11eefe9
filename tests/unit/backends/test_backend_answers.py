"""Reading an answer: the same however its bytes are cut, bounded whatever they are, no more than was sent (F16)."""

import gc
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.backends.answers import HEAD_BYTES_MAX, AnswerReader, UnreadableAnswerError

LIMIT, ERROR_LIMIT = 1_000, 100
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nx-a: c\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: u\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + SIZED
ZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    len(gzip.compress(b"hello")),
    gzip.compress(b"hello"),
)
UNSIZED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"


def reader() -> AnswerReader:
    return AnswerReader(LIMIT, ERROR_LIMIT)


def read(*pieces: bytes) -> AnswerReader:
    made = reader()
    for piece in pieces:
        made.feed(piece)
    return made


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, INTERIM, ZIPPED])
def test_an_answer_that_nobody_needs_any_more_is_gone_at_once(answer: bytes) -> None:
    """And does not wait with its body for the garbage collector, which comes after thousands of them."""
    gc.collect()
    gc.disable()
    try:
        assert read(answer).whole
        assert not any(isinstance(one, AnswerReader) for one in gc.get_objects())
    finally:
        gc.enable()


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, INTERIM, ZIPPED])
def test_an_answer_is_the_same_wherever_it_is_cut(answer: bytes) -> None:
    """F16: in two at every byte, and byte by byte; it is whole with its last byte and not before."""
    cuts = [(answer[:place], answer[place:]) for place in range(1, len(answer))]
    for pieces in [*cuts, tuple(bytes([byte]) for byte in answer)]:
        made = reader()
        for piece in pieces:
            assert not made.whole
            made.feed(piece)
        assert (made.status, bytes(made.body), made.whole, made.reusable, made.over) == (
            200,
            b"hello",
            True,
            True,
            False,
        )


def test_names_of_headers_have_no_case_and_the_first_one_counts() -> None:
    """RFC 9110 §5.1; interim answers and trailers add nothing."""
    assert read(SIZED).headers == {"content-length": "5", "x-a": "b"}
    assert read(INTERIM).headers == {"content-length": "5", "x-a": "b"}
    assert read(CHUNKED).headers == {"transfer-encoding": "chunked"}


def test_a_body_without_a_length_is_whole_when_the_connection_ends() -> None:
    """RFC 9112 §6.3: and the connection is of no further use."""
    made = read(UNSIZED)
    assert not made.whole
    assert made.end()
    assert (bytes(made.body), made.reusable) == (b"hello", False)


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, ZIPPED, INTERIM])
def test_an_answer_that_ends_early_is_never_whole(answer: bytes) -> None:
    """S7: whatever was missing."""
    for length in range(len(answer)):
        assert not read(answer[:length]).end()


def test_an_encoded_body_that_ends_early_is_never_whole() -> None:
    """S7: the encoding has an end of its own, which must have come too."""
    encoded = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n"
    assert not read(head, encoded[:-1]).end()
    assert read(head, encoded).end()
    sized = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % (len(encoded) - 1)
    with pytest.raises(UnreadableAnswerError):
        read(sized, encoded[:-1])


@pytest.mark.parametrize("surplus", [b"x", b"\0", SIZED, b"\r\nHTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("answer", [SIZED, CHUNKED])
def test_what_follows_an_answer_is_no_part_of_it_and_ends_the_use_of_the_connection(
    answer: bytes, surplus: bytes
) -> None:
    """S8, F16: bytes that nobody asked for would be taken for the next request's answer."""
    for made in (read(answer + surplus), read(answer, surplus)):
        assert (made.status, bytes(made.body), made.whole, made.reusable) == (200, b"hello", True, False)


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", True),
        (b"HTTP/1.1 200 OK\r\n", True),
    ],
)
def test_the_server_says_whether_the_connection_may_be_used_again(head: bytes, *, reusable: bool) -> None:
    """RFC 9112 §9.3."""
    made = read(head + b"content-length: 2\r\n\r\nhi")
    assert (made.whole, made.reusable) == (True, reusable)


@pytest.mark.parametrize(
    "flood",
    [
        b"X: " + b"a" * 100,
        b"X: y\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_a_head_without_end_is_not_read(flood: bytes) -> None:
    """F16: one header, many, or many interim answers."""
    begun = b"" if flood.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"
    pieces = [flood] * (2 * HEAD_BYTES_MAX // len(flood))
    with pytest.raises(UnreadableAnswerError):
        read(begun, *pieces)


@pytest.mark.parametrize("begun", [b"2;x=", b"2\r\nhe\r\n0\r\nX: "])
def test_a_trailer_or_a_chunk_extension_without_end_is_not_read(begun: bytes) -> None:
    """F16: they are no body, and count for none."""
    pieces = [b"a" * 100] * (2 * HEAD_BYTES_MAX // 100)
    with pytest.raises(UnreadableAnswerError):
        read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + begun, *pieces)


@pytest.mark.parametrize(
    "answer",
    [
        b"220 smtp.example ESMTP\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nplain text in place of it",
        b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    """S7, F16: other protocols, lengths that contradict each other, encodings that nobody asked for."""
    with pytest.raises(UnreadableAnswerError):
        read(answer)


def test_a_body_is_read_up_to_its_limit_and_an_error_up_to_its_own() -> None:
    """C8: announced or not, and counted decoded."""
    assert read(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (LIMIT + 1)).over
    assert not read(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * LIMIT).over
    assert read(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * LIMIT, b"x").over
    assert not read(b"HTTP/1.1 500 X\r\ncontent-length: 9999\r\n\r\n", b"x" * ERROR_LIMIT).over
    assert read(b"HTTP/1.1 500 X\r\n\r\n" + b"x" * ERROR_LIMIT, b"x").over
    bomb = read(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", gzip.compress(b" " * 10_000_000))
    assert (bomb.over, len(bomb.body)) == (True, LIMIT + 1)


def test_a_switch_of_protocols_is_an_answer_and_the_end_of_the_connection() -> None:
    """Nobody asked for one."""
    made = read(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\0\1")
    assert (made.status, made.whole, made.reusable) == (101, True, False)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_is_whole_after_its_head(status: int) -> None:
    """RFC 9112 §6.3: whatever length it names."""
    assert read(b"HTTP/1.1 %d X\r\n\r\n" % status).whole


@given(st.lists(st.binary(max_size=60) | st.sampled_from([SIZED[:40], CHUNKED[:50], b"\r\n", b"HTTP/1.1 200 OK\r\n"])))
def test_garbage_is_unreadable_or_an_answer_and_nothing_else(pieces: list[bytes]) -> None:
    """F16: no bytes raise anything else or get past a limit."""
    made = reader()
    try:
        for piece in pieces:
            made.feed(piece)
        made.end()
    except UnreadableAnswerError:
        pass
    assert len(made.body) <= LIMIT + 60
