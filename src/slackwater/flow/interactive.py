"""Interactive: synchronous `/v1/messages`, through the same gates as batch work and ahead of it.

Somebody waits for the answer, so nothing is retried here: the client's SDK does that, and is told when.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from slackwater.domain.batch import Terms
from slackwater.domain.errors import AttemptFailedError, BackendAwayError, OverloadedError, WireError
from slackwater.domain.model import Route, Routes
from slackwater.flow.gate import PROBE_SECONDS, Gate
from slackwater.flow.material import Filled, Job, Material
from slackwater.flow.meter import meter
from slackwater.flow.resolve import resolve, resolve_count
from slackwater.ports import Backend, Call, Clock, Ledger
from slackwater.wire.lines import finish_message
from slackwater.wire.params import Checked

ESTIMATED_BYTES_PER_TOKEN = 4
FIRST_TOKEN_SECONDS, WHOLE_ANSWER_SECONDS = 60.0, 2.0
"""A backend with slots starts no batch work beside a call that waits for its first token, at most so long. Of a whole
answer the first token is not seen."""
_BEFORE_FIRST_TOKEN = ("message_start", "ping")


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

    def check(self, body: bytes, caller: Caller) -> Checked:
        """Validate a body. Raises InvalidRequestError or NotFoundError."""
        return resolve(body, terms=caller.terms, routes=self._routes, batch=False).checked

    async def create(self, checked: Checked, caller: Caller) -> dict[str, Any]:
        """Return the whole Message. Raises a WireError."""
        route = self._route(checked)
        async with (
            self._passing(route, WHOLE_ANSWER_SECONDS) as (backend, _),
            self._filled(checked, caller, route, backend) as filled,
        ):
            message = await filled.answer(await backend.infer(_call(checked, caller, route, filled)))
        finished = finish_message(message, model=checked.model, service_tier="standard")
        await self._charge(finished, checked, caller, route)
        return finished

    async def stream(self, checked: Checked, caller: Caller) -> AsyncIterator[dict[str, Any]]:
        """Yield the stream's events (contract §7.1). Raises a WireError, before the first event or after it."""
        route = self._route(checked)
        usage: dict[str, Any] = {}
        try:
            async with (
                self._passing(route, FIRST_TOKEN_SECONDS) as (backend, first_token),
                self._filled(checked, caller, route, backend) as filled,
                # When the client leaves, the backend's slot is free before ours is given to the next one.
                aclosing(_generator(backend.stream(_call(checked, caller, route, filled)))) as said,
            ):
                async for event in filled.events(said):
                    if event["type"] not in _BEFORE_FIRST_TOKEN:
                        first_token()
                    yield _named(event, checked.model, usage)
        finally:
            # Also when the client left half-way: what the backend has reported by then was used.
            if usage:
                await self._charge({"usage": usage}, checked, caller, route)

    async def count_tokens(self, body: bytes, caller: Caller) -> tuple[int, bool]:
        """Return the input's tokens and whether the figure is an estimate of ours (the backend has no count)."""
        resolved = resolve_count(body, terms=caller.terms, routes=self._routes)
        checked, route = resolved.checked, resolved.route
        backend = self._backends[route.backend]
        added = 0
        try:
            async with self._filled(checked, caller, route, backend) as filled:
                added = filled.added_tokens
                counted = await backend.count_tokens(_call(checked, caller, route, filled))
        except (BackendAwayError, AttemptFailedError):
            counted = None
        if counted is not None:
            return counted, False
        return max(1, len(body) // ESTIMATED_BYTES_PER_TOKEN + added), True

    @asynccontextmanager
    async def _filled(self, checked: Checked, caller: Caller, route: Route, backend: Backend) -> AsyncIterator[Filled]:
        """Put in what the request's sources stand for, where it has any."""
        if not checked.material:
            yield Filled(params=checked.params)
            return
        reads = await backend.reads()
        job = Job(workspace_id=caller.workspace_id, batch_id=None, route=route, reads=reads)
        async with self._material.filled(checked.params, job) as filled:
            yield filled

    def _route(self, checked: Checked) -> Route:
        route = self._routes.find(checked.model)
        if route is None:  # `check` saw it
            message = f"no route for {checked.model}"
            raise LookupError(message)
        return route

    @asynccontextmanager
    async def _passing(self, route: Route, quiet_seconds: float) -> AsyncIterator[tuple[Backend, Callable[[], None]]]:
        """Hold a slot, and turn what backends raise into what the client is told.

        With the backend comes what is to be called at the first token: from then on batch work may start beside it.
        """
        gate = self._gates[route.backend]
        if gate.away and not gate.has_room():
            raise OverloadedError(retry_after_seconds=PROBE_SECONDS)
        async with gate.slot(interactive=True):
            first_token = gate.hush(quiet_seconds)
            try:
                yield self._backends[route.backend], first_token
            except BackendAwayError as away:
                gate.failed(full=away.full, retry_after_seconds=away.retry_after_seconds)
                raise OverloadedError(retry_after_seconds=away.retry_after_seconds) from away
            except AttemptFailedError as failed:
                gate.answered()
                raise failed.error from failed
            except WireError:
                gate.answered()
                raise
            finally:
                first_token()
            gate.succeeded()

    async def _charge(self, message: dict[str, Any], checked: Checked, caller: Caller, route: Route) -> None:
        charge = meter(message, model=checked.model, route=route, tier="standard")
        await self._ledger.charge(caller.workspace_id, "standard", charge, self._clock.now())


def _generator(events: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[dict[str, Any], None]:
    return cast("AsyncGenerator[dict[str, Any], None]", events)  # every Backend's stream is one


def _call(checked: Checked, caller: Caller, route: Route, filled: Filled) -> Call:
    return Call(
        params=filled.params,
        upstream=route.upstream_for(checked.model),
        version=caller.terms.version,
        betas=caller.terms.betas,
    )


def _named(event: dict[str, Any], model: str, usage: dict[str, Any]) -> dict[str, Any]:
    """Let `message_start` carry the client's model name, and gather the usage of the whole message."""
    if event.get("type") == "message_start":
        message = {**event["message"], "model": model}
        usage.update(message.get("usage") or {})
        return {**event, "message": message}
    if event.get("type") == "message_delta":
        usage.update({key: value for key, value in (event.get("usage") or {}).items() if value is not None})
    return event
