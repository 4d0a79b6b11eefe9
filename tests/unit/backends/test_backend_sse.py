"""The reader of server-sent events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.backends.sse import BrokenStreamError, EventReader, ServerEvent

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
LINES = st.lists(
    st.one_of(
        st.just(""),
        TEXT.map(lambda text: f"data: {text}"),
        TEXT.map(lambda text: f"data:{text}"),
        TEXT.map(lambda text: f"event: {text}"),
        TEXT.map(lambda text: f": {text}"),
        TEXT,
    ),
    max_size=20,
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def events_of(*pieces: bytes) -> list[ServerEvent]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


@settings(deadline=None)
@given(LINES, st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(lines: list[str], data: st.DataObject) -> None:
    """However a stream is cut into pieces, and whatever its line ends, the events are those of the whole."""
    stream = "".join(line + data.draw(ENDS) for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert events_of(*pieces) == events_of(stream) == events_of(*(bytes([byte]) for byte in stream))


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [("message", "a")]),
        (b"event: ping\ndata: {}\n\n", [("ping", "{}")]),
        (b"data: a\ndata: b\n\n", [("message", "a\nb")]),
        (b"data:a\n\ndata:  b\n\n", [("message", "a"), ("message", " b")]),
        (b"data: a\r\n\r\ndata: b\r\r", [("message", "a"), ("message", "b")]),
        (b": comment\n\ndata\n\n", [("message", "")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")]),
        (b"event: x\n\ndata: a\n\n", [("message", "a")]),
        (b"id: 7\nretry: 9\ndata: a\n\n", [("message", "a")]),
        (b"data: never finished\n", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream: bytes, expected: list[tuple[str, str]]) -> None:
    """Fields, several data lines, comments, a byte order mark, and an open event at the end that is dropped."""
    assert [(event.event, event.data) for event in events_of(stream)] == expected


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 60, b"data: xxxxxxxxxx\n" * 6, b": " + b"x" * 60])
def test_an_event_that_grows_without_end_is_refused(piece: bytes) -> None:
    """The size of one event is bounded, whether it is one long line or many."""
    with pytest.raises(BrokenStreamError):
        EventReader(event_bytes_max=50).feed(piece)


def test_the_bound_is_on_one_event_not_on_the_stream() -> None:
    """A long stream of small events is fine."""
    reader = EventReader(event_bytes_max=50)
    assert sum(len(reader.feed(b"data: 0123456789\n\n")) for _ in range(100)) == 100


def test_an_event_that_is_not_utf8_is_refused() -> None:
    """Bytes that are not text are never guessed at."""
    with pytest.raises(BrokenStreamError):
        EventReader().feed(b"data: \xff\n\n")


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [b"data", b"data:", b"event:", b"id: 1", b"\r", b"\n", b"\n\n", b"\xef\xbb\xbf", b"\xff", b":"]
            ),
        )
    )
)
def test_any_bytes_give_events_or_a_broken_stream(pieces: list[bytes]) -> None:
    """S8: nothing that a backend sends makes the reader fail otherwise, or hold more than its bound."""
    reader, whole = EventReader(event_bytes_max=50), 0
    try:
        for piece in pieces:
            whole += sum(len(event.data.encode()) for event in reader.feed(piece))
            assert reader._size + len(reader._line) <= 50
    except BrokenStreamError:
        whole = 0
    assert whole <= sum(len(piece) for piece in pieces)
