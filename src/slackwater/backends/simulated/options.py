"""The knobs of the simulator; the command line and the configuration use the same names."""

from dataclasses import dataclass
from pathlib import Path

from slackwater.backends.simulated.faults import FaultPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedOptions:
    """How the simulated inference server behaves."""

    latency_ms: float = 20.0
    """Time before the first token of an answer, queueing and prefill not included; the median when it varies. ≥ 0."""
    latency_sigma: float = 0.0
    """Spread of a log-normal latency: standard deviation of its logarithm. 0: the same for every request."""
    capacity: int = 64
    """Requests in service at once; more wait in order of arrival. ≥ 1."""
    queue_max: int | None = None
    """Requests that may wait; one more is refused (529 Messages, 429 Chat Completions). None: no limit."""
    tokens_per_second: float = 0.0
    """Output speed of one request. 0: instant."""
    prefill_tokens_per_second: float = 0.0
    """Input speed of one request, counted over the tokens that the prefix cache does not hold. 0: instant."""
    cache_tokens: int = 0
    """Size of the prefix cache, rounded down to whole blocks. 0: no cache."""
    seed: int = 0
    """Fixes latencies and faults, given the order of arrival."""
    faults: str = ""
    """Rates of faults, such as `429=0.3,cut=0.01,retry-after=1`; see `faults.FaultPlan.parse`."""
    witness: Path | None = None
    """File that gets one line per request that arrived."""
    timeout_seconds: float = 600.0
    """In process only: when a caller stops waiting for an answer that never comes."""

    def __post_init__(self) -> None:
        """Check the ranges and the plan of faults. Raises ValueError."""
        FaultPlan.parse(self.faults, self.seed)
        if self.capacity < 1:
            msg = "capacity must be at least 1"
            raise ValueError(msg)
        for name in ("latency_ms", "latency_sigma", "tokens_per_second", "prefill_tokens_per_second", "cache_tokens"):
            if getattr(self, name) < 0:
                msg = f"{name} must not be negative"
                raise ValueError(msg)
        if self.queue_max is not None and self.queue_max < 0:
            msg = "queue_max must not be negative"
            raise ValueError(msg)
