"""`slackwater serve`: the server, and what its first words are."""

import asyncio
import gc
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from slackwater.cli.administration import run_server, settings_of, tell_stopping
from slackwater.cli.options import data_options, environment
from slackwater.cli.output import message, styled

if TYPE_CHECKING:
    from slackwater.config import Settings

TOY = "no model is configured: {name}, a TOY of 3 million parameters, answers; do not rely on what it says"
SIMULATED = "nothing is connected: a SIMULATOR answers, there is no language model behind it"


@click.command()
@data_options
@click.option("--host", help="Address to listen on [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port [default: 8321]; 0 takes a free one.")
def serve(config: Path | None, data: Path | None, host: str | None, port: int | None) -> None:
    """Run the server: the API, and the work on batches.

    The first start in an empty data directory makes a workspace and one API key, shown once (SLACKWATER_API_KEY chooses
    its value). Without a configuration, inference servers found on this machine are used; without any, a toy answers.
    """
    gc.disable()  # until it runs: imports make much, and hardly any garbage
    from slackwater.main import serve as run  # noqa: PLC0415  # the whole server is not for client commands

    settings = settings_of(config, data, {"host": host, "port": port})
    if not settings.backends:
        settings = _with_engines(settings)
    if settings.storage.database != "sqlite" and not (
        settings.storage.pepper_file or environment().get("SLACKWATER_PEPPER")
    ):
        message(
            f"servers that share this database must share {settings.storage.data_dir / 'pepper'} "
            "(SLACKWATER_PEPPER or storage.pepper_file), or keys made by one are unknown to the other"
        )
    run_server(run(settings, on_ready=_announce, on_first_key=_tell_first_key, on_stop=tell_stopping))


def _with_engines(settings: "Settings") -> "Settings":
    """Connect what runs on this machine, else the toy in the box, else the simulator, and say so."""
    from slackwater.backends import llamacpp  # noqa: PLC0415  # only without configured backends
    from slackwater.backends.detect import detect  # noqa: PLC0415  # only without configured backends
    from slackwater.config import with_engines, with_simulator, with_stand_in  # noqa: PLC0415  # likewise

    found = asyncio.run(detect())
    for engine in found:
        offers = ", ".join(engine.models) or "offers no model" + " without a key" * engine.needs_key
        message(f"found {engine.kind} at {engine.url}: {offers}")
    usable = [engine for engine in found if engine.models]
    if usable:
        message(f"every model name that is not among these is served by {usable[0].models[0]}")
        return with_engines(settings, usable)
    reason = llamacpp.why_not()
    if reason is None and not llamacpp.DEMO_MODEL.is_file():
        reason = f"{llamacpp.DEMO_MODEL} is missing: this installation is not whole."
    if reason is not None:
        message(f"** {SIMULATED} **")
        message(f"   {reason}")
        message("   connect an inference server with [[backends]] in a --config file; `slackwater doctor` writes one")
        return with_simulator(settings)
    name = llamacpp.DEMO_MODEL_ID
    message(f"** {TOY.format(name=name)} **")
    _suggest(settings)
    return with_stand_in(
        settings, name, llamacpp.DEMO_MODEL, f"{name} (toy: 3 million parameters, for trying things out)"
    )


def _suggest(settings: "Settings") -> None:
    """Say how to get answers from a real model, with the best one that lies on this machine."""
    from slackwater.cli.local_models import candidates  # noqa: PLC0415  # only without configured backends
    from slackwater.config.adding import local_lines  # noqa: PLC0415  # likewise

    best = next((one for one in candidates(environment(), settings) if one.fit is not None), None)
    if best is None:
        message("   for a real one: `slackwater models add FILE.gguf` where the model is a file on this machine, or")
        message("   [[backends]] in a --config file for an inference server; `slackwater doctor` looks for both")
        return
    message(f"   there is a real one on this machine: {best.text}")
    message(f"   `slackwater models add {shlex.quote(best.found.name)}` configures it; it writes these lines:")
    for line in local_lines(best.addition):
        message(f"   {line}".rstrip())


def _tell_first_key(secret: str) -> None:
    """Show the first key as soon as it exists, unless the operator chose its value."""
    if environment().get("SLACKWATER_API_KEY"):
        return
    if styled():
        from rich.console import Console  # noqa: PLC0415  # only on a terminal
        from rich.text import Text  # noqa: PLC0415  # likewise

        Console(stderr=True).print(Text.assemble("API key, shown this once: ", (secret, "bold green")), soft_wrap=True)
    else:
        message(f"API key, shown this once: {secret}")


def _announce(base_url: str, first_key: str | None) -> None:
    """Say that the server is ready; called once it is."""
    message(f"slackwater is ready at {base_url}")
    if styled():
        message("")
        key = None if environment().get("SLACKWATER_API_KEY") else first_key
        message(snippet(base_url, key or "…your key…"))


def snippet(base_url: str, key: str) -> str:
    """Return Python that sends a first batch through the official SDK."""
    return f"""\
from anthropic import Anthropic

client = Anthropic(base_url="{base_url}", api_key="{key}")
batch = client.messages.batches.create(requests=[{{
    "custom_id": "hello",
    "params": {{"model": "any", "max_tokens": 64, "messages": [{{"role": "user", "content": "Hello"}}]}},
}}])
print(batch.id, batch.processing_status)
"""
