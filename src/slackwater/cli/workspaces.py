"""`slackwater workspaces`: walls between users of one server."""

from pathlib import Path

import msgspec
import rich_click as click

from slackwater.cli.administration import administer
from slackwater.cli.options import data_options, json_option
from slackwater.cli.output import message, on_terminal, write_body, write_table


@click.group(no_args_is_help=False)
def workspaces() -> None:
    """Create, list and archive workspaces: nothing of one is ever visible in another."""


@workspaces.command()
@click.argument("name")
@json_option
@data_options
def create(name: str, *, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Make a workspace."""
    made = administer(config, data, "workspaces.create", name=name)
    if as_json or not on_terminal():
        write_body(msgspec.json.encode(made))
    else:
        message(f"workspace {made['id']}; its first key: slackwater keys create --workspace {made['id']}")


@workspaces.command("list")
@json_option
@data_options
def list_(*, as_json: bool, config: Path | None, data: Path | None) -> None:
    """List workspaces, oldest first."""
    found = administer(config, data, "workspaces.list")
    if as_json or not on_terminal():
        write_body(msgspec.json.encode(found))
        return
    columns = ("id", "name", "created_at", "archived_at")
    write_table(columns, [[item[column] for column in columns] for item in found["data"]])


@workspaces.command()
@click.argument("workspace")
@json_option
@data_options
def archive(workspace: str, *, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Archive a workspace (name or id): its keys stop working."""
    archived = administer(config, data, "workspaces.archive", workspace=workspace)
    if as_json or not on_terminal():
        write_body(msgspec.json.encode(archived))
    else:
        message(f"{archived['name']} is archived")
