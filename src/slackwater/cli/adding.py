"""`slackwater models add`: from a model file to a configuration that loads."""

import difflib
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

from slackwater.backends import llamacpp
from slackwater.backends.llamacpp.finding import FoundModel, find_models, in_folder
from slackwater.backends.llamacpp.fitting import LocalModel
from slackwater.backends.llamacpp.machine import this_machine
from slackwater.cli.exits import Failure
from slackwater.cli.local_models import examine, fit_text, size_text
from slackwater.cli.options import environment
from slackwater.cli.output import message
from slackwater.config import ConfigError, load
from slackwater.config.adding import Addition, add_local_model

_ID_BYTES_MAX = 256


def add_model(given: str, *, model_id: str | None, config: Path, mmproj: Path | None) -> None:
    """Check a model, add it to a configuration file, and say what to do next. Raises Failure."""
    found = _find(given)
    if mmproj is not None:
        found = replace(found, mmproj=_absolute(mmproj))
    config = config.expanduser()
    memory = _memory_bytes(config)
    wanted = LocalModel(name=found.name, path=found.path, mmproj=found.mmproj)
    candidate = examine(found, this_machine(), memory, wanted)
    if candidate.fit is None or candidate.gguf is None:
        raise Failure(candidate.reason or "", next_step="`slackwater doctor` lists the models that run here")
    addition = Addition(id=model_id or found.name, name=found.name, model=found.path, mmproj=found.mmproj)
    try:
        added = add_local_model(config, addition, environment())
    except ConfigError as error:
        raise Failure(str(error)) from None
    message(f"{found.name} ({size_text(candidate.gguf)}): {fit_text(candidate.fit)}")
    if found.mmproj is not None:
        message(f"it sees images, with {found.mmproj}")
    message(f"added to {config} as {addition.id}")
    if added.kept is not None:
        message(f"every other model name is still served by {added.kept}; a line says so now")
    if (reason := llamacpp.why_not()) is not None:
        message(f"before it can run: {reason}")
    message(f"next: slackwater serve --config {shlex.quote(str(config))}")


def _find(given: str) -> FoundModel:
    """Return the model that a path or a name means."""
    path = Path(given).expanduser()
    if path.is_dir():
        raise Failure(f"{path} is a directory", next_step="name the .gguf file in it")
    if path.is_file():
        return _in_its_folder(_absolute(path))
    if "/" in given and path.suffix.lower() == ".gguf":
        raise Failure(f"there is no file {path}", next_step="`slackwater doctor` lists the models on this machine")
    known = find_models(home=Path.home(), environ=environment(), folder=Path.cwd())
    named = [one for one in known if one.name.lower() in {given.lower(), f"{given.lower()}:latest"}]
    if len(named) == 1:
        return replace(named[0], path=_absolute(named[0].path))
    if named:
        raise Failure(
            f"there are {len(named)} models called {given}: {', '.join(str(one.path) for one in named)}",
            next_step="name the one by its path",
        )
    near = difflib.get_close_matches(given, [one.name for one in known], n=1, cutoff=0.5)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise Failure(
        f"{given} is neither a file nor a model that was found here{meant}",
        next_step="`slackwater doctor` lists the models on this machine",
    )


def _in_its_folder(path: Path) -> FoundModel:
    """Name a file, and look for the projector beside it."""
    beside = {one.path: one for one in in_folder(path.parent, source="given", depth=0)}
    name = re.sub(r"\.gguf$", "", path.name, flags=re.IGNORECASE)[:_ID_BYTES_MAX]
    return beside.get(path, FoundModel(name=name, path=path, mmproj=None, source="given"))


def _memory_bytes(config: Path) -> int | None:
    """Return what the configuration, if there is one, allows local models."""
    try:
        settings = load(config if config.exists() else None, environment())
    except ConfigError as error:
        raise Failure(str(error), next_step="correct the configuration first") from None
    return None if settings.engine.memory_mib is None else settings.engine.memory_mib * 2**20


def _absolute(path: Path) -> Path:
    """Return a path that means the same from everywhere; links stay, because a part of a model is known by its name."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  # resolve() would follow links
