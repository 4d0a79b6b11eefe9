"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import rich_click as click

Decorated = TypeVar("Decorated", bound=Callable[..., object])


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
