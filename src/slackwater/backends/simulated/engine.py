"""The model of behaviour behind both faces of the simulator: arrival, fault, queue, prefill, decode."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

from slackwater.backends.simulated.answer import Answer, compose
from slackwater.backends.simulated.cache import InputUsage, PrefixCache
from slackwater.backends.simulated.faults import NO_DIRECTIVES, Directives, Fault, FaultPlan, directives, draw
from slackwater.backends.simulated.options import SimulatedOptions
from slackwater.backends.simulated.papers import documents_in
from slackwater.backends.simulated.prompt import Prompt, digest_of, read_prompt
from slackwater.backends.simulated.witness import Witness
from slackwater.ports import Clock

MODELS = ("simulated",)
_REMEMBERED_DIGESTS_MAX = 1_000_000
_NORMAL = NormalDist()
_NOTICED_SECONDS = 0.1
"""A place that became free longer ago was held by a client who read slowly."""


class QueueFullError(Exception):
    """More requests wait than the simulator lets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A request that has reached the simulator."""

    number: int
    """Counted from 1 over all requests."""
    digest: str
    attempt: int
    """Counted from 1 over the arrivals of this digest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """A request that was read: what it will be told, and what goes wrong on the way."""

    number: int
    """The arrival's."""
    prompt: Prompt
    orders: Directives
    answer: Answer
    fault: Fault | None


class Gate:
    """Lets so many in at once, the others in order of arrival.

    A place is taken over at the instant at which it became free, and not when this process found the time to see it:
    an inference server does not stop computing for that.
    """

    def __init__(self, capacity: int, queue_max: int | None, clock: Clock) -> None:
        self._capacity = capacity
        self._queue_max = queue_max
        self._clock = clock
        self._waiting: deque[asyncio.Future[float]] = deque()
        self.inside = 0
        self.inside_most = 0

    @property
    def queued(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    async def enter(self) -> float:
        """Wait for a place; return the instant at which it was free. Raises QueueFullError when too many wait."""
        if self.inside < self._capacity:
            self.inside += 1
            self.inside_most = max(self.inside_most, self.inside)
            return self._clock.monotonic()
        if self._queue_max is not None and len(self._waiting) >= self._queue_max:
            raise QueueFullError
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # a place that was given back in the same instant went past it
                    self._waiting.remove(turn)
            else:
                self.leave()
            raise

    def leave(self, free_at: float = math.inf) -> None:
        """Give the place, which is free now or became so a moment ago, to the next one who still waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                now = self._clock.monotonic()
                turn.set_result(min(max(free_at, now - _NOTICED_SECONDS), now))
                return
        self.inside -= 1


class Engine:
    """One simulated inference server."""

    def __init__(self, options: SimulatedOptions, clock: Clock, *, timers_late_seconds: float = 0.0) -> None:
        self._timers_late_seconds = timers_late_seconds
        self.options = options
        self.clock = clock
        self.counters: Counter[str] = Counter()
        """What `/stats` shows, by name."""
        self.gate = Gate(options.capacity, options.queue_max, clock)
        self.cache = PrefixCache(options.cache_tokens)
        self._plan = FaultPlan.parse(options.faults, options.seed)
        self._witness = Witness(options.witness) if options.witness is not None else None
        self._attempts: dict[int, int] = {}

    def arrive(
        self, params: Mapping[str, Any], *, protocol: str, model: str, custom_id: str | None, stream: bool
    ) -> Arrival:
        """Count a request and write it down, before anything else happens to it."""
        self.counters["arrived"] += 1
        digest = digest_of(params)
        arrival = Arrival(number=self.counters["arrived"], digest=digest, attempt=self._attempt(int(digest, 16)))
        if self._witness is not None:
            facts: dict[str, Any] = {
                "n": arrival.number,
                "protocol": protocol,
                "custom_id": custom_id,
                "model": model,
                "digest": digest,
                "attempt_of_digest": arrival.attempt,
                "stream": stream,
            }
            if documents := documents_in(params):
                facts["documents"] = documents
            self._witness.saw(self.clock.now(), facts)
        return arrival

    def _attempt(self, digest: int) -> int:
        attempt = self._attempts.get(digest, 0) + 1
        if attempt == 1 and len(self._attempts) >= _REMEMBERED_DIGESTS_MAX:
            del self._attempts[next(iter(self._attempts))]
        self._attempts[digest] = attempt
        return attempt

    def examine(self, params: Mapping[str, Any], arrival: Arrival) -> Visit:
        """Read a request. Raises ValueError when there is no sense in it."""
        prompt = read_prompt(params)
        orders = directives(prompt.last_user_text)
        answer = compose(params, prompt, arrival.digest, orders)
        ordered = orders.fault is not None
        fault = orders.fault_on(arrival.attempt) if ordered else self._plan.fault_for(arrival.number)
        if fault is not None:
            self.counters[f"fault_{fault.kind}"] += 1
        return Visit(number=arrival.number, prompt=prompt, orders=orders, answer=answer, fault=fault)

    def in_service(self, visit: Visit) -> "Service":
        """Return a context that holds a place and is entered when the prefill is done."""
        return Service(self, visit)

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        if seconds > 0:
            await self.clock.sleep(seconds)

    async def wait_until(self, instant: float) -> None:
        """Let time pass up to an instant of the clock, as exactly as timers can."""
        await self.wait(instant - self.clock.monotonic() - self._timers_late_seconds)

    def latency_seconds(self, number: int, orders: Directives = NO_DIRECTIVES) -> float:
        """Return the time to first token of an arrival, without queueing and prefill."""
        if orders.latency_seconds is not None:
            return orders.latency_seconds
        latency = self.options.latency_ms / 1_000
        if self.options.latency_sigma:
            quantile = min(max(draw(self.options.seed, number, "latency"), 1e-9), 1 - 1e-9)
            latency *= math.exp(self.options.latency_sigma * _NORMAL.inv_cdf(quantile))
        return latency

    def stats(self) -> dict[str, int]:
        """Return the counters."""
        gauges = {
            "in_service": self.gate.inside,
            "in_service_most": self.gate.inside_most,
            "queued": self.gate.queued,
            "cached_tokens": len(self.cache),
        }
        return {**self.counters, **gauges}

    def close(self) -> None:
        """Close the witness."""
        if self._witness is not None:
            self._witness.close()
            self._witness = None


class Service:
    """A place in the engine for one request.

    A class and not a generator, which would cost a twentieth of the whole request.
    """

    __slots__ = ("_done_at", "_engine", "_visit", "usage")

    usage: InputUsage
    """What the prefill read."""

    def __init__(self, engine: Engine, visit: Visit) -> None:
        self._engine = engine
        self._visit = visit

    async def __aenter__(self) -> Self:
        """Wait for a place, then for the prefill. Raises QueueFullError when too many wait already."""
        engine, visit = self._engine, self._visit
        self._done_at = await engine.gate.enter()
        try:
            self.usage, chain = engine.cache.look_up(visit.prompt)
            seconds = engine.latency_seconds(visit.number, visit.orders)
            if engine.options.prefill_tokens_per_second:
                seconds += self.usage.prefill / engine.options.prefill_tokens_per_second
            await self._work(seconds)
        except BaseException:
            engine.gate.leave()
            raise
        if chain:
            engine.cache.keep(chain)
        engine.counters["input_tokens"] += self.usage.total
        engine.counters["input_tokens_cached"] += self.usage.read
        engine.counters["output_tokens"] += visit.answer.output_tokens
        return self

    async def decode(self, tokens: int) -> None:
        """Let the time for so many output tokens pass."""
        if self._engine.options.tokens_per_second:
            await self._work(tokens / self._engine.options.tokens_per_second)

    async def _work(self, seconds: float) -> None:
        self._done_at += seconds
        await self._engine.wait_until(self._done_at)

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """Give the place back."""
        if kind is None and self._visit.fault is None:
            self._engine.gate.leave(self._done_at)
        else:
            self._engine.gate.leave()
        self._engine.counters["answered" if kind is None else "broken_off"] += 1
