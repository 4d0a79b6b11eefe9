"""Merging the layers of configuration, and saying in one sentence what is wrong and where it was written."""

import itertools
import json
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slackwater.config.section import did_you_mean
from slackwater.config.settings import Settings

_VARIABLE = re.compile(r"SLACKWATER_(?:[A-Z0-9]+(?:__[A-Z0-9_]+)+|BACKENDS|MODELS)")
_TABLE_LISTS = frozenset({"backends", "models"})
_INDEX_MAX = 1000  # a variable with a huge index must not fill memory
_PROTOCOLS = frozenset(
    {"anthropic", "openai", "llamacpp", "simulated"}
)  # pydantic puts the union's tag into the location

Loc = tuple[str | int, ...]
"""Where a setting stands: `("server", "port")`, `("backends", 0, "url")`."""


class ConfigError(ValueError):
    """The configuration cannot be used; every message is one sentence for the person who wrote it."""

    def __init__(self, *messages: str) -> None:
        self.messages = messages
        super().__init__("\n".join(messages))


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
) -> Settings:
    """Read and check everything.

    `path`: a TOML file, or None. `environ`: variables, those of the process by default. `overrides`: section → key →
    value, from the command line; None values are left out. Raises ConfigError, which lists everything that is wrong.
    """
    tree: dict[str, Any] = {}
    origins: dict[Loc, str] = {}
    if path is not None:
        tree = _read(path)
        _resolve_files(tree, path.parent)
        origins[()] = path.name
    _add_variables(tree, origins, os.environ if environ is None else environ)
    for section, keys in (overrides or {}).items():
        for key, value in keys.items():
            if value is not None:
                _put(tree, (section, key), value)
                origins[section, key] = f"--{key.removesuffix('_dir').replace('_', '-')}"
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(*(_sentence(details, tree, origins) for details in error.errors())) from None


def _add_variables(tree: dict[str, Any], origins: dict[Loc, str], environ: Mapping[str, str]) -> None:
    for variable, text in sorted(environ.items()):
        if not _VARIABLE.fullmatch(variable):
            continue
        loc = _variable_loc(variable)
        if not _put(tree, loc, _decoded(variable, loc, text)):
            raise ConfigError(f"{variable}: there is no place for this in the configuration")
        origins[loc] = variable


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror or problem}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path.name}: not valid TOML: {problem}") from problem


def _resolve_files(tree: dict[str, Any], directory: Path) -> None:
    """Let the model files that a configuration file names be relative to that file, wherever the command runs."""
    lists = [tree[name] for name in ("backends", "models") if isinstance(tree.get(name), list)]
    for table in (tree.get("engine"), *itertools.chain(*lists)):
        for key in ("model", "mmproj", "tokenizer") if isinstance(table, dict) else ():
            if isinstance(table.get(key), str):
                table[key] = str(directory / Path(table[key]).expanduser())


def _variable_loc(variable: str) -> Loc:
    parts = variable.removeprefix("SLACKWATER_").lower().split("__")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _decoded(variable: str, loc: Loc, text: str) -> object:
    """Turn a variable's text into a value: JSON for tables and lists, a comma list where a list of texts is meant."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text, parse_float=Decimal)
        except ValueError as problem:
            raise ConfigError(f"{variable}: not valid JSON: {problem}") from problem
    if loc in {("server", "cors_origins"), ("server", "trusted_proxies")}:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _put(tree: dict[str, Any], loc: Loc, value: object) -> bool:
    """Set one value in the tree, growing tables and lists of tables on the way; False where it has no place."""
    node: Any = tree
    for step, following in itertools.pairwise(loc):
        if isinstance(node, list) and isinstance(step, int) and step < _INDEX_MAX:
            node.extend({} for _ in range(step + 1 - len(node)))
            node = node[step]
        elif isinstance(node, dict):
            node = node.setdefault(step, [] if isinstance(following, int) and step in _TABLE_LISTS else {})
        else:
            return False
    if not isinstance(node, dict):
        return False
    node[loc[-1]] = value
    return True


def _sentence(details: ErrorDetails, tree: Mapping[str, Any], origins: Mapping[Loc, str]) -> str:
    loc = _clean(details["loc"])
    origin = _origin(loc, origins)
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).lstrip(".")
    where = origin if origin.startswith(("SLACKWATER_", "--")) else f"{origin}: {path}" if path else origin
    return f"{where}: {_reason(details, loc, tree)}"


def _origin(loc: Loc, origins: Mapping[Loc, str]) -> str:
    """Find who said it: the value itself, a table around it, or (for a table that should not be) something inside."""
    around = (origins[loc[:length]] for length in range(len(loc), 0, -1) if loc[:length] in origins)
    inside = (origin for known, origin in origins.items() if loc and known[: len(loc)] == loc)
    return next(around, None) or next(inside, None) or origins.get((), "configuration")


def _clean(loc: Loc) -> Loc:
    """Drop the tags that pydantic adds for the union of backends."""
    if loc[:1] == ("backends",) and len(loc) > 2 and loc[2] in _PROTOCOLS:  # noqa: PLR2004  # section, index, tag
        return loc[:2] + loc[3:]
    return loc


def _reason(details: ErrorDetails, loc: Loc, tree: Mapping[str, Any]) -> str:
    known = _keys_at(Settings, details["loc"][:-1])
    match details["type"]:
        case "extra_forbidden":
            return _unknown(str(loc[-1]), loc, known)
        case "missing":
            return "must be set"
        case "union_tag_not_found":
            return 'protocol must be set: "anthropic", "openai", "llamacpp" or "simulated"'
        case "union_tag_invalid":
            return 'protocol must be "anthropic", "openai", "llamacpp" or "simulated"'
        case _:
            return _plain(details["msg"]) + _given(details, loc, tree)


def _unknown(key: str, loc: Loc, known: Sequence[str]) -> str:
    if len(loc) == 1:
        return f"unknown section{did_you_mean(key, known)}"
    if loc[0] == "backends":
        for protocol in sorted(_PROTOCOLS):
            if key in _keys_at(Settings, ("backends", 0, protocol)):
                return f'this key belongs to backends with protocol "{protocol}"'
    return f"unknown key{did_you_mean(key, known)}"


def _plain(message: str) -> str:
    message = re.sub(r"^(Value error, |Input )", "", message)
    return message[0].lower() + message[1:] if message.startswith("Should ") else message


def _given(details: ErrorDetails, loc: Loc, tree: Mapping[str, Any]) -> str:
    """Show what was written, unless it may hold a secret or is shown already."""
    node: Any = tree
    for step in loc:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return ""
    if details["type"] == "value_error" or not isinstance(node, str | int | float | Decimal):
        return ""
    return f", not {json.dumps(node, default=str, ensure_ascii=False)}"


def _keys_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Return the keys that are known at a place: `loc` is pydantic's, union tags included."""
    models = [model]
    for step in loc:
        if isinstance(step, int):
            continue
        if step in _PROTOCOLS:
            models = [one for one in models if typing.get_args(one.model_fields["protocol"].annotation) == (step,)]
        else:
            fields = [one.model_fields[step].annotation for one in models if step in one.model_fields]
            models = [found for annotation in fields for found in _models_in(annotation)]
    return [name for one in models for name in one.model_fields]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """Find the models in an annotation such as `tuple[A | B, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for part in typing.get_args(annotation) for found in _models_in(part)]
