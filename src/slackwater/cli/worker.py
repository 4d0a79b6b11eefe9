"""`slackwater worker`: more hands on the same PostgreSQL."""

import gc
from pathlib import Path

import rich_click as click

from slackwater.cli.administration import run_server, settings_of, tell_stopping
from slackwater.cli.exits import Failure
from slackwater.cli.options import data_options
from slackwater.cli.output import message


@click.command()
@data_options
def worker(config: Path | None, data: Path | None) -> None:
    """Work on batches without serving the API, beside servers on the same PostgreSQL database."""
    gc.disable()  # until it runs: imports make much, and hardly any garbage
    from slackwater.main import work  # noqa: PLC0415  # the whole server is not for client commands

    settings = settings_of(config, data)
    if settings.storage.database == "sqlite":
        raise Failure(
            "a separate worker needs PostgreSQL: SQLite has one writer, which is the server",
            next_step='set storage.database = "postgresql://…", or let `slackwater serve` do the work',
        )
    if not settings.backends:
        raise Failure("no backend is configured", next_step="add [[backends]] to a file and name it with --config")
    database = settings.storage.database.rpartition("@")[2].partition("?")[0]  # without the password
    run_server(work(settings, on_ready=lambda: message(f"works on the batches of {database}"), on_stop=tell_stopping))
