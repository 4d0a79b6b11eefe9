"""The process that ingests a large body, when the server that started it is gone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from slackwater.flow import ingest


def test_a_server_that_is_gone_is_no_error_and_leaves_no_file(tmp_path: Path) -> None:
    """D2: after `kill -9` of the server its log gets no traceback of the child, and the ordered copy is removed."""
    spool, ordered = tmp_path / "spool", tmp_path / "ordered"
    params = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    spool.write_text(json.dumps({"requests": [{"custom_id": "a", "params": params}]}))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", ingest.__name__, str(spool), str(ordered)]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not ordered.exists()
