"""Interactive: synchronous `/v1/messages`, through the same gates as batch work and ahead of it.

Somebody waits for the answer, so nothing is retried here: the client's SDK does that, and is told when.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

from slackwater.domain.batch import Terms
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, OverloadedError
from slackwater.domain.model import Routes
from slackwater.domain.result import Charge
from slackwater.flow.gate import PROBE_SECONDS, Gate
from slackwater.flow.material import Filled, Job, Material
from slackwater.flow.meter import meter
from slackwater.flow.resolve import Resolved, resolve, resolve_count
from slackwater.ports import Backend, Call, Clock, Ledger
from slackwater.wire.lines import finish_event, finish_message, usage_of

ESTIMATED_BYTES_PER_TOKEN = 4
FIRST_TOKEN_SECONDS, WHOLE_ANSWER_SECONDS = 60.0, 2.0
"""A backend with slots starts no batch work beside a call that waits for its first token, at most so long. Of a whole
answer the first token is not seen."""
_BEFORE_FIRST_TOKEN = ("message_start", "ping")


CountedBy = Literal["backend", "tokenizer", "estimate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks, and under which terms."""

    workspace_id: str
    key_id: str
    terms: Terms


class Interactive:
    """The steps behind `/v1/messages` and `/v1/messages/count_tokens`."""

    def __init__(
        self,
        *,
        routes: Routes,
        backends: Mapping[str, Backend],
        gates: Mapping[str, Gate],
        material: Material,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._material = material
        self._routes = routes
        self._backends = backends
        self._gates = gates
        self._ledger = ledger
        self._clock = clock

    def check(self, body: bytes, caller: Caller) -> Resolved:
        """Validate a body. Raises InvalidRequestError or NotFoundError."""
        return resolve(body, terms=caller.terms, routes=self._routes, batch=False)

    async def create(self, asked: Resolved, caller: Caller) -> dict[str, Any]:
        """Return the whole Message. Raises a WireError."""
        backend = self._backends[asked.route.backend]
        async with self._passing(asked, caller, WHOLE_ANSWER_SECONDS) as (filled, _):
            message = await filled.answer(await backend.infer(_call(asked, caller, filled)))
        finished = finish_message(message, usage_of(message), model=asked.checked.model, service_tier="standard")
        await self._charge(finished, asked, caller)
        return finished

    async def stream(self, asked: Resolved, caller: Caller) -> AsyncIterator[dict[str, Any]]:
        """Yield the stream's events (contract §7.1). Raises a WireError, before the first event or after it."""
        backend = self._backends[asked.route.backend]
        usage: dict[str, Any] = {}
        try:
            async with (
                self._passing(asked, caller, FIRST_TOKEN_SECONDS) as (filled, first_token),
                # When the client leaves, the backend's slot is free before ours is given to the next one.
                aclosing(_generator(backend.stream(_call(asked, caller, filled)))) as said,
            ):
                async for event in filled.events(said):
                    if event["type"] not in _BEFORE_FIRST_TOKEN:
                        first_token()
                    yield finish_event(event, model=asked.checked.model, usage=usage)
        finally:
            # Also when the client left half-way: what the backend has reported by then was used.
            if usage:
                await self._charge({"usage": usage}, asked, caller)

    async def count_tokens(self, body: bytes, caller: Caller) -> tuple[int, CountedBy]:
        """Return the input's tokens and who counted them; a backend that cannot be asked now is not waited for."""
        asked = resolve_count(body, terms=caller.terms, routes=self._routes)
        backend, gate = self._backends[asked.route.backend], self._gates[asked.route.backend]
        asks = backend.asks_for_counts
        reachable = not asks or not gate.away or gate.has_room()
        place = gate.slot(interactive=True) if asks and reachable else nullcontext()
        async with _told(), place, self._filled(asked, caller) as filled:
            if reachable:
                with suppress(BackendAwayError, AttemptFailedError), gate.hearing():
                    counted = await backend.count_tokens(_call(asked, caller, filled))
                    if asks:
                        gate.succeeded()
                    if counted is not None:
                        return counted, "backend"
            if asked.route.tokenizer is not None:
                return await asyncio.to_thread(asked.route.tokenizer, filled.params), "tokenizer"
            return max(1, len(body) // ESTIMATED_BYTES_PER_TOKEN + filled.added_tokens), "estimate"

    @asynccontextmanager
    async def _filled(self, asked: Resolved, caller: Caller) -> AsyncIterator[Filled]:
        """Put in what the request's sources stand for, where it has any."""
        params, route = asked.checked.params, asked.route
        if not asked.checked.material:
            yield Filled(params=params)
            return
        with self._gates[route.backend].hearing():
            reads = await self._backends[route.backend].reads()
        job = Job(workspace_id=caller.workspace_id, batch_id=None, route=route, reads=reads)
        async with self._material.filled(params, job) as filled:
            yield filled

    @asynccontextmanager
    async def _passing(
        self, asked: Resolved, caller: Caller, quiet_seconds: float
    ) -> AsyncIterator[tuple[Filled, Callable[[], None]]]:
        """Hold a slot and fill the request in; the gate hears how the call went, and of nothing before it.

        With the request comes what is to be called at the first token: from then on batch work may start beside it.
        """
        gate = self._gates[asked.route.backend]
        if gate.away and not gate.has_room():
            raise OverloadedError(retry_after_seconds=PROBE_SECONDS)
        async with _told(), gate.slot(interactive=True):
            first_token = gate.hush(quiet_seconds)
            started = self._clock.monotonic()
            try:
                async with self._filled(asked, caller) as filled:
                    with gate.hearing():
                        yield filled, first_token
            finally:
                first_token()
            gate.succeeded(started)

    async def _charge(self, message: dict[str, Any], asked: Resolved, caller: Caller) -> None:
        usage, cost = meter(message, route=asked.route, tier="standard")
        charge = Charge(model=asked.checked.model, requests=1, usage=usage, cost_nanousd=cost)
        await self._ledger.charge(caller.workspace_id, "standard", charge, self._clock.now())


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """Turn what backends raise into what the client is told."""
    try:
        yield
    except BackendAwayError as away:
        raise OverloadedError(retry_after_seconds=away.retry_after_seconds) from away
    except AttemptFailedError as failed:
        raise failed.error from failed


def _generator(events: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[dict[str, Any], None]:
    return cast("AsyncGenerator[dict[str, Any], None]", events)  # every Backend's stream is one


def _call(asked: Resolved, caller: Caller, filled: Filled) -> Call:
    return Call(
        params=filled.params,
        upstream=asked.route.upstream_for(asked.checked.model),
        version=caller.terms.version,
        betas=caller.terms.betas,
    )
