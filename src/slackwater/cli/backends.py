"""`slackwater backends`: the configured inference servers, and whether they answer."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import rich_click as click

from slackwater.cli.administration import explained, settings_of
from slackwater.cli.exits import ERROR, OK, Failure
from slackwater.cli.options import data_options
from slackwater.cli.output import on_terminal, write_body, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slackwater.backends.llamacpp import Engine
    from slackwater.config import Settings
    from slackwater.ports import Backend

_PATIENCE_SECONDS = 10.0
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(no_args_is_help=False)
def backends() -> None:
    """Show the configured inference servers and try them out."""


@backends.command("list")
@_JSON
@data_options
def list_(*, config: Path | None, data: Path | None, as_json: bool) -> None:
    """List the configured backends and what they serve; nothing is asked of them."""
    settings = _configured(config, data)
    rows = [
        {
            "name": one.name,
            "protocol": one.protocol,
            "url": getattr(one, "url", None),
            "file": str(one.model) if one.protocol == "llamacpp" else None,
            "max_in_flight": getattr(one, "max_in_flight", None),
            "slots": getattr(one, "slots", None),
            "models": [route.id for route in settings.routes().routes if route.backend == one.name],
        }
        for one in settings.backends
    ]
    _write(rows, as_json=as_json)


@backends.command()
@click.argument("name", required=False)
@_JSON
@data_options
def test(name: str | None, *, config: Path | None, data: Path | None, as_json: bool) -> int:
    """Ask every backend, or the one called NAME, for its models; load local ones. Exit code 1 when one fails."""
    settings = _configured(config, data)
    if name is not None and name not in [one.name for one in settings.backends]:
        raise Failure(f"no backend is called {name}", next_step="`slackwater backends list` shows them")
    with explained():
        rows = asyncio.run(_test(settings, name))
    _write(rows, as_json=as_json)
    return OK if all(row["state"] == "ok" for row in rows) else ERROR


async def _test(settings: "Settings", name: str | None) -> list[dict[str, Any]]:
    from slackwater.main import open_backends  # noqa: PLC0415  # every adapter: not for client commands

    async with open_backends(settings) as opened:
        return [
            await _ask(one, opened.engines.get(one.name, ()))
            for one in opened.backends.values()
            if name in (None, one.name)
        ]


async def _ask(backend: "Backend", engines: "Sequence[Engine]") -> dict[str, Any]:
    from slackwater.domain.errors import AttemptFailedError, BackendAwayError, WireError  # noqa: PLC0415  # see above

    try:
        fitting = await _loaded(engines) if engines else None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            models = await backend.models()
    except (AttemptFailedError, BackendAwayError, WireError) as problem:
        return _row(backend.name, problem=str(problem))
    except TimeoutError:
        return _row(backend.name, problem=f"no answer within {_PATIENCE_SECONDS:g} s")
    return _row(backend.name, models=models, runs=fitting)


async def _loaded(engines: "Sequence[Engine]") -> str:
    """Load a local model, all copies of it; say how it runs."""
    from slackwater.backends.llamacpp import together  # noqa: PLC0415  # see above
    from slackwater.cli.local_models import fit_text  # noqa: PLC0415  # see above

    async with AsyncExitStack() as stack:
        for engine in engines:
            await stack.enter_async_context(engine.serving())
        fits = [engine.fit for engine in engines if engine.fit is not None]
        return fit_text(together(fits)) if fits else ""


def _row(
    name: str, *, models: list[str] | None = None, problem: str | None = None, runs: str | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "state": "ok" if problem is None else "problem",
        "models": models or [],
        "runs": runs,
        "problem": problem,
    }


def _configured(config: Path | None, data: Path | None) -> "Settings":
    settings: Settings = settings_of(config, data)
    if not settings.backends:
        raise Failure(
            "no backend is configured", next_step="`slackwater doctor` looks for one and writes its configuration"
        )
    return settings


def _write(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json or not on_terminal():
        write_body(msgspec.json.encode({"data": rows}))
        return
    columns = list(rows[0])
    texts = [[", ".join(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows]
    write_table(columns, texts)
