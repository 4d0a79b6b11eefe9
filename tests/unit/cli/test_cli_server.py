"""The commands around a real server: serve, keys, workspaces, backends, doctor."""

import asyncio
import json
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slackwater.backends import detect as detection
from slackwater.cli import serve as serve_command
from slackwater.config import load
from slackwater.main import open_admin

from .conftest import Command, Ended, start

CONFIG = """
[server]
port = 0

[[backends]]
name = "sim"
protocol = "simulated"
latency_ms = 1
"""
LINE = (
    '{"custom_id": "%s", "params": {"model": "m", "max_tokens": %s, "messages": [{"role": "user", "content": "hi"}]}}\n'
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A `slackwater serve` that is ready."""

    process: asyncio.subprocess.Process
    url: str
    key: str
    said: str
    """What it wrote to stderr until it was ready."""
    directory: Path

    async def stop(self) -> tuple[int, str, str]:
        """Stop it; return its exit code, stdout and the rest of stderr."""
        self.process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


async def run(*arguments: str, cwd: Path, **variables: str) -> Ended:
    """Run a command to its end."""
    process = await start(*arguments, cwd=cwd, **variables)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return Ended(code=process.returncode, out=out.decode(), err=err.decode())


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Start a server on an empty data directory and wait until it is ready."""
    (tmp_path / "slackwater.toml").write_text(CONFIG)
    process = await start("serve", "--config", "slackwater.toml", "--data", "data", cwd=tmp_path)
    assert process.stderr is not None
    said = ""
    while "ready at" not in said:
        line = await asyncio.wait_for(process.stderr.readline(), 20)
        assert line, said
        said += line.decode()
    url, key = (re.search(pattern, said) for pattern in (r"ready at (\S+)", r"shown this once: (\S+)"))
    assert url is not None
    assert key is not None
    yield Server(process=process, url=url[1], key=key[1], said=said, directory=tmp_path)
    if process.returncode is None:
        process.kill()
        await process.wait()


def status(url: str, key: str) -> int:
    """Return the status of a call with this key."""
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/models", headers=headers)) as response:  # noqa: S310  # 127.0.0.1
            return int(response.status)
    except urllib.error.HTTPError as refused:
        return refused.code


async def test_the_first_key_is_shown_once_and_is_nowhere_else(server: Server, command: Command) -> None:
    """A1, A6: stderr of the first start, and no file of the data directory; ready means that the key works."""
    assert server.said.count(server.key) == 1
    assert await asyncio.to_thread(status, server.url, server.key) == 200
    made = await command("keys", "create", "--data", "data", "--json")
    secret = json.loads(made.out)["key"]
    code, out, err = await server.stop()
    assert (code, out) == (0, "")
    stored = await asyncio.to_thread(everything_below, server.directory)
    assert b"first key" in stored
    for hidden in (server.key, secret):
        assert hidden.encode() not in stored
        assert hidden not in err
    again = await command("keys", "list", "--data", "data")
    assert server.key not in again.out
    assert [key["status"] for key in json.loads(again.out)["data"]] == ["active", "active"]


def everything_below(directory: Path) -> bytes:
    """Return the bytes of every file."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


async def test_keys_are_made_and_revoked_while_the_server_runs(server: Server, command: Command) -> None:
    """A2: through the control socket, because SQLite has one writer; a revoked key is refused at once."""
    made = await command("workspaces", "create", "team", "--data", "data")
    assert json.loads(made.out)["name"] == "team"
    key = json.loads((await command("keys", "create", "--workspace", "team", "--data", "data", "--json")).out)
    assert await asyncio.to_thread(status, server.url, key["key"]) == 200
    revoked = await command("keys", "revoke", key["id"], "--data", "data")
    assert json.loads(revoked.out)["status"] == "archived"
    assert await asyncio.to_thread(status, server.url, key["key"]) == 401
    unknown = await command("keys", "create", "--workspace", "nobody", "--data", "data")
    assert (unknown.code, unknown.out, unknown.err) == (1, "", "Workspace `nobody` not found.\n")


async def test_a_start_that_fails_says_why_and_loses_nothing(server: Server) -> None:
    """A data directory has one server; where the port is taken, the key of the new directory is told all the same."""
    arguments = ("serve", "--config", "slackwater.toml", "--port", server.url.rpartition(":")[2], "--data")
    second, elsewhere = await asyncio.gather(
        run(*arguments, "data", cwd=server.directory), run(*arguments, "other", cwd=server.directory)
    )
    for failed in (second, elsewhere):
        assert (failed.code, failed.out) == (1, "")
        assert "Traceback" not in failed.err
        assert "ready at" not in failed.err
    assert "shown this once" not in second.err
    assert "shown this once: slw_" in elsewhere.err
    assert "choose another --port" in elsewhere.err
    assert await asyncio.to_thread(status, server.url, server.key) == 200


async def test_a_batch_goes_through_the_command_line_from_end_to_end(server: Server, command: Command) -> None:
    """Create, wait, results in the order of the input; exit code 5 because one request is not valid."""
    here = server.directory
    (here / "in.jsonl").write_text(LINE % ("a", 5) + LINE % ("b", '"many"'))
    variables = {"SLACKWATER_BASE_URL": server.url, "SLACKWATER_API_KEY": server.key}
    ended = await command(
        *("batches", "create", "in.jsonl", "--wait", "-o", "out.jsonl", "--order", "input"), **variables
    )
    assert ended.code == 5, ended.err
    batch = json.loads(ended.out)
    assert batch["request_counts"] == {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0}
    results = [json.loads(line) for line in (here / "out.jsonl").read_text().splitlines()]
    assert [(line["custom_id"], line["result"]["type"]) for line in results] == [("a", "succeeded"), ("b", "errored")]


async def test_administration_connects_to_postgresql(
    postgres_url: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a socket and beside running servers; keys made on two machines work with a shared pepper only (A1)."""
    variables = {"SLACKWATER_STORAGE__DATABASE": postgres_url, "SLACKWATER_PEPPER": "shared between machines"}
    await command("workspaces", "create", "team", "--data", "one", **variables)
    made = await command("keys", "create", "--workspace", "team", "--data", "two", "--json", **variables)
    assert made.code == 0, made.err
    secret = json.loads(made.out)["key"]
    settings = load(None, variables, {"storage": {"data_dir": tmp_path / "three"}})
    for pepper, known in (("shared between machines", True), ("another machine's own", False)):
        monkeypatch.setenv("SLACKWATER_PEPPER", pepper)
        async with open_admin(settings) as keys:
            assert (await keys.authenticate(secret) is not None) is known


async def test_administration_needs_a_data_directory(command: Command) -> None:
    """A mistyped --data makes no new one."""
    ended = await command("keys", "list", "--data", "nowhere")
    assert (ended.code, ended.out) == (1, "")
    assert "there is no data directory at nowhere" in ended.err


async def test_configuration_mistakes_are_told_by_every_command_that_reads_it(command: Command, tmp_path: Path) -> None:
    """One sentence each, and what to do next."""
    (tmp_path / "bad.toml").write_text("[server]\nprot = 1\n")
    for name in ("serve", "worker", "doctor"):
        ended = await command(name, "--config", "bad.toml")
        assert ended.code == 1
        assert 'bad.toml: server.prot: unknown key (did you mean "port"?)' in ended.err + ended.out
        assert "Traceback" not in ended.err


async def test_a_worker_needs_postgresql(command: Command) -> None:
    """SQLite has one writer, the server."""
    ended = await command("worker")
    assert ended.code == 1
    assert "a separate worker needs PostgreSQL" in ended.err


async def test_backends_are_listed_and_tried_out(command: Command, tmp_path: Path) -> None:
    """Exit code 1 when one does not answer; the reason stands beside it."""
    (tmp_path / "two.toml").write_text(
        CONFIG
        + '[[backends]]\nname = "away"\nprotocol = "openai"\nurl = "http://127.0.0.1:1"\n'
        + '[[models]]\nid = "*"\nbackend = "sim"\n'
    )
    listed = json.loads((await command("backends", "list", "--config", "two.toml")).out)["data"]
    assert [(one["name"], one["models"]) for one in listed] == [("sim", ["*"]), ("away", [])]
    tried = await command("backends", "test", "--config", "two.toml")
    assert tried.code == 1
    assert [one["state"] for one in json.loads(tried.out)["data"]] == ["ok", "problem"]
    assert (await command("backends", "test", "sim", "--config", "two.toml")).code == 0
    assert (await command("backends", "test", "nobody", "--config", "two.toml")).code == 1


def found(*engines: detection.Found) -> object:
    """Return what stands in for looking at the ports of this machine."""

    async def detect() -> list[detection.Found]:
        return list(engines)

    return detect


VLLM = detection.Found(kind="vllm", url="http://127.0.0.1:8000", models=("qwen",))
SECOND = detection.Found(kind="vllm", url="http://127.0.0.1:8080", models=("qwen", "llama"))
LOCKED = detection.Found(kind="litellm", url="http://127.0.0.1:4000", needs_key=True)


def test_engines_that_were_found_are_connected_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without [[backends]]: what runs here is used, what cannot be used is said."""
    monkeypatch.setattr(detection, "detect", found(LOCKED, VLLM))
    settings = serve_command._with_engines(load(None, {}))
    assert [backend.name for backend in settings.backends] == ["vllm"]
    told = capsys.readouterr().err
    assert "found vllm at http://127.0.0.1:8000: qwen" in told
    assert "litellm at http://127.0.0.1:4000: offers no model without a key" in told
    assert "SIMULATOR" not in told


async def test_the_lines_doctor_writes_are_a_configuration(
    monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path
) -> None:
    """They load as they are, and name what was found."""
    monkeypatch.setattr(detection, "detect", found(VLLM, SECOND))
    told = json.loads((await command("doctor", "--json")).out)
    assert {finding["about"] for finding in told["findings"]} >= {"configuration", "sqlite", "disk", "clock", "engine"}
    path = tmp_path / "doctor.toml"
    path.write_text("\n".join(told["toml"]))
    settings = load(path, {})
    assert [backend.name for backend in settings.backends] == ["vllm", "vllm-1"]
    assert [model.id for model in settings.models] == ["qwen", "llama"]


def test_the_snippet_is_python() -> None:
    """What serve prints can be pasted."""
    text = serve_command.snippet("http://127.0.0.1:8321", "key")
    compile(text, "snippet", "exec")
    assert 'base_url="http://127.0.0.1:8321"' in text
    assert sys.version_info >= (3, 11)
