"""`slackwater models`: what a server offers."""

from pathlib import Path

import rich_click as click

from slackwater.cli.connection import API, find_target
from slackwater.cli.options import client_options, environment, json_option
from slackwater.cli.output import on_terminal, write_body, write_table


@click.group(no_args_is_help=False)
def models() -> None:
    """Show the models a server offers."""


@models.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Models on a page.")
@json_option
@client_options
def list_(*, limit: int, as_json: bool, base_url: str | None, key_file: Path | None, debug: bool) -> None:
    """List models."""
    api = API(find_target(base_url, key_file, environment()), debug=debug)
    answer = api.request("GET", "/v1/models", params={"limit": limit})
    page = answer.json()
    if as_json or not on_terminal():
        write_body(answer.body)
        return
    columns = ("id", "display_name", "max_input_tokens", "max_tokens")
    write_table(columns, [[model.get(column) for column in columns] for model in page["data"]])
