"""`slackwater keys`: who may call."""

from pathlib import Path

import msgspec
import rich_click as click

from slackwater.cli.administration import administer
from slackwater.cli.options import data_options, json_option
from slackwater.cli.output import message, on_terminal, write_body, write_table, write_text


@click.group(no_args_is_help=False)
def keys() -> None:
    """Create, list and revoke API keys.

    Works on a running server's data through its control socket, or on the data itself when no server runs.
    """


@keys.command()
@click.option("--workspace", default="default", show_default=True, help="Name or id of the workspace it opens.")
@click.option("--name", default="key", show_default=True, help="What you call it.")
@json_option
@data_options
def create(workspace: str, name: str, *, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Make a key and print its secret, this once."""
    made = administer(config, data, "keys.create", workspace=workspace, name=name)
    if as_json:
        write_body(msgspec.json.encode(made))
        return
    write_text(made["key"])
    message(f"key {made['id']} of workspace {workspace}; the secret is not shown again")


@keys.command("list")
@click.option("--workspace", help="Only this workspace's (name or id).")
@json_option
@data_options
def list_(workspace: str | None, *, as_json: bool, config: Path | None, data: Path | None) -> None:
    """List keys, oldest first; secrets are never shown."""
    found = administer(config, data, "keys.list", workspace=workspace)
    if as_json or not on_terminal():
        write_body(msgspec.json.encode(found))
        return
    columns = ("id", "name", "workspace", "partial_key_hint", "status", "created_at")
    write_table([name.replace("partial_key_hint", "ends in") for name in columns], _rows(found["data"], columns))


@keys.command()
@click.argument("key_id")
@json_option
@data_options
def revoke(key_id: str, *, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Make a key stop working, within a second, everywhere."""
    revoked = administer(config, data, "keys.revoke", id=key_id)
    if as_json or not on_terminal():
        write_body(msgspec.json.encode(revoked))
    else:
        message(f"{key_id} is revoked")


def _rows(items: list[dict[str, object]], columns: tuple[str, ...]) -> list[list[object]]:
    return [[item.get(column) for column in columns] for item in items]
