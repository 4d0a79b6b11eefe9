"""Ids sort by time and never repeat."""

from hypothesis import given
from hypothesis import strategies as st

from slackwater.domain.ids import BATCH, IdSource, base58, uuid7_number


def test_an_id_has_the_shape_seen_in_practice() -> None:
    """Prefix, `01`, 22 base58 characters (contract §3)."""
    made = IdSource(lambda: 1_700_000_000_000).new(BATCH)
    prefix, _, body = made.partition("_")
    assert prefix == "msgbatch"
    assert body.startswith("01")
    assert len(body) == 24
    assert not set(body[2:]) & set("0OIl")


@given(st.lists(st.integers(min_value=1, max_value=2**47), min_size=2, max_size=50))
def test_ids_never_go_backwards_even_when_the_clock_does(instants: list[int]) -> None:
    """T3: a clock step reorders no ids."""
    ticks = iter(instants)
    source = IdSource(lambda: next(ticks))
    made = [source.new("x") for _ in instants]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ten_thousand_ids_of_one_millisecond_are_distinct_and_in_order() -> None:
    """More than the sequence holds: the milliseconds are borrowed from the future."""
    source = IdSource(lambda: 5)
    made = [source.new("x") for _ in range(10_000)]
    assert made == sorted(set(made))


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1))
def test_base58_keeps_order(one: int, other: int) -> None:
    """Text order is number order, because of the zero padding."""
    assert (base58(one) < base58(other)) == (one < other)


def test_the_number_is_a_version_7_uuid() -> None:
    """RFC 9562 §5.7: time, version nibble 7, variant 10."""
    number = uuid7_number(0x0123456789AB, 0xABC, 2**64 - 1)
    assert number >> 80 == 0x0123456789AB
    assert (number >> 76) & 0xF == 7
    assert (number >> 64) & 0xFFF == 0xABC
    assert (number >> 62) & 0b11 == 0b10


def test_no_two_ids_have_the_same_random_part_however_many_are_made() -> None:
    """A4: the random bytes are kept in stock, and each is used once."""
    source = IdSource(lambda: 5)
    randomness = {source._number() & ((1 << 62) - 1) for _ in range(5_000)}
    assert len(randomness) == 5_000
    assert all(any(number >> bit & 1 for number in randomness) for bit in range(62))
