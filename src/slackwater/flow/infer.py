"""Infer: one request's way to its result: resolve, a slot at the backend, its material, attempts, the line.

A backend that is away or full costs the request nothing and the wait is unbounded (the batch's deadline ends it); what
the request itself may have caused is tried a few times; what the backend refuses is a result at once (X7).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from slackwater.domain.batch import Lease
from slackwater.domain.errors import APIError, AttemptFailedError, BackendAwayError, StoreUnavailableError, WireError
from slackwater.domain.events import AttemptEnded, RequestResolved
from slackwater.domain.ids import REQUEST, IdSource
from slackwater.domain.limits import ATTEMPTS_MAX
from slackwater.domain.model import Routes
from slackwater.domain.result import ResultLine
from slackwater.flow.gate import Gate, backoff_seconds
from slackwater.flow.material import Job, Material
from slackwater.flow.meter import meter
from slackwater.flow.plan import MIXED
from slackwater.flow.resolve import Resolved, resolve
from slackwater.flow.stored import Entry
from slackwater.ports import Backend, Call, Clock, Listener
from slackwater.wire.lines import errored_line, finish_message, succeeded_line

DAMAGED = "The stored request was damaged on disk and was not sent. Send it again."


class StoppedError(Exception):
    """The request may not be sent any more: canceled, expired, or the lease is not certain (C2, T2, X5)."""


class Turn(msgspec.Struct, eq=False):
    """One request's turn at being worked on."""

    entry: Entry
    lease: Lease
    may_send: Callable[[], bool]
    """Asked immediately before every send."""
    gate: Gate | None
    """The gate whose slot the turn holds; None while it holds none."""
    sending: bool = False
    """True from the first byte sent to the answer: such a turn is given a grace period when its batch is stopped."""
    came_back: bool = False
    """True once its first attempt has come back."""
    task: asyncio.Task[None] | None = None

    def let_go(self) -> None:
        """Give the slot back, if it holds one."""
        if self.gate is not None:
            self.gate.release()
            self.gate = None


class Infer:
    """Carries turns through."""

    def __init__(
        self,
        *,
        routes: Routes,
        backends: Mapping[str, Backend],
        gates: Mapping[str, Gate],
        material: Material,
        clock: Clock,
        ids: IdSource,
        emit: Listener,
    ) -> None:
        self._material = material
        self._routes = routes
        self._backends = backends
        self._gates = gates
        self._clock = clock
        self._ids = ids
        self._emit = emit

    def backend_of(self, model: str) -> str:
        """Return the backend that serves a shard's model; `MIXED` where only each request can tell."""
        route = self._routes.find(model) if model != MIXED else None
        return route.backend if route is not None else MIXED

    async def __call__(self, turn: Turn, on_answer: Callable[[Turn], None]) -> ResultLine:
        """Return the request's line; `on_answer` is called when its first attempt has come back.

        Raises StoppedError when it may not be sent. The turn's slot is given back in every case.
        """
        try:
            line = await self._result(turn, on_answer)
        finally:
            on_answer(turn)
            turn.let_go()
        self._emit(RequestResolved(turn.lease.batch_id, line.model, line.type, line.usage))
        return line

    async def _result(self, turn: Turn, on_answer: Callable[[Turn], None]) -> ResultLine:
        request = turn.entry.request
        model = turn.lease.shard.model
        try:
            if request.damaged:
                raise APIError(DAMAGED)
            resolved = resolve(memoryview(request.params), terms=turn.lease.terms, routes=self._routes, batch=True)
            model = resolved.checked.model
            message = await self._attempts(turn, resolved, on_answer)
        except WireError as error:
            line = errored_line(request.custom_id, error, self._ids.new(REQUEST))
            return ResultLine(turn.entry.position, "errored", line, model)
        usage, cost = meter(message, route=resolved.route, tier="batch")
        finished = finish_message(message, usage, model=model, service_tier="batch")
        line = succeeded_line(request.custom_id, finished)
        return ResultLine(turn.entry.position, "succeeded", line, model, usage, cost)

    async def _attempts(self, turn: Turn, resolved: Resolved, on_answer: Callable[[Turn], None]) -> dict[str, Any]:
        """Send until there is an answer. Raises the WireError that becomes the result."""
        route, checked = resolved.route, resolved.checked
        gate, backend = self._gates[route.backend], self._backends[route.backend]
        upstream = route.upstream_for(checked.model)
        failures = sends = 0
        while True:
            parked = 1
            if turn.gate is not gate:
                await self._move(turn, gate)
            if not turn.may_send():
                raise StoppedError
            sends += 1
            terms, custom_id = turn.lease.terms, turn.entry.request.custom_id
            call = Call(checked.params, upstream, terms.version, terms.betas, custom_id, sends)
            try:
                if checked.material:
                    return await self._filled(turn, gate, backend, call, resolved)
                return await self._send(turn, gate, backend, call)
            except BackendAwayError as away:
                pause = backoff_seconds(sends, away.retry_after_seconds)
            except AttemptFailedError as failed:
                failures += 1
                if failures >= ATTEMPTS_MAX:
                    raise failed.error from failed
                pause, parked = backoff_seconds(failures, failed.error.retry_after_seconds), failed.parks
            on_answer(turn)
            turn.let_go()
            gate.parked += parked
            try:
                await self._clock.sleep(pause)
            finally:
                gate.parked -= parked

    async def _filled(self, turn: Turn, gate: Gate, backend: Backend, call: Call, resolved: Resolved) -> dict[str, Any]:
        """Make one attempt at a request with sources: it holds its slot while what they stand for is got ready."""
        with gate.hearing():
            reads = await backend.reads()
        job = Job(workspace_id=turn.lease.workspace_id, batch_id=turn.lease.batch_id, route=resolved.route, reads=reads)
        try:
            async with self._material.filled(call.params, job) as filled:
                if not turn.may_send():
                    raise StoppedError
                message = await self._send(turn, gate, backend, call._replace(params=filled.params))
        except StoreUnavailableError as error:
            raise BackendAwayError(f"the store is away: {error}") from error
        return await filled.answer(message)

    async def _send(self, turn: Turn, gate: Gate, backend: Backend, call: Call) -> dict[str, Any]:
        """Make one attempt and tell the gate how it went."""
        started = self._clock.monotonic()
        outcome = "refused"
        turn.sending = True
        try:
            with gate.hearing():
                message = await backend.infer(call)
        except BackendAwayError as away:
            outcome = "full" if away.full else "away"
            raise
        except AttemptFailedError:
            outcome = "failed"
            raise
        else:
            outcome = "ok"
            gate.succeeded(started, message["usage"]["output_tokens"])
            return message
        finally:
            turn.sending = False
            self._emit(AttemptEnded(gate.name, outcome, self._clock.monotonic() - started))

    async def _move(self, turn: Turn, gate: Gate) -> None:
        """Get a slot at the request's own backend, giving back one held elsewhere."""
        turn.let_go()
        await gate.acquire(interactive=False)
        turn.gate = gate
