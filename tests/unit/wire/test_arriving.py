"""Entries that are read while their body arrives are those that the whole body has."""

import json
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.domain.limits import BATCH_REQUESTS_MAX
from slackwater.wire import arriving as module
from slackwater.wire.arriving import OtherwiseError, arriving
from slackwater.wire.envelope import Item, are_plainly_fine, decode_envelope

NESTED: dict[str, Any] = {"tools": [{"custom_id": "x", "params": {}}, {"custom_id": "y", "params": {}}]}
LAYOUTS: dict[str, dict[str, Any]] = {
    "compact": {"separators": (",", ":")},
    "blanks": {},
    "indented": {"indent": 4},
}


def entries(count: int, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return [{"custom_id": f"r{n}", "params": {"model": "m", "text": "é" * n, **(params or {})}} for n in range(count)]


def mapped(body: bytes) -> mmap.mmap:
    found = mmap.mmap(-1, len(body))
    found[:] = body
    return found


def taken(body: mmap.mmap, lengths: Iterable[int]) -> list[tuple[str, bytes]]:
    items: list[Item] = []
    for part, start, end in arriving(body, lengths):
        assert 0 <= start < end < len(body)
        items += part
    if not are_plainly_fine(body, items):
        raise OtherwiseError
    return flat(items)


def flat(items: list[Item]) -> list[tuple[str, bytes]]:
    return [(item.custom_id, bytes(memoryview(item.params))) for item in items]


def mapped_file(path: Path, body: bytes) -> mmap.mmap:
    path.write_bytes(body)
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_layouts_are_read_while_they_arrive(tmp_path: Path, layout: str) -> None:
    """In steps of any size, and with most of the entries there before the end."""
    body = json.dumps({"requests": entries(50)}, ensure_ascii=False, **LAYOUTS[layout]).encode()
    whole = flat(decode_envelope(body))
    for step in (90, 1_000, len(body)):
        lengths = [*range(step, len(body), step), len(body)]
        assert taken(mapped_file(tmp_path / "body", body), lengths) == whole
    early = [part for part, _, _ in _until_over(arriving(mapped_file(tmp_path / "body", body), [len(body) - 100]))]
    assert sum(len(part) for part in early) > 40


def _until_over(parts: Iterator[tuple[list[Item], int, int]]) -> Iterator[tuple[list[Item], int, int]]:
    try:
        yield from parts
    except OtherwiseError:
        return


def test_what_is_not_there_yet_is_not_taken_for_what_will_be(tmp_path: Path) -> None:
    """The file has its length from the start, and nothing in it: a page that was read is read again when it is full."""
    body = json.dumps({"requests": entries(60)}).encode()
    path = tmp_path / "body"
    found = mapped_file(path, bytes(len(body)))
    assert bytes(found[:10]) == bytes(10)

    def growing() -> Iterator[int]:
        for start in range(0, len(body), 333):
            with path.open("r+b") as file:
                file.seek(start)
                file.write(body[start : start + 333])
            yield min(start + 333, len(body))

    assert taken(found, growing()) == flat(decode_envelope(body))


def test_entries_with_entries_inside_are_not_torn(tmp_path: Path) -> None:
    """A place in `params` that looks like the border of two entries is none."""
    body = json.dumps({"requests": entries(3, NESTED)}).encode()
    for first in range(20, len(body)):
        try:
            found = taken(mapped_file(tmp_path / "body", body), [first, len(body)])
        except OtherwiseError:
            continue
        assert found == flat(decode_envelope(body))


def test_it_gives_up_on_bodies_whose_borders_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wrong border costs a look at all that is not taken yet: only so many are looked at."""
    looks: list[int] = []
    real = module._decoded
    monkeypatch.setattr(module, "_decoded", lambda *given: looks.append(1) or real(*given))
    body = b'{"requests":[{"custom_id":"a","params":{"l":[' + b",".join([b'{"custom_id":1}'] * 1_000) + b"]}}]}"
    with pytest.raises(OtherwiseError):
        taken(mapped_file(tmp_path / "body", body), [*range(100, len(body), 100), len(body)])
    assert len(looks) == module._WRONG_PLACES_MAX + 1


@pytest.mark.parametrize(
    "text",
    [
        '{"requests":[]}',
        '{"requests":[{"custom_id":"a","params":{}},]}',
        '{"requests":[{"custom_id":"a","params":{}}],"x":1}',
        '{"requests":[{"custom_id":"a","params":{}}]}}',
        '{"requests":[{"custom_id":"a","params":{}}]',
        '{"x":1,"requests":[{"custom_id":"a","params":{}}]}',
        '{"requests":[{"custom_id":"a","params":[]}]}',
        '{"requests":[{"custom_id":"a","params":{}},{"custom_id":"a","params":{}}]}',
        '{"requests":[{"custom_id":"a","params":{},"x":1}]}',
        '{"requests":[{"custom_id":"a","custom_id":"b","params":{}}]}',
        '{"requests":[{"custom_id":"a b","params":{}}]}',
        '{"requests":[{"custom_id":"a","params":{"x":"\\ud8"}}]}',
        "[]",
        " ",
    ],
)
def test_whatever_is_wrong_is_left_to_who_can_say_so(tmp_path: Path, text: str) -> None:
    """Contract §4.1: nothing is refused here, and nothing wrong is taken."""
    body = text.encode()
    for lengths in ([len(body)], [*range(15, len(body), 7), len(body)]):
        with pytest.raises(OtherwiseError):
            taken(mapped_file(tmp_path / "body", body), lengths)


def test_bytes_that_are_no_text_are_left_too(tmp_path: Path) -> None:
    """B7: msgspec does not look inside raw values."""
    body = b'{"requests":[{"custom_id":"a","params":{"x":"\xff"}}]}'
    with pytest.raises(OtherwiseError):
        taken(mapped_file(tmp_path / "body", body), [len(body)])


def test_more_entries_than_a_batch_may_have_are_not_gathered(tmp_path: Path) -> None:
    """B7: the first one too many ends it."""
    one = b'{"custom_id":"a","params":{}}'
    body = b'{"requests":[' + b",".join([one] * (BATCH_REQUESTS_MAX + 2)) + b"]}"
    found = mapped_file(tmp_path / "body", body)
    with pytest.raises(OtherwiseError):
        taken(found, [*range(2**16, len(body), 2**16), len(body)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("custom_id"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["custom_id", "params", "a", "requests"]), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.builds(
    lambda params, layout, cut: (
        json.dumps(
            {"requests": [{"custom_id": f"r{n}", "params": one} for n, one in enumerate(params)]}, **LAYOUTS[layout]
        ).encode()
        + cut
    ),
    st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), min_size=1, max_size=6),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from([b"", b"\n", b"  ", b"}", b"x"]),
)


@given(body=BODIES, lengths=st.lists(st.integers(1, 600)), damage=st.none() | st.tuples(st.integers(0), st.binary()))
def test_what_is_taken_is_what_the_whole_body_has(
    body: bytes, lengths: list[int], damage: tuple[int, bytes] | None
) -> None:
    """Whatever the body, its damage and the steps in which it arrives (B7)."""
    if damage is not None:
        at = damage[0] % len(body)
        body = body[:at] + damage[1] + body[at + 1 :] or b" "
    steps = [*sorted({length for length in lengths if length < len(body)}), len(body)]
    try:
        found = taken(mapped(body), steps)
    except OtherwiseError:
        return
    assert found == flat(decode_envelope(body))
