"""`slackwater models`: what a server offers, and adding what lies on this machine."""

from pathlib import Path

import rich_click as click

from slackwater.cli.connection import API, find_target
from slackwater.cli.options import client_options, environment, json_option
from slackwater.cli.output import on_terminal, write_body, write_table


@click.group(no_args_is_help=False)
def models() -> None:
    """Show the models a server offers; add one that lies on this machine."""


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


@models.command()
@click.argument("model", metavar="PATH")
@click.option(
    "--id", "model_id", metavar="NAME", help="The name clients send; '*' for every name [default: the model's]."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SLACKWATER_CONFIG",
    default=Path("slackwater.toml"),
    show_default=True,
    help="Configuration file; made if missing [env: SLACKWATER_CONFIG].",
)
@click.option(
    "--mmproj",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The projector that lets it see images [default: the one beside it].",
)
def add(model: str, *, model_id: str | None, config: Path, mmproj: Path | None) -> None:
    """Add a GGUF model to the configuration file: checked first, and what is in the file stays as it is.

    PATH is a .gguf file, or the name of a model that `slackwater doctor` finds on this machine, as Ollama's qwen3:8b.
    """
    from slackwater.cli.adding import add_model  # noqa: PLC0415  # pydantic is not for client commands

    add_model(model, model_id=model_id, config=config, mmproj=mmproj)
