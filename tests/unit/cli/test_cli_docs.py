"""docs/cli.md says what the commands are."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from slackwater.cli import exits, root

TEXT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


EVERY = list(commands(root, "slackwater"))


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    """By its full name, each option by its long form; the simulator has a page of its own."""
    assert f"`{name}" in TEXT
    if name == "slackwater simulate":
        return
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    assert [option for option in options if option not in TEXT] == []


@pytest.mark.parametrize(("_name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_every_command_and_option_has_help(_name: str, command: click.Command) -> None:
    """One sentence at least."""
    assert command.help
    assert [one.name for one in command.params if isinstance(one, click.Option) and not one.help] == []


def test_every_exit_code_is_documented() -> None:
    """0 1 2 3 4 5 130: scripts rely on them."""
    codes = [value for name, value in vars(exits).items() if name.isupper()]
    assert sorted(set(codes)) == [0, 1, 2, 3, 4, 5, 130]
    assert [code for code in codes if f"\n| {code} | " not in TEXT] == []
