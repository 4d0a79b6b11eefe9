"""Money is whole nano-dollars, and waiting halves it."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from slackwater.domain.pricing import Price, cost_nanousd
from slackwater.domain.result import Usage

HAIKU = Price(input_nanousd_per_mtok=1_000_000_000, output_nanousd_per_mtok=5_000_000_000)


def test_a_million_tokens_cost_their_price_and_half_of_it_in_a_batch() -> None:
    """Contract §11: Haiku 4.5 is 1 / 5 USD per million tokens, batch 0.50 / 2.50."""
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    assert cost_nanousd(usage, HAIKU, "standard") == 6_000_000_000
    assert cost_nanousd(usage, HAIKU, "batch") == 3_000_000_000


def test_cache_writes_and_reads_have_their_factors() -> None:
    """Contract §10: write 5 m 1.25, write 1 h 2, read 0.1; they stack with the batch half."""
    million = 1_000_000
    assert cost_nanousd(Usage(cache_creation_5m_input_tokens=million), HAIKU, "standard") == 1_250_000_000
    assert cost_nanousd(Usage(cache_creation_1h_input_tokens=million), HAIKU, "standard") == 2_000_000_000
    assert cost_nanousd(Usage(cache_read_input_tokens=million), HAIKU, "batch") == 50_000_000


def test_half_a_cent_per_million_tokens_does_not_vanish_on_one_request() -> None:
    """A very cheap model still costs something for a thousand tokens."""
    cheap = Price(input_nanousd_per_mtok=5_000_000, output_nanousd_per_mtok=0)
    assert cost_nanousd(Usage(input_tokens=1_000), cheap, "standard") == 5_000


@given(
    st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**11), st.integers(0, 10**11)
)
def test_the_cost_is_the_exact_value_rounded_once(tokens: int, out: int, read: int, price: int, out_price: int) -> None:
    """No rounding before the end: within half a nano-dollar of exact arithmetic."""
    usage = Usage(input_tokens=tokens, output_tokens=out, cache_read_input_tokens=read)
    exact = (Fraction(tokens * price, 10**6) + Fraction(out * out_price, 10**6) + Fraction(read * price, 10**7)) / 2
    got = cost_nanousd(usage, Price(input_nanousd_per_mtok=price, output_nanousd_per_mtok=out_price), "batch")
    assert abs(exact - got) <= Fraction(1, 2)
