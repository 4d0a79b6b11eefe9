"""What every section of the configuration is, and the sentences that several of them share."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the configuration file: frozen, and an unknown key in it is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=False,
        hide_input_in_errors=True,
        defer_build=True,  # each section is built once, inside the one that is read
    )


def existing(path: Path) -> Path:
    """Return a path with `~` resolved. Raises ValueError, in words, when no file can be read there."""
    path = path.expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a directory; name the .gguf file in it")
    if not path.is_file():
        raise ValueError(f"there is no file {path}; `slackwater doctor` lists the models on this machine")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} cannot be read by this user")
    return path


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "…"?)` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""
