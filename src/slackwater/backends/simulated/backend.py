"""The simulator in process, as a `ports.Backend`: its faults are the exceptions an HTTP backend would raise."""

from collections.abc import AsyncIterator, Callable

from slackwater.backends.refusals import Answer, broken, cut, refusal, too_slow
from slackwater.backends.simulated.answer import message
from slackwater.backends.simulated.engine import MODELS, Engine, QueueFullError, Visit
from slackwater.backends.simulated.events import events_of
from slackwater.backends.simulated.faults import BEFORE_SERVICE, Fault, FaultKind
from slackwater.backends.simulated.options import SimulatedOptions
from slackwater.backends.simulated.prompt import Json, read_prompt
from slackwater.domain.errors import BackendAwayError, InvalidRequestError
from slackwater.ports import Call, Clock
from slackwater.wire.errors import encode_error

_CUTS = frozenset({FaultKind.CUT, FaultKind.WRONGLENGTH})


class SimulatedBackend:
    """A backend that computes nothing, for tests, demonstrations and capacity planning."""

    def __init__(self, *, name: str, options: SimulatedOptions, clock: Clock, new_id: Callable[[str], str]) -> None:
        self._name = name
        self._options = options
        self._new_id = new_id
        self.engine = Engine(options, clock)

    @property
    def name(self) -> str:
        """The configured name."""
        return self._name

    @property
    def asks_for_counts(self) -> bool:
        """False: it is no server."""
        return False

    async def reads(self) -> frozenset[str]:
        """Read text: it stands for a model that reads nothing else."""
        return frozenset()

    async def infer(self, call: Call) -> Json:
        """Answer. Raises what an HTTP backend would: BackendAwayError, AttemptFailedError or a WireError."""
        visit = self._visit(call, stream=False)
        await self._before_service(visit.fault, call)
        try:
            async with self.engine.in_service(visit) as service:
                await service.decode(visit.answer.output_tokens)
        except QueueFullError:
            raise BackendAwayError(f"{self._name}: the queue is full", full=True) from None
        await self._after_service(visit.fault)
        return message(visit.answer, service.usage, message_id=self._new_id("msg"), model=call.upstream)

    async def stream(self, call: Call) -> AsyncIterator[Json]:
        """Yield the answer's events; a fault that spoils a body strikes in the middle."""
        visit = self._visit(call, stream=True)
        await self._before_service(visit.fault, call)
        try:
            async with self.engine.in_service(visit) as service:
                whole = message(visit.answer, service.usage, message_id=self._new_id("msg"), model=call.upstream)
                events = list(events_of(whole))
                for place, (event, tokens) in enumerate(events):
                    await service.decode(tokens)
                    if place == len(events) // 2:
                        await self._after_service(visit.fault)
                    yield event
        except QueueFullError:
            raise BackendAwayError(f"{self._name}: the queue is full", full=True) from None

    async def count_tokens(self, call: Call) -> int | None:
        """Return the simulator's estimate: a token is four bytes."""
        try:
            return read_prompt(call.params).tokens
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error

    async def models(self) -> list[str]:
        """Return the one model; any name is answered."""
        return list(MODELS)

    async def close(self) -> None:
        """Close the witness."""
        self.engine.close()

    def _visit(self, call: Call, *, stream: bool) -> Visit:
        arrival = self.engine.arrive(
            call.params, protocol="simulated", model=call.upstream, custom_id=call.custom_id, stream=stream
        )
        try:
            return self.engine.examine(call.params, arrival)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error

    async def _before_service(self, fault: Fault | None, call: Call) -> None:
        if fault is None or fault.kind not in BEFORE_SERVICE:
            return
        if fault.kind is FaultKind.STATUS:
            raise self._refusal(fault, call)
        if fault.kind is FaultKind.REFUSED:
            raise BackendAwayError(f"{self._name}: connection refused")
        if fault.kind is FaultKind.HANG:
            await self._time_out()
        raise cut(f"{self._name}: {fault.kind}")

    async def _after_service(self, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.kind is FaultKind.SLOW and fault.seconds < self._options.timeout_seconds:
            await self.engine.wait(fault.seconds)
            return
        if fault.kind in {FaultKind.SLOW, FaultKind.ENDLESS}:
            await self._time_out()
        raise (cut if fault.kind in _CUTS else broken)(f"{self._name}: {fault.kind}")

    async def _time_out(self) -> None:
        await self.engine.wait(self._options.timeout_seconds)
        raise too_slow(f"{self._name}: timed out")

    def _refusal(self, fault: Fault, call: Call) -> Exception:
        """Judge an error status as the HTTP backends do."""
        headers = {} if fault.retry_after_seconds is None else {"retry-after": f"{fault.retry_after_seconds:g}"}
        answer = Answer(status=fault.status, headers=headers, body=encode_error(fault.wire_error(), None))
        return refusal(answer, model=str(call.params.get("model")), wall=self.engine.clock.now)
