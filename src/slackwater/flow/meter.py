"""Meter: what a message used and what that costs."""

from typing import Any

from slackwater.domain.model import Route
from slackwater.domain.pricing import ServiceTier, cost_nanousd
from slackwater.domain.result import Charge
from slackwater.wire.lines import usage_of


def meter(message: dict[str, Any], *, model: str, route: Route, tier: ServiceTier) -> Charge:
    """Return the charge for one succeeded message: usage in tokens, cost in nano-dollars."""
    usage = usage_of(message)
    return Charge(model=model, requests=1, usage=usage, cost_nanousd=cost_nanousd(usage, route.price, tier))
