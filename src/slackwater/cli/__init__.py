"""The command line: `slackwater`. Data goes to stdout and nothing else does; everything for people goes to stderr.

Commands are imported when they are asked for, so that each starts with what it needs and no more.
"""

import importlib
import os
import sys
from typing import NoReturn

import rich_click as click
from click.exceptions import NoSuchCommand

from slackwater.cli.exits import INTERRUPTED, OK, Failure
from slackwater.cli.output import ReaderGoneError, message

_COMMANDS = {
    "serve": "slackwater.cli.serve:serve",
    "worker": "slackwater.cli.worker:worker",
    "batches": "slackwater.cli.batches:batches",
    "files": "slackwater.cli.files:files",
    "models": "slackwater.cli.models:models",
    "workspaces": "slackwater.cli.workspaces:workspaces",
    "keys": "slackwater.cli.keys:keys",
    "backends": "slackwater.cli.backends:backends",
    "doctor": "slackwater.cli.doctor:doctor",
    "simulate": "slackwater.cli.simulate:simulate",
}
"""Command → `module:attribute`, in the order in which people meet them."""


class LazyGroup(click.RichGroup):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in reading order."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Import a command, or return None for an unknown name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run; an unknown one is met with the nearest known."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise NoSuchCommand(args[0], possibilities=_COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slackwater", message="%(package)s %(version)s")
def root() -> None:
    """Message Batches for the language models you already run.

    Start with `slackwater serve`; `slackwater doctor` says what it would use.
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run a command line and leave the process with its exit code (0 1 2 3 4 5 130, see docs/cli.md)."""
    try:
        code = _run(args)
        sys.stdout.flush()
    except (ReaderGoneError, BrokenPipeError):
        # The interpreter flushes stdout once more on its way out, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = OK
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _run(args: list[str] | None) -> int:
    if not (sys.argv[1:] if args is None else args):
        args = ["--help"]
    try:
        result = root.main(args, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except Failure as failure:
        tell(failure)
        return failure.code
    return result if isinstance(result, int) else OK


def tell(failure: Failure) -> None:
    """Write a failure to stderr: what, request id, next step."""
    message(failure.what)
    if failure.request_id:
        message(f"request id: {failure.request_id}")
    if failure.next_step:
        message(f"next: {failure.next_step}")
