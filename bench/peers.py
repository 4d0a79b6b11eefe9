"""Others who do this work: whether they are here, in which version, and how a server of theirs is started."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from context import CONCURRENCY
from processes import Program, free_port, running
from workload import MODEL

ROOT = Path(__file__).resolve().parents[1]
_OGX = """\
version: 2
distro_name: bench
apis: [inference, messages]
providers:
  inference:
  - provider_id: bench
    provider_type: remote::vllm
    config: {{base_url: "{url}/v1", api_token: none}}
  messages:
  - provider_id: builtin
    provider_type: inline::builtin
    config:
      kvstore: {{namespace: message_batches, backend: kv_default}}
      max_concurrent_requests_per_batch: {concurrency}
storage:
  backends:
    kv_default: {{type: kv_sqlite, db_path: "{directory}/kvstore.db"}}
    sql_default: {{type: sql_sqlite, db_path: "{directory}/sql_store.db"}}
  stores:
    metadata: {{namespace: registry, backend: kv_default}}
    inference: {{table_name: inference_store, backend: sql_default}}
    conversations: {{table_name: conversations, backend: sql_default}}
    prompts: {{table_name: prompts, backend: sql_default}}
    connectors: {{table_name: connectors, backend: sql_default}}
registered_resources:
  models:
  - {{model_id: {model}, provider_id: all, provider_model_id: served, model_type: llm, metadata: {{}}}}
"""


class MissingError(Exception):
    """A peer is not on this machine; the text says why."""


def install() -> None:
    """Install those that are missing; it costs nothing where none is."""
    subprocess.run([sys.executable, str(ROOT / "scripts" / "peers.py")], check=True)


def program(name: str, executable: str = "python") -> Path:
    """Return a program of a peer's environment. Raises MissingError."""
    found = ROOT / ".peers" / name / "bin" / executable
    if not found.exists():
        reason = ROOT / ".peers" / f"{name}.txt"
        raise MissingError(reason.read_text("utf-8") if reason.exists() else "it is not installed: `make peers`")
    return found


def version(name: str) -> str:
    """Return a peer's name with its version, as it is pinned."""
    pinned = (ROOT / "requirements" / "peers" / f"{name}.in").read_text("utf-8")
    found = re.search(rf"^{name}(?:\[.*\])?==(\S+)$", pinned, re.MULTILINE)
    return f"{name} {found[1]}" if found else name


@contextmanager
def ogx(directory: Path, backend: Program) -> Iterator[Program]:
    """Run ogx's server, with the provider that hands Messages requests on as they are. Raises MissingError."""
    command, port = program("ogx", "ogx"), free_port()
    directory.mkdir(exist_ok=True)
    config = directory / "config.yaml"
    text = _OGX.format(url=backend.url, concurrency=CONCURRENCY, directory=directory, model=MODEL)
    config.write_text(text, encoding="utf-8")
    # Its home is where it would leave files behind.
    command_line = ["env", f"HOME={directory}", str(command), "run", str(config), "--port", str(port), "--insecure"]
    with running("ogx", command_line, directory, port, "/v1/health") as server:
        yield server
