"""What goes wrong, by plan and by order: fault rates for all requests, directives inside one request's text.

Directives stand in the last user text: `[[sim:status=500 times=2]]`, `[[sim:cut]]`, `[[sim:text=exact answer]]`. A
request that orders a fault is left alone by the plan. The plan is a function of the seed and the arrival number alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from slackwater.domain.errors import BY_TYPE, APIError, InvalidRequestError, WireError

MESSAGE = "This error was ordered from the simulator."

_DIRECTIVE = re.compile(r"\[\[sim:(.*?)\]\]", re.DOTALL)
_MASK = (1 << 64) - 1
_HTTP_ERRORS = range(300, 600)
_CLIENT_ERRORS = range(400, 500)


class FaultKind(StrEnum):
    """What the simulator does instead of answering properly."""

    STATUS = "status"
    """An error status with the protocol's error body."""
    HANG = "hang"
    """The request is taken and never answered."""
    REFUSED = "refused"
    """The server is away. Over HTTP the connection is already there, so this is a 503 that closes it."""
    RESET = "reset"
    """The connection is reset before the first byte of the answer."""
    CLOSE = "close"
    """The connection is closed in good order before the first byte of the answer."""
    REDIRECT = "redirect"
    """302 to another path of the simulator, which counts who follows and whether the key came along."""
    CUT = "cut"
    """The connection is reset in the middle of the body."""
    SLOW = "slow"
    """The body is dribbled over some seconds; the answer is right."""
    GARBAGE = "garbage"
    """200 with bytes that are not JSON."""
    TRUNCATED = "truncated"
    """200 with the first half of the JSON and a length that agrees with it; a stream that just ends."""
    WRONGSHAPE = "wrongshape"
    """200 with JSON of another shape."""
    NAN = "nan"
    """200 with a NaN where a number belongs."""
    DEEP = "deep"
    """200 with JSON nested a hundred thousand levels deep."""
    HUGE = "huge"
    """200 with a body of many MiB."""
    ENDLESS = "endless"
    """200 with a body that never ends; a stream of pings."""
    ERROR200 = "error200"
    """200 with an error body; in a stream an error event after the first deltas."""
    WRONGLENGTH = "wronglength"
    """200 with a Content-Length larger than the body, then the end of the connection."""
    EMPTY = "empty"
    """200 with no body."""
    HTML = "html"
    """200 with a proxy's HTML page."""


BEFORE_SERVICE = frozenset(
    {
        FaultKind.STATUS,
        FaultKind.HANG,
        FaultKind.REFUSED,
        FaultKind.RESET,
        FaultKind.CLOSE,
        FaultKind.REDIRECT,
    }
)
"""Faults in front of the engine: they take no capacity and no time of their own. The others spoil a served answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault, as it is about to happen."""

    kind: FaultKind
    status: int = 0
    """HTTP status of a STATUS fault."""
    error_type: str | None = None
    """Wire type of a STATUS fault's body; None: the one that goes with the status."""
    retry_after_seconds: float | None = None
    seconds: float = 2.0
    """How long a SLOW body takes."""
    body_mebibytes: int = 1024
    """Size of a HUGE body."""

    def wire_error(self) -> WireError:
        """Return what the body of an error status says."""
        if self.error_type is not None:
            return BY_TYPE[self.error_type](MESSAGE)
        fallback: type[WireError] = InvalidRequestError if self.status in _CLIENT_ERRORS else APIError
        return next((cls for cls in BY_TYPE.values() if cls.status == self.status), fallback)(MESSAGE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Directives:
    """What one request ordered."""

    fault: Fault | None = None
    times: int | None = None
    """The fault strikes this many arrivals of the same request; None: all of them."""
    latency_seconds: float | None = None
    """Instead of the configured latency."""
    stop_reason: str | None = None
    text: str | None = None
    """The whole answer, without the marker."""
    output_tokens: int | None = None
    """Length to which the answer is filled up or cut."""

    def fault_on(self, attempt: int) -> Fault | None:
        """Return the ordered fault if it strikes this arrival (counted from 1) of the request."""
        return self.fault if self.times is None or attempt <= self.times else None


NO_DIRECTIVES = Directives()


def directives(text: str) -> Directives:
    """Read the directives in a text. Raises ValueError, naming the one that makes no sense."""
    if "[[sim:" not in text:
        return NO_DIRECTIVES
    found = NO_DIRECTIVES
    for match in _DIRECTIVE.finditer(text):
        body = match.group(1).strip()
        try:
            found = _obey(found, body)
        except (ValueError, KeyError) as error:
            msg = f"the simulator does not understand the directive [[sim:{body}]]"
            raise ValueError(msg) from error
    return found


def _obey(found: Directives, body: str) -> Directives:
    if body.startswith("text="):
        return replace(found, text=body.removeprefix("text="))
    for word in body.split():
        key, _, value = word.partition("=")
        found = _SETTERS[key](found, value) if key in _SETTERS else _order(found, FaultKind(_ALIASES.get(key, key)))
    return found


def _order(found: Directives, kind: FaultKind) -> Directives:
    return replace(found, fault=Fault(kind=kind))


def _order_status(found: Directives, value: str) -> Directives:
    return replace(found, fault=Fault(kind=FaultKind.STATUS, status=_status(value)))


def _order_error(found: Directives, value: str) -> Directives:
    return replace(found, fault=Fault(kind=FaultKind.STATUS, status=BY_TYPE[value].status, error_type=value))


def _order_slow(found: Directives, value: str) -> Directives:
    return replace(found, fault=Fault(kind=FaultKind.SLOW, seconds=float(value or 2)))


def _order_huge(found: Directives, value: str) -> Directives:
    return replace(found, fault=Fault(kind=FaultKind.HUGE, body_mebibytes=int(value or 1024)))


def _set_retry_after(found: Directives, value: str) -> Directives:
    if found.fault is None:
        raise ValueError(value)
    return replace(found, fault=replace(found.fault, retry_after_seconds=float(value)))


def _status(value: str) -> int:
    status = int(value)
    if status not in _HTTP_ERRORS:
        raise ValueError(value)
    return status


_ALIASES = {"timeout": "hang"}
_SETTERS: dict[str, Callable[[Directives, str], Directives]] = {
    "status": _order_status,
    "error": _order_error,
    "slow": _order_slow,
    "huge": _order_huge,
    "retry-after": _set_retry_after,
    "times": lambda found, value: replace(found, times=int(value)),
    "latency": lambda found, value: replace(found, latency_seconds=float(value)),
    "stop": lambda found, value: replace(found, stop_reason=value),
    "tokens": lambda found, value: replace(found, output_tokens=int(value)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultPlan:
    """Rates of faults for requests that order none."""

    seed: int
    bounds: tuple[tuple[float, Fault], ...]
    """Upper bounds, ascending, of the part of [0, 1) in which each fault strikes."""

    @classmethod
    def parse(cls, text: str, seed: int) -> "FaultPlan":
        """Read `429=0.3,500=0.05,cut=0.01,retry-after=1,slow-seconds=2,huge-mib=64`.

        Names are status codes and fault kinds, values are probabilities; the last three are not faults but say how
        those look. Raises ValueError, naming the entry.
        """
        pairs = [entry.strip().partition("=") for entry in text.split(",") if entry.strip()]
        looks = {key: value for key, _, value in pairs if key in _LOOKS}
        bound = 0.0
        bounds = []
        for key, _, value in pairs:
            if key in looks:
                continue
            try:
                rate, fault = float(value), _planned(key, looks)
            except ValueError as error:
                msg = f"{key}={value} is not a fault and its rate"
                raise ValueError(msg) from error
            bound += rate
            if rate < 0 or bound > 1 + 1e-9:
                msg = f"{key}={value}: rates lie in 0..1 and sum to at most 1"
                raise ValueError(msg)
            bounds.append((bound, fault))
        return cls(seed=seed, bounds=tuple(bounds))

    def fault_for(self, number: int) -> Fault | None:
        """Return what strikes the arrival of this number."""
        if not self.bounds:
            return None
        drawn = draw(self.seed, number, "fault")
        return next((fault for bound, fault in self.bounds if drawn < bound), None)


_LOOKS = frozenset({"retry-after", "slow-seconds", "huge-mib"})
_AWAY = frozenset({429, 503, 529})


def _planned(name: str, looks: dict[str, str]) -> Fault:
    if name.isdigit():
        status = _status(name)
        wait = float(looks["retry-after"]) if "retry-after" in looks and status in _AWAY else None
        return Fault(kind=FaultKind.STATUS, status=status, retry_after_seconds=wait)
    return Fault(
        kind=FaultKind(_ALIASES.get(name, name)),
        seconds=float(looks.get("slow-seconds", 2)),
        body_mebibytes=int(looks.get("huge-mib", 1024)),
    )


def draw(seed: int, number: int, purpose: str) -> float:
    """Return a number in [0, 1) that depends on its arguments alone (splitmix64), the same in every process."""
    state = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + int.from_bytes(purpose.encode())) & _MASK
    for multiplier in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        state = ((state ^ (state >> 30)) * multiplier) & _MASK
        state ^= state >> 27
    return (state >> 11) / (1 << 53)
