"""`make demo`, in its short form: the real engine, the shipped model, the texts of this machine."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from support.sdks import clean_environment
from support.source import ROOT

DEMO = (sys.executable, str(ROOT / "examples" / "demo.py"), "--short")
SECONDS = 120


def test_the_demo_shows_every_part_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Every request succeeds and is scored; a PDF, a stream, a tool and a comparison follow; the last line says so."""
    done = subprocess.run(
        DEMO,
        env=clean_environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "slackwater-stand-in: slackwater-demo-3m" in said
    assert re.search(r"ended after .* succeeded, 0 errored", said)
    assert re.search(r"which of 8 kinds of text +\d+ of \d+", said)
    assert re.search(r"license\.pdf +file_\w+ +[\d,]+ bytes.* \d pages", said)
    assert re.search(r"page-1\.pdf +file_\w+ +[\d,]+ bytes", said)
    assert re.search(r"\d of 6 right\. Every prompt had \d+ tokens or more", said)
    assert re.search(r"prompt is too long: \d+ tokens > 2048 maximum", said)
    assert re.search(r"calls \w+\(", said)
    assert re.search(r"of the time at \d+% of the cost", said)
    assert said.splitlines()[-1].startswith("Done in ")
    assert "\x1b" not in said, "a pipe gets plain lines"
    assert not list(tmp_path.iterdir())
    assert not _processes_of(tmp_path)


def test_interrupting_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C while the batch runs: the server and its engine end, the data goes, the exit code says why."""
    with subprocess.Popen(DEMO, env=clean_environment(TMPDIR=str(tmp_path)), stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            next(line for line in demo.stdout if "requests accepted" in line)
            demo.send_signal(signal.SIGINT)
            said = demo.stdout.read()
            assert demo.wait(SECONDS) == 128 + signal.SIGINT
            assert said.splitlines()[-1].startswith("Stopped")
        finally:
            demo.kill()
    assert not list(tmp_path.iterdir())
    assert not _processes_of(tmp_path)


def _processes_of(folder: Path) -> list[str]:
    """Find processes that were told this folder: servers of the demo."""
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(entry.read_text(encoding="utf-8", errors="replace").replace("\0", " "))
        except OSError:
            continue  # ended meanwhile
    return [command for command in commands if str(folder) in command]
