"""Models that lie on this machine: which of them run here, and the lines that configure them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwater.backends.llamacpp.finding import FoundModel, find_models
from slackwater.backends.llamacpp.fitting import (
    CannotFitError,
    Fit,
    LocalModel,
    budget_bytes,
    fit,
    readable,
    shared_out,
    together,
)
from slackwater.backends.llamacpp.gguf import GGUF, GGUFError, read_gguf, read_projector
from slackwater.backends.llamacpp.machine import Machine, this_machine
from slackwater.config import LlamaCppBackendSettings, Settings
from slackwater.config.adding import Addition, local_lines

MIB = 2**20
GIGA = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model file, and how it would run here."""

    found: FoundModel
    gguf: GGUF | None
    """What it says about itself; None when it cannot be read."""
    fit: Fit | None
    """None when it does not run here."""
    reason: str | None
    """Why not, one sentence."""

    @property
    def text(self) -> str:
        """One line for people."""
        if self.gguf is None or self.fit is None:
            return f"{self.found.name} ({self.found.source}): {self.reason}"
        images = ", sees images" if self.found.mmproj else ""
        return f"{self.found.name} ({self.found.source}, {size_text(self.gguf)}{images}): {fit_text(self.fit)}"

    def row(self) -> dict[str, Any]:
        """Return it for `--json`."""
        fitting, said = self.fit, self.gguf
        return {
            "name": self.found.name,
            "path": str(self.found.path),
            "mmproj": str(self.found.mmproj) if self.found.mmproj else None,
            "source": self.found.source,
            "parameters": said.parameters if said else None,
            "quantization": said.quantization if said else None,
            "fits": fitting is not None,
            "reason": self.reason,
            "slots": fitting.slots if fitting else None,
            "context_tokens": fitting.context_tokens if fitting else None,
            "memory_bytes": fitting.memory_bytes if fitting else None,
        }

    @property
    def addition(self) -> Addition:
        """What configures it."""
        return Addition(id=self.found.name, name=self.found.name, model=self.found.path, mmproj=self.found.mmproj)


def size_text(gguf: GGUF) -> str:
    """Say how large a model is and how its weights are stored."""
    billions = gguf.parameters / GIGA
    size = f"{billions:.1f} billion" if billions >= 1 else f"{max(0.1, billions * 1_000):,.1f} million"
    stored = "" if gguf.quantization == "unknown" else f", {gguf.quantization}"
    return f"{size} parameters{stored}"


def fit_text(fitting: Fit) -> str:
    """Say how a model runs."""
    slots = f"{fitting.slots} request{'s' * (fitting.slots > 1)} at once"
    return f"{slots}, {fitting.context_tokens:,} tokens each, about {readable(fitting.memory_bytes)} of memory"


def candidates(environ: Mapping[str, str], settings: Settings | None) -> list[Candidate]:
    """Look at every model file that other programs have put here, largest first, what does not run here last."""
    machine, budget = this_machine(), _budget(settings)
    found = find_models(home=Path.home(), environ=environ, folder=Path.cwd())
    looked_at = [
        examine(one, machine, budget, LocalModel(name=one.name, path=one.path, mmproj=one.mmproj)) for one in found
    ]
    return sorted(looked_at, key=lambda one: (one.fit is None, -(one.gguf.parameters if one.gguf else 0)))


def examine(found: FoundModel, machine: Machine, budget: int | None, wanted: LocalModel) -> Candidate:
    """Read a file's header and see how it would run."""
    gguf: GGUF | None = None
    try:
        gguf = read_gguf(found.path)
        if found.mmproj is not None:
            read_projector(found.mmproj)
        copies = shared_out(gguf, machine, wanted, memory_bytes=budget)
        fitting = together([fit(gguf, machine, copy, memory_bytes=budget) for copy in copies])
    except (GGUFError, CannotFitError) as problem:
        return Candidate(found=found, gguf=gguf, fit=None, reason=str(problem))
    return Candidate(found=found, gguf=gguf, fit=fitting, reason=None)


def configured(settings: Settings) -> list[Candidate]:
    """Look at the models that the configuration names, under the names of their backends."""
    machine, budget = this_machine(), _budget(settings)
    looked_at = []
    for one in settings.backends:
        if isinstance(one, LlamaCppBackendSettings):
            wanted = LocalModel(
                name=one.name,
                path=one.model,
                mmproj=one.mmproj,
                context_tokens=one.context_tokens,
                slots=one.slots,
                threads=one.threads,
                copies=one.copies,
                cache_mib=one.cache_mib,
            )
            found = FoundModel(name=one.name, path=one.model, mmproj=one.mmproj, source=str(one.model))
            looked_at.append(examine(found, machine, budget, wanted))
    return looked_at


def lines_for(fitting: Sequence[Candidate], *, named: set[str], taken: set[str]) -> Iterator[str]:
    """Yield the configuration of models that run here; `named` ids and `taken` backend names are left to others."""
    for one in fitting:
        if one.found.name in named:
            continue
        named.add(one.found.name)
        lines = [*local_lines(one.addition, taken)]
        taken.add(lines[-1].split('"')[1])
        yield from (*lines, "")


def room(settings: Settings | None) -> str:
    """Say how much memory all local models together may use."""
    budget = _budget(settings)
    return readable(budget_bytes(this_machine()) if budget is None else budget)


def _budget(settings: Settings | None) -> int | None:
    if settings is None or settings.engine.memory_mib is None:
        return None
    return settings.engine.memory_mib * MIB
