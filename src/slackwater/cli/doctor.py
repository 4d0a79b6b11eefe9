"""`slackwater doctor`: what a server would find on this machine, and the configuration that connects it."""

import asyncio
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import rich_click as click

from slackwater.cli.exits import ERROR, OK, Failure
from slackwater.cli.options import data_options, environment
from slackwater.cli.output import write_body, write_text

if TYPE_CHECKING:
    from slackwater.backends.detect import Found
    from slackwater.cli.local_models import Candidate
    from slackwater.config import Settings

_FREE_BYTES_MIN = 2**30
_SQLITE_FIXED = (3, 51, 3)  # from here on two writers on one file cannot corrupt it; before, we allow only one


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    state: Literal["ok", "note", "problem"]
    text: str


@click.command()
@data_options
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, config: Path | None, data: Path | None, as_json: bool) -> int:
    """Check the configuration and this machine, look for inference servers and models, and write their configuration.

    Starts nothing and changes nothing. Exit code 1 when something is wrong.
    """
    from slackwater.cli.local_models import candidates  # noqa: PLC0415  # every adapter: not for client commands

    findings, settings = [], None
    try:
        from slackwater.cli.administration import settings_of  # noqa: PLC0415  # pydantic is not for client commands

        settings = settings_of(config, data)
        findings.append(Finding(about="configuration", state="ok", text=str(config or "defaults and environment")))
    except Failure as failure:
        findings += [Finding(about="configuration", state="problem", text=line) for line in failure.what.splitlines()]
    findings += _machine()
    if settings is not None:
        findings += _storage(settings)
        findings += _port(settings)
    engines, models = _engines(), candidates(environment(), settings)
    findings += _engine_findings(engines)
    findings += _local_findings(settings, models)
    lines = list(toml_for(engines, models)) if settings is None or not settings.backends else []
    if as_json:
        told = {
            "findings": [asdict(finding) for finding in findings],
            "models": [model.row() for model in models],
            "toml": lines,
        }
        write_body(msgspec.json.encode(told))
    else:
        for finding in findings:
            write_text(f"{finding.state:8}{finding.about:15}{finding.text}")
        if lines:
            write_text("\nPut this into a file and start `slackwater serve --config FILE`:\n")
            write_text("\n".join(lines))
    return ERROR if any(finding.state == "problem" for finding in findings) else OK


def toml_for(engines: "Sequence[Found]", models: "Sequence[Candidate]" = ()) -> Iterator[str]:
    """Yield the configuration that connects these engines and the models that run here; without any, one to fill in."""
    from slackwater.cli.local_models import lines_for  # noqa: PLC0415  # see `doctor`

    named: set[str] = set()
    taken: set[str] = set()
    for number, engine in enumerate(engines):
        name = engine.kind if engine.kind not in {one.kind for one in engines[:number]} else f"{engine.kind}-{number}"
        taken.add(name)
        yield from ("[[backends]]", f'name = "{name}"', f'protocol = "{engine.protocol}"', f'url = "{engine.url}"')
        yield from ([f"slots = {engine.slots}"] if engine.slots else [])
        yield from (['api_key_env = "GPU0_API_KEY"   # the variable that holds its key'] if engine.needs_key else [])
        yield ""
        for model in (one for one in engine.models if one not in named):
            named.add(model)
            yield from ("[[models]]", f"id = {_toml_text(model)}", f'backend = "{name}"', "")
    local = [model for model in models if model.fit is not None]
    yield from lines_for(local, named=named, taken=taken)
    if not engines and not local:
        yield from (
            "[[backends]]",
            'name = "gpu0"',
            'protocol = "openai"              # vLLM, SGLang, llama.cpp, Ollama, LM Studio, LiteLLM; or "anthropic"',
            'url = "http://127.0.0.1:8000"',
            '# api_key_env = "GPU0_API_KEY"   # the variable that holds its key, when it wants one',
        )


def _toml_text(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _machine() -> Iterator[Finding]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(about="python", state="ok", text=python)
    fixed = sqlite3.sqlite_version_info >= _SQLITE_FIXED
    note = "" if fixed else " (older than 3.51.3: safe here, because only the server writes; let nothing else write)"
    yield Finding(about="sqlite", state="ok" if fixed else "note", text=sqlite3.sqlite_version + note)
    cores = os.cpu_count() or 1
    yield Finding(about="cores", state="ok", text=str(cores))


def _storage(settings: "Settings") -> Iterator[Finding]:
    from slackwater.clock import SystemClock  # noqa: PLC0415  # brings asyncio

    directory = settings.storage.data_dir
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(about="data directory", state="problem", text=f"{existing} cannot be written by this user")
        return
    text = str(directory) if existing == directory.absolute() else f"{directory} (the first start makes it)"
    yield Finding(about="data directory", state="ok", text=text)
    free = shutil.disk_usage(existing).free
    state: Literal["ok", "problem"] = "ok" if free >= _FREE_BYTES_MIN else "problem"
    yield Finding(about="disk", state=state, text=f"{free / 2**30:.1f} GiB free at {existing}")
    now = SystemClock().now()
    newest = max((path.stat().st_mtime for path in directory.glob("*") if path.is_file()), default=0.0)
    behind = newest - now.timestamp()
    if behind > 60:  # noqa: PLR2004  # a minute: beyond what file systems round
        text = f"{now:%Y-%m-%d %H:%M} UTC lies {behind:.0f} s before the newest file in the data directory"
        yield Finding(about="clock", state="problem", text=text)
    else:
        yield Finding(about="clock", state="ok", text=f"{now:%Y-%m-%d %H:%M} UTC")


def _port(settings: "Settings") -> Iterator[Finding]:
    host, port = settings.server.host, settings.server.port
    if _answers(settings.control_socket):
        yield Finding(about="server", state="ok", text=f"one is running on {settings.storage.data_dir}")
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as problem:
            reason = f"{host}:{port}: {problem.strerror or problem}; choose another with --port"
            yield Finding(about="port", state="problem", text=reason)
        else:
            yield Finding(about="port", state="ok", text=f"{host}:{port} is free")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _engines() -> "Sequence[Found]":
    from slackwater.backends.detect import detect  # noqa: PLC0415  # brings aiohttp

    return asyncio.run(detect())


def _engine_findings(engines: "Sequence[Found]") -> Iterator[Finding]:
    for engine in engines:
        models = ", ".join(engine.models) or "offers no model" + " without a key" * engine.needs_key
        state: Literal["ok", "note"] = "ok" if engine.models else "note"
        yield Finding(about="engine", state=state, text=f"{engine.kind} at {engine.url}: {models}")
    if not engines:
        text = "no inference server answers on the usual ports of 127.0.0.1"
        yield Finding(about="engines", state="note", text=text)


def _local_findings(settings: "Settings | None", models: "Sequence[Candidate]") -> Iterator[Finding]:
    """Say whether the engine in the box runs here, what is configured for it, and what else it could run."""
    from slackwater.backends import llamacpp  # noqa: PLC0415  # see `doctor`
    from slackwater.cli.local_models import configured, room  # noqa: PLC0415  # likewise

    reason = llamacpp.why_not()
    wanted = configured(settings) if settings is not None else []
    text = reason or f"llama.cpp is here; models may use {room(settings)} of memory"
    serious = reason is not None and wanted
    yield Finding(about="local engine", state="problem" if serious else "note" if reason else "ok", text=text)
    for model in wanted:
        yield Finding(about="backend", state="ok" if model.fit else "problem", text=model.text)
    known = {model.found.path.resolve() for model in wanted}
    for model in (one for one in models if one.found.path.resolve() not in known):
        yield Finding(about="local model", state="ok" if model.fit else "note", text=model.text)
