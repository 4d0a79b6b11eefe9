"""Which server a command talks to, and to whom a key is never sent."""

import subprocess
import sys
from pathlib import Path

import pytest

from slackwater.cli.connection import find_target, masked
from slackwater.cli.exits import AUTHENTICATION, Failure

from .conftest import Command, environment

OURS = "slw_12345678_" + "x" * 43
OFFICIAL = "sk-ant-api03-abc"
HERE = "http://127.0.0.1:8321"


@pytest.mark.parametrize(
    ("option", "environ", "url", "key"),
    [
        (None, {}, HERE, None),
        (None, {"SLACKWATER_API_KEY": "k"}, HERE, "k"),
        (None, {"ANTHROPIC_BASE_URL": "http://a/", "ANTHROPIC_API_KEY": "k"}, "http://a", "k"),
        (None, {"SLACKWATER_BASE_URL": "http://s", "ANTHROPIC_BASE_URL": "http://a"}, "http://s", None),
        ("http://o/prefix/v1", {"SLACKWATER_BASE_URL": "http://s"}, "http://o/prefix", None),
        (None, {"SLACKWATER_API_KEY": "s", "ANTHROPIC_API_KEY": OFFICIAL}, HERE, "s"),
        (None, {"ANTHROPIC_AUTH_TOKEN": "t"}, HERE, "t"),
        (None, {"ANTHROPIC_API_KEY": OFFICIAL, "ANTHROPIC_BASE_URL": "http://a"}, "http://a", OFFICIAL),
        ("http://o", {"ANTHROPIC_API_KEY": OFFICIAL}, "http://o", OFFICIAL),
        (None, {"SLACKWATER_API_KEY": "", "SLACKWATER_BASE_URL": ""}, HERE, None),
    ],
)
def test_options_beat_slackwater_beats_anthropic(
    option: str | None, environ: dict[str, str], url: str, key: str | None
) -> None:
    """Flags > SLACKWATER_* > ANTHROPIC_* > this machine."""
    target = find_target(option, None, environ)
    assert (target.base_url, target.key) == (url, key)


def test_a_key_file_beats_the_environment(tmp_path: Path) -> None:
    """I5: a key never stands in argv; a file or a variable holds it."""
    path = tmp_path / "key"
    path.write_text("from-the-file\n")
    assert find_target(None, path, {"SLACKWATER_API_KEY": "k"}).key == "from-the-file"
    with pytest.raises(Failure, match="cannot be read"):
        find_target(None, tmp_path / "nowhere", {})


def test_an_official_key_is_not_sent_to_a_host_that_nobody_named() -> None:
    """Who has ANTHROPIC_API_KEY set for other programs does not hand it to whatever listens on this machine."""
    with pytest.raises(Failure, match=r"not sent to 127\.0\.0\.1, which nobody named") as refused:
        find_target(None, None, {"ANTHROPIC_API_KEY": OFFICIAL})
    assert refused.value.code == AUTHENTICATION
    assert OFFICIAL not in refused.value.what


@pytest.mark.parametrize("host", ["api.anthropic.com", "API.Anthropic.com", "anthropic.com", "platform.claude.com"])
def test_our_key_is_not_sent_to_the_official_service(host: str) -> None:
    """A key of ours is of no use there, and a secret here."""
    with pytest.raises(Failure, match="it is not sent to") as refused:
        find_target(f"https://{host}", None, {"SLACKWATER_API_KEY": OURS})
    assert refused.value.code == AUTHENTICATION
    assert OURS not in refused.value.what


@pytest.mark.parametrize("url", ["", "ftp://x", "x", "http://", "http:///v1"])
def test_what_is_no_base_url_is_refused(url: str) -> None:
    """Before anything is sent."""
    if url:
        with pytest.raises(Failure, match="is not a base URL"):
            find_target(url, None, {})
    else:
        assert find_target(url, None, {}).base_url == HERE


def test_a_key_is_shown_by_its_ends_only() -> None:
    """Enough to recognise it."""
    assert masked(OURS) == "slw_…xxxx"
    assert masked("short-key") == "…"


async def test_a_redirect_is_not_followed(api: object, command: Command) -> None:
    """The key would go with it."""
    api.failures = [(307, {}, {"location": "http://127.0.0.1:1/"})]  # type: ignore[attr-defined]
    ended = await command("models", "list")
    assert ended.code == 1
    assert "redirect" in ended.err


async def test_models_are_listed(command: Command) -> None:
    """The API's body, unchanged."""
    ended = await command("models", "list")
    assert ended.out == '{"data": [{"id": "m"}], "has_more": false, "first_id": "m", "last_id": "m"}\n'


async def test_usage_mistakes_are_exit_code_2_with_nothing_on_stdout(command: Command) -> None:
    """Unknown commands and options are met with the nearest known."""
    for arguments, hint in (
        (("batchs",), "batches"),
        (("batches", "lst"), "list"),
        (("batches", "list", "--lmit", "3"), "--limit"),
        (("batches", "watch", "../x"), "not a batch id"),
        (("batches", "create", "x", "-o", "y"), "need --wait"),
        (("batches",), "Missing command"),
    ):
        ended = await command(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert hint in ended.err


async def test_no_arguments_show_every_command(command: Command) -> None:
    """Help is data: stdout, exit code 0."""
    ended = await command()
    assert ended.code == 0
    for name in ("serve", "worker", "batches", "keys", "workspaces", "models", "backends", "doctor", "simulate"):
        assert name in ended.out


def test_client_commands_start_light() -> None:
    """Neither SQLAlchemy nor pydantic nor an event loop: they would double the time a command takes to start."""
    program = (
        "import sys, slackwater.cli.batches, slackwater.cli.models\n"
        "print([name for name in ('sqlalchemy', 'pydantic', 'asyncio', 'aiohttp', 'anthropic', 'starlette')"
        " if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, check=True, text=True
    )
    assert found.stdout == "[]\n"
