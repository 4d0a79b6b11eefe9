"""Meter: what a message used and what that costs."""

from typing import Any

from slackwater.domain.model import Route
from slackwater.domain.pricing import ServiceTier, cost_nanousd
from slackwater.domain.result import Usage
from slackwater.wire.lines import usage_of


def meter(message: dict[str, Any], *, route: Route, tier: ServiceTier) -> tuple[Usage, int]:
    """Return what one succeeded message used, in tokens, and what it costs, in nano-dollars."""
    usage = usage_of(message)
    return usage, cost_nanousd(usage, route.price, tier)
