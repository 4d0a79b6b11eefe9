"""Which adapter serves each configured backend, and the gate before it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import structlog

from slackwater.backends import AnthropicBackend, OpenAIBackend, options_for
from slackwater.backends.llamacpp import Engine, LocalEngines, LocalModel, why_not
from slackwater.backends.llamacpp.backend import LlamaCppBackend
from slackwater.backends.llamacpp.fitting import INTERACTIVE_SLOTS
from slackwater.backends.simulated import SimulatedBackend, SimulatedOptions
from slackwater.backends.tokenizer import tokenizer_of
from slackwater.clock import SystemClock
from slackwater.config import (
    AnthropicBackendSettings,
    BackendSettings,
    ConfigError,
    LlamaCppBackendSettings,
    OpenAIBackendSettings,
    Settings,
    SimulatedBackendSettings,
    backend_api_key,
)
from slackwater.domain.ids import IdSource
from slackwater.domain.model import Route, Routes
from slackwater.flow.gate import Gate
from slackwater.ports import Backend

_MIB = 2**20
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Connections:
    """The backends of a process, by their configured names, and what leads to them."""

    backends: Mapping[str, Backend]
    gates: Mapping[str, Gate]
    engines: Mapping[str, tuple[Engine, ...]]
    """The local models among them."""
    routes: Routes
    """As configured; of local models also how much they can read."""

    @property
    def in_flight(self) -> int:
        """How many requests the backends have, of batches and of people."""
        return sum(gate.in_flight for gate in self.gates.values())


@asynccontextmanager
async def open_connections(settings: Settings, clock: SystemClock, ids: IdSource) -> AsyncIterator[Connections]:
    """Open every configured backend; a local model is loaded when it is first needed. Raises ConfigError."""
    tokenizers = await asyncio.to_thread(_tokenizers, settings)
    async with AsyncExitStack() as stack:
        local = LocalEngines(
            clock=clock,
            memory_bytes=None if settings.engine.memory_mib is None else settings.engine.memory_mib * _MIB,
            idle_seconds=settings.engine.idle_seconds or None,
        )
        stack.push_async_callback(local.close)  # after the backends that use them
        engines = {
            one.name: local.add_copies(_local_model(one))
            for one in settings.backends
            if isinstance(one, LlamaCppBackendSettings)
        }
        if engines and (reason := why_not()) is not None:
            _log.error("no local model can run here", error=reason)
        for engine, *_ in engines.values():
            if engine.refusal is not None:
                _log.error("a local model cannot be used", backend=engine.name, error=engine.refusal)
        backends: dict[str, Backend] = {}
        for one in settings.backends:
            backends[one.name] = _backend(one, engines, clock, ids)
            stack.push_async_callback(backends[one.name].close)
        yield Connections(
            backends=backends,
            gates={one.name: _gate(one, engines, settings.worker.max_in_flight, clock) for one in settings.backends},
            engines=engines,
            routes=Routes(
                routes=tuple(
                    replace(_with_limit(route, engines), tokenizer=tokenizers.get(route.id))
                    for route in settings.routes().routes
                )
            ),
        )


def _tokenizers(settings: Settings) -> dict[str, Callable[[Mapping[str, Any]], int]]:
    """Load each tokenizer once; return them by the model's id."""
    load = cache(tokenizer_of)
    try:
        return {model.id: load(model.tokenizer) for model in settings.models if model.tokenizer is not None}
    except ValueError as error:
        raise ConfigError(f"models: {error}") from error


def _local_model(one: LlamaCppBackendSettings) -> LocalModel:
    return LocalModel(
        name=one.name,
        path=one.model,
        mmproj=one.mmproj,
        context_tokens=one.context_tokens,
        slots=one.slots,
        threads=one.threads,
        copies=one.copies,
        cache_mib=one.cache_mib,
    )


def _with_limit(route: Route, engines: Mapping[str, Sequence[Engine]]) -> Route:
    fits = [engine.fit for engine in engines.get(route.backend, ())]
    if not fits or fits[0] is None or route.max_input_tokens is not None:
        return route
    return replace(route, max_input_tokens=fits[0].context_tokens)


def _gate(backend: BackendSettings, engines: Mapping[str, Sequence[Engine]], most: int, clock: SystemClock) -> Gate:
    if isinstance(backend, LlamaCppBackendSettings):
        own = sum(engine.slots for engine in engines[backend.name])
        return Gate(backend.name, ceiling=own, adaptive=False, clock=clock, slots=own, reserved=INTERACTIVE_SLOTS)
    slots = backend.slots if isinstance(backend, OpenAIBackendSettings) else None
    limit = slots if backend.max_in_flight is None else backend.max_in_flight
    ceiling = most if limit is None else limit
    return Gate(backend.name, ceiling=ceiling, adaptive=limit is None, clock=clock, slots=slots)


def _backend(
    one: BackendSettings, engines: Mapping[str, Sequence[Engine]], clock: SystemClock, ids: IdSource
) -> Backend:
    match one:
        case AnthropicBackendSettings():
            return AnthropicBackend(
                name=one.name,
                url=one.url,
                api_key=backend_api_key(one, os.environ),
                timeout_seconds=one.timeout_seconds,
                new_id=ids.new,
                wall=clock.now,
                pass_urls=one.pass_urls,
                documents=one.documents,
            )
        case OpenAIBackendSettings():
            return OpenAIBackend(
                name=one.name,
                url=one.url,
                api_key=backend_api_key(one, os.environ),
                timeout_seconds=one.timeout_seconds,
                new_id=ids.new,
                wall=clock.now,
                options=options_for(one.flavour, pass_urls=one.pass_urls),
            )
        case LlamaCppBackendSettings():
            return LlamaCppBackend(
                engines=engines[one.name], new_id=ids.new, clock=clock, timeout_seconds=one.timeout_seconds
            )
        case SimulatedBackendSettings():
            return _simulated(one, clock, ids)


def _simulated(one: SimulatedBackendSettings, clock: SystemClock, ids: IdSource) -> Backend:
    knobs = one.model_dump(exclude={"name", "protocol", "max_in_flight"})
    try:
        options = SimulatedOptions(**knobs)
    except ValueError as error:
        raise ConfigError(f'backend "{one.name}": {error}') from None
    return SimulatedBackend(name=one.name, options=options, clock=clock, new_id=ids.new)
