"""What a message costs: integer nano-dollars, batch at half price (contract §10, §11)."""

from dataclasses import dataclass
from typing import Literal

from slackwater.domain.result import Usage

ServiceTier = Literal["standard", "batch"]

_TOKENS_PER_PRICE = 1_000_000
_SCALE = 40  # every factor below is a whole number of fortieths, so that nothing is rounded before the end
_INPUT, _WRITE_5M, _WRITE_1H, _READ = 40, 50, 80, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """A model's standard-tier price."""

    input_nanousd_per_mtok: int
    output_nanousd_per_mtok: int


FREE = Price(input_nanousd_per_mtok=0, output_nanousd_per_mtok=0)


def cost_nanousd(usage: Usage, price: Price, tier: ServiceTier) -> int:
    """Return the cost of one message, rounded half up to a whole nano-dollar.

    Factors on the input price: 5-minute cache write 1.25, 1-hour write 2, read 0.1; the batch tier halves the whole.
    """
    weighted_input = (
        usage.input_tokens * _INPUT
        + usage.cache_creation_5m_input_tokens * _WRITE_5M
        + usage.cache_creation_1h_input_tokens * _WRITE_1H
        + usage.cache_read_input_tokens * _READ
    )
    scaled = (
        weighted_input * price.input_nanousd_per_mtok + usage.output_tokens * _SCALE * price.output_nanousd_per_mtok
    )
    divisor = _TOKENS_PER_PRICE * _SCALE * (2 if tier == "batch" else 1)
    return (2 * scaled + divisor) // (2 * divisor)
