"""`slackwater worker`: more hands on the same PostgreSQL."""

import asyncio
from pathlib import Path

import rich_click as click

from slackwater.cli.administration import settings_of
from slackwater.cli.exits import Failure
from slackwater.cli.options import data_options


@click.command()
@data_options
def worker(config: Path | None, data: Path | None) -> None:
    """Work on batches without serving the API, beside servers on the same PostgreSQL database."""
    from slackwater.config import ConfigError  # noqa: PLC0415  # pydantic is not for client commands
    from slackwater.main import work  # noqa: PLC0415  # likewise the whole server

    settings = settings_of(config, data)
    if settings.storage.database == "sqlite":
        raise Failure(
            "a separate worker needs PostgreSQL: SQLite has one writer, which is the server",
            next_step='set storage.database = "postgresql://…", or let `slackwater serve` do the work',
        )
    if not settings.backends:
        raise Failure("no backend is configured", next_step="add [[backends]] to a file and name it with --config")
    try:
        asyncio.run(work(settings))
    except ConfigError as error:
        raise Failure(str(error)) from None
