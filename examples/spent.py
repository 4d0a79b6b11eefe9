"""What requests took: time, tokens and money."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anthropic.types import Usage

INPUT_USD_PER_MTOK = 1.00
OUTPUT_USD_PER_MTOK = 5.00
CACHE_READ = 0.1
"""A token from the cache costs this share of the input price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What some requests took."""

    requests: int
    seconds: float
    input_tokens: int
    """The whole prompts, cached or not."""
    cached_tokens: int
    output_tokens: int
    cost_usd: float

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.input_tokens + self.output_tokens

    @property
    def tokens_per_second(self) -> str:
        """For people."""
        return f"{self.tokens / max(0.001, self.seconds):,.0f}"

    @property
    def cached_share(self) -> str:
        """How much of the input came from the prefix cache, for people."""
        return f"{self.cached_tokens / max(1, self.input_tokens):.0%}"

    def times(self, factor: float) -> "Spent":
        """Return what so many times the work would take."""
        return Spent(
            requests=round(self.requests * factor),
            seconds=self.seconds * factor,
            input_tokens=round(self.input_tokens * factor),
            cached_tokens=round(self.cached_tokens * factor),
            output_tokens=round(self.output_tokens * factor),
            cost_usd=self.cost_usd * factor,
        )


def of_batch(progress: Mapping[str, Any], seconds: float) -> Spent:
    """Read what the progress extension says about a batch; the cost is the ledger's."""
    usage = progress["usage"]
    cached = usage["cache_read_input_tokens"]
    return Spent(
        requests=progress["size"],
        seconds=seconds,
        input_tokens=usage["input_tokens"] + cached,
        cached_tokens=cached,
        output_tokens=usage["output_tokens"],
        cost_usd=float(progress["cost_usd"]),
    )


def of_messages(usages: Sequence[Usage], seconds: float) -> Spent:
    """Add up synchronous calls, at the standard price."""
    fresh = sum(usage.input_tokens for usage in usages)
    cached = sum(usage.cache_read_input_tokens or 0 for usage in usages)
    written = sum(usage.output_tokens for usage in usages)
    cost = (fresh + CACHE_READ * cached) * INPUT_USD_PER_MTOK + written * OUTPUT_USD_PER_MTOK
    return Spent(
        requests=len(usages),
        seconds=seconds,
        input_tokens=fresh + cached,
        cached_tokens=cached,
        output_tokens=written,
        cost_usd=cost / 1_000_000,
    )
