"""Adding a local model to a configuration file: what is in it stays as it is, and what is written is known to load."""

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slackwater.config.backends import LlamaCppBackendSettings
from slackwater.config.load import ConfigError, load
from slackwater.config.settings import Settings

_NAME_MAX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Addition:
    """A model to be added."""

    id: str
    """The name clients send; may be a glob."""
    name: str
    """What people call the model; its backend is called after it."""
    model: Path
    mmproj: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """What was written."""

    lines: tuple[str, ...]
    kept: str | None
    """The one backend there was: it served every name, and now a line says so. None: nothing needed saying."""


def add_local_model(path: Path, addition: Addition, environ: Mapping[str, str]) -> Added:
    """Add a model to the file at `path`, made if missing, and replace the file at once or not at all.

    Raises ConfigError: the file is wrong as it is, has this model already, or cannot be written to.
    """
    target = path.resolve()
    text, settings = _read(target, environ)
    _refuse_repetition(settings, addition)
    kept = settings.backends[0].name if settings.backends and not settings.models else None
    lines = [*local_lines(addition, {backend.name for backend in settings.backends})]
    if kept is not None:
        lines += ["", "[[models]]", 'id = "*"', f"backend = {toml_text(kept)}"]
    separator = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    _replace(target, text + separator + "\n".join(lines) + "\n", environ)
    return Added(lines=tuple(lines), kept=kept)


def local_lines(addition: Addition, taken: Collection[str] = ()) -> Iterator[str]:
    """Yield the lines that configure a model; its backend gets a name that is not `taken`."""
    name = backend_name(addition.name, taken)
    yield from ("[[backends]]", f"name = {toml_text(name)}", 'protocol = "llamacpp"')
    yield f"model = {toml_text(str(addition.model))}"
    if addition.mmproj is not None:
        yield f"mmproj = {toml_text(str(addition.mmproj))}"
    yield from ("", "[[models]]", f"id = {toml_text(addition.id)}", f"backend = {toml_text(name)}")


def backend_name(name: str, taken: Collection[str]) -> str:
    """Return a name for the backend of a model, after the model: letters, digits, dots and dashes."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[: _NAME_MAX - 4] or "model"
    if plain not in taken:
        return plain
    return next(name for number in range(2, len(taken) + 3) if (name := f"{plain}-{number}") not in taken)


def toml_text(text: str) -> str:
    """Write a text as a TOML basic string; JSON's escapes are TOML's too, as long as no surrogate is among them."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(path: Path, environ: Mapping[str, str]) -> tuple[str, Settings]:
    if not path.exists():
        return "", load(None, environ)
    return path.read_text("utf-8"), load(path, environ)


def _refuse_repetition(settings: Settings, addition: Addition) -> None:
    if addition.id in [model.id for model in settings.models]:
        raise ConfigError(f'the model "{addition.id}" is configured already; choose another name with --id')
    for backend in settings.backends:
        if isinstance(backend, LlamaCppBackendSettings) and _same(backend.model, addition.model):
            raise ConfigError(
                f'{addition.model} is configured already, as the backend "{backend.name}"; '
                f'for another name write [[models]] id = "{addition.id}" backend = "{backend.name}"'
            )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _replace(path: Path, text: str, environ: Mapping[str, str]) -> None:
    """Write beside the file, load that, and only then put it in the file's place."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("x", encoding="utf-8") as stream:
            if path.exists():
                shutil.copymode(path, beside)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        load(beside, environ)
        beside.replace(path)
    except UnicodeEncodeError:
        raise ConfigError("the model's path is not UTF-8, as a configuration must be; give it another name") from None
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror or problem}") from problem
    except ConfigError as error:
        raise ConfigError(*(one.replace(beside.name, path.name) for one in error.messages)) from None
    finally:
        beside.unlink(missing_ok=True)
