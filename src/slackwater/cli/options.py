"""Options that several commands share, and the kinds of values they take."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

Decorated = TypeVar("Decorated", bound=Callable[..., object])

_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PREFIXES = {"batch": "msgbatch", "file": "file"}


class Duration(click.ParamType[float]):
    """`90`, `90s`, `5m`, `2h`, `1d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  # click's signature
        """Return seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration such as 90s, 5m or 2h", param, ctx)
        return float(match[1]) * _UNIT_SECONDS[match[2]]


class Id(click.ParamType[str]):
    """An id of a batch or a file, safe to stand in a path."""

    def __init__(self, kind: str) -> None:
        self.name = f"{kind} id"
        self._example = f"{_PREFIXES[kind]}_01…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401  # click's signature
        """Return it unchanged."""
        if not _ID.fullmatch(str(value)):
            self.fail(f"{value!r} is not a {self.name} such as {self._example}", param, ctx)
        return str(value)


class OutputFile(click.Path):
    """A file to write. `-` is refused: without the option stdout is meant, and a file of that name is nobody's wish."""

    def __init__(self, command: str) -> None:
        """`command` is the one that writes to stdout."""
        super().__init__(path_type=Path, dir_okay=False)
        self._command = command

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  # click's
        """Return the path. Raises click.BadParameter."""
        if str(value) == "-":
            self.fail(f"name a file; `{self._command}` writes to stdout", param, ctx)
        return super().convert(value, param, ctx)


def client_options(command: Decorated) -> Decorated:
    """Add `--base-url`, `--key-file` and `--debug`: the options of every command that talks to a server."""
    for option in reversed(
        (
            click.option("--base-url", metavar="URL", help="Server to talk to [env: SLACKWATER_BASE_URL]."),
            click.option(
                "--key-file",
                type=click.Path(path_type=Path, dir_okay=False),
                help="File that holds the API key [env: SLACKWATER_API_KEY holds the key itself].",
            ),
            click.option("--debug", is_flag=True, help="Show the HTTP traffic on stderr, keys masked."),
        )
    ):
        command = option(command)
    return command


def json_option(command: Decorated) -> Decorated:
    """Add `--json`: the API's body unchanged, also on a terminal."""
    return click.option("--json", "as_json", is_flag=True, help="Print the API's JSON unchanged.")(command)


def data_options(command: Decorated) -> Decorated:
    """Add `--config` and `--data`: which server's data a command works on."""
    for option in reversed(
        (
            click.option(
                "--config",
                "config",
                type=click.Path(path_type=Path, dir_okay=False),
                envvar="SLACKWATER_CONFIG",
                help="Configuration file (TOML) [env: SLACKWATER_CONFIG].",
            ),
            click.option(
                "--data",
                "data",
                type=click.Path(path_type=Path, file_okay=False),
                help="Data directory [default: ./slackwater-data].",
            ),
        )
    ):
        command = option(command)
    return command


def environment() -> dict[str, str]:
    """Return the process's variables; the only place where commands read them."""
    return dict(os.environ)
