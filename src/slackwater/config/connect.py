"""Settings where nobody configured a backend: what was found running, a toy, or the simulator."""

import typing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from slackwater.config.backends import (
    AnthropicBackendSettings,
    LlamaCppBackendSettings,
    OpenAIBackendSettings,
    SimulatedBackendSettings,
)
from slackwater.config.settings import ModelSettings, Settings
from slackwater.domain.model import Route


class Engine(Protocol):
    """An inference server that was found running."""

    @property
    def kind(self) -> str:
        """What it is: `vllm`, `ollama`, …."""

    @property
    def url(self) -> str:
        """Its base URL."""

    @property
    def protocol(self) -> str:
        """`anthropic` or `openai`."""

    @property
    def models(self) -> Sequence[str]:
        """The model names it offers."""

    @property
    def slots(self) -> int | None:
        """How many slots it has; None: it has none, or does not say."""


class StandIn(ModelSettings):
    """A model that answers only because nothing else is there: everything it answers says so."""

    def route(self) -> Route:
        """Return it as the steps know it."""
        return replace(super().route(), stand_in=True)


def with_engines(settings: Settings, found: Sequence[Engine]) -> Settings:
    """Return settings connected to engines that run on this machine, at least one.

    Every model they offer gets its own name, the first engine's first model also every other name.
    """
    backends: list[AnthropicBackendSettings | OpenAIBackendSettings] = []
    models: dict[str, ModelSettings] = {}
    for number, engine in enumerate(found):
        name = engine.kind if engine.kind not in {one.kind for one in found[:number]} else f"{engine.kind}-{number}"
        backends.append(_backend(name, engine))
        for model in engine.models:
            models.setdefault(model, ModelSettings(id=model, backend=name))
    fallback = next(iter(models), None)
    rest = ModelSettings(id="*", backend=models[fallback].backend if fallback else backends[0].name)
    return settings.model_copy(
        update={
            "backends": tuple(backends),
            "models": (*models.values(), rest.model_copy(update={"upstream": fallback})),
        }
    )


def with_stand_in(settings: Settings, name: str, path: Path, display_name: str) -> Settings:
    """Return settings in which the toy at `path` answers under its own name and every other one, and says so."""
    backend = LlamaCppBackendSettings(name=name, protocol="llamacpp", model=path)
    models = tuple(StandIn(id=one, backend=name, display_name=display_name) for one in (name, "*"))
    return settings.model_copy(update={"backends": (backend,), "models": models})


def with_simulator(settings: Settings) -> Settings:
    """Return settings in which the simulator answers."""
    return settings.model_copy(update={"backends": (SimulatedBackendSettings(name="simulated", protocol="simulated"),)})


def _backend(name: str, engine: Engine) -> AnthropicBackendSettings | OpenAIBackendSettings:
    if engine.protocol == "anthropic":
        return AnthropicBackendSettings(name=name, protocol="anthropic", url=engine.url)
    known = typing.get_args(OpenAIBackendSettings.model_fields["flavour"].annotation)
    flavour = engine.kind.lower().replace(".", "").replace("_", "")
    return OpenAIBackendSettings(
        name=name,
        protocol="openai",
        url=engine.url,
        flavour=flavour if flavour in known else "auto",
        slots=engine.slots,
    )
