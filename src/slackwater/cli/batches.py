"""`slackwater batches`: send work, watch it, fetch its results."""

import sys
import uuid
from pathlib import Path
from typing import Any

import rich_click as click

from slackwater.cli.connection import API, API_VERSION, find_target
from slackwater.cli.options import Duration, Id, OutputFile, client_options, environment, json_option
from slackwater.cli.output import message, on_terminal, styled, write_body, write_table, write_text

_BATCHES = "/v1/messages/batches"

OUTPUT = click.option(
    "-o",
    "--output",
    type=OutputFile("slackwater batches results ID"),
    help="File for the results; whole or not there.",
)
TIMEOUT = click.option("--timeout", type=Duration(), help="Longest wait, such as 90s or 2h; then exit code 3.")


@click.group(no_args_is_help=False)
def batches() -> None:
    """Send batches and fetch their results."""


@batches.command(epilog="INPUT: JSONL of {custom_id, params}, or a JSON object with `requests`; .gz and .zst as well.")
@click.argument("source", metavar="INPUT")
@click.option("--dry-run", is_flag=True, help="Check every line, params included, and send nothing.")
@click.option("--wait", is_flag=True, help="Wait until the batch has ended.")
@TIMEOUT
@OUTPUT
@click.option("--order", type=click.Choice(["input"]), help="Put the results in the order of the input.")
@click.option("--idempotency-key", help="Makes a repetition within 24 h return the same batch [default: a fresh one].")
@click.option("--version", "version", default=API_VERSION, show_default=True, help="The batch's anthropic-version.")
@click.option("--id-only", "-q", is_flag=True, help="Print the batch's id only.")
@json_option
@client_options
def create(source: str, **options: Any) -> int | None:  # noqa: ANN401  # click's values, named below
    """Create a batch from INPUT (a file, or - for stdin)."""
    from slackwater.cli.submission import read_submission  # noqa: PLC0415  # for this command alone

    if (options["output"] or options["order"] or options["timeout"]) and not options["wait"]:
        raise click.UsageError("--output, --order and --timeout need --wait")
    if options["order"] and not options["output"]:
        raise click.UsageError("--order needs --output")
    check = _params_check(options["version"]) if options["dry_run"] else None
    with read_submission(source, check) as submission:
        count = len(submission.custom_ids)
        if options["dry_run"]:
            message(f"{count:,} requests, {submission.body_bytes:,} bytes: fine; nothing was sent")
            return None
        api = _api(options, options["version"])
        message(f"sending {count:,} requests to {api.target.base_url}")
        headers = {
            "content-type": "application/json",
            "content-length": str(submission.body_bytes),
            "idempotency-key": options["idempotency_key"] or f"cli-{uuid.uuid4()}",
        }
        try:
            answer = api.request("POST", _BATCHES, headers=headers, content=submission.pieces)
        except KeyboardInterrupt:
            key = headers["idempotency-key"]
            message(f"the batch may have been made; repeating this with --idempotency-key {key} makes no second one")
            raise
        order = submission.custom_ids if options["order"] else None
    batch = answer.json()
    if not options["wait"]:
        _show(answer.body, batch, options)
        if on_terminal():
            message(f"watch it with: slackwater batches watch {batch['id']}")
        return None
    message(f"created {batch['id']}")
    return _finish(api, batch["id"], options, order)


@batches.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Batches on a page.")
@click.option("--after-id", help="Continue after this batch, towards older ones.")
@click.option("--before-id", help="The page before this batch.")
@json_option
@client_options
def list_(*, limit: int, after_id: str | None, before_id: str | None, **options: Any) -> None:  # noqa: ANN401  # click's
    """List batches, newest first."""
    cursors = {"after_id": after_id, "before_id": before_id}
    params: dict[str, str | int] = {"limit": limit, **{name: value for name, value in cursors.items() if value}}
    answer = _api(options).request("GET", _BATCHES, params=params)
    page = answer.json()
    if options["as_json"] or not on_terminal():
        write_body(answer.body)
        return
    write_table(("id", "status", "requests", "succeeded", "errored", "created"), [_row(one) for one in page["data"]])
    if page["has_more"]:
        message(f"more: slackwater batches list --limit {limit} --after-id {page['last_id']}")


@batches.command()
@click.argument("batch_id", type=Id("batch"))
@json_option
@client_options
def retrieve(batch_id: str, **options: Any) -> None:  # noqa: ANN401  # click's
    """Show a batch."""
    answer = _api(options).request("GET", f"{_BATCHES}/{batch_id}")
    _show(answer.body, answer.json(), options)


@batches.command()
@click.argument("batch_id", type=Id("batch"))
@TIMEOUT
@OUTPUT
@json_option
@client_options
def watch(batch_id: str, **options: Any) -> int:  # noqa: ANN401  # click's
    """Wait until a batch has ended; exit code 5 when some of it errored or expired."""
    return _finish(_api(options), batch_id, options, None)


@batches.command()
@click.argument("batch_id", type=Id("batch"))
@OUTPUT
@click.option("--order", type=click.Choice(["input"]), help="Put the results in the order of --input.")
@click.option("--input", "source", help="The file the batch was made from, for --order.")
@client_options
def results(batch_id: str, *, output: Path | None, order: str | None, source: str | None, **options: Any) -> None:  # noqa: ANN401  # click's
    """Fetch the results of an ended batch, as JSON lines."""
    from slackwater.cli.download import print_download, save_download  # noqa: PLC0415  # for few commands

    if (order is None) != (source is None):
        raise click.UsageError("--order and --input need each other")
    ids = _custom_ids(source) if source is not None else None
    api, route = _api(options), f"{_BATCHES}/{batch_id}/results"
    if output is None:
        print_download(api, route, ids)
    else:
        save_download(api, route, output, ids)
        message(f"results in {output}")


@batches.command()
@click.argument("batch_id", type=Id("batch"))
@json_option
@client_options
def cancel(batch_id: str, **options: Any) -> None:  # noqa: ANN401  # click's
    """Cancel a batch; what is done already stays."""
    answer = _api(options).request("POST", f"{_BATCHES}/{batch_id}/cancel")
    _show(answer.body, answer.json(), options)


@batches.command()
@click.argument("batch_id", type=Id("batch"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@client_options
def delete(batch_id: str, *, yes: bool, **options: Any) -> None:  # noqa: ANN401  # click's
    """Delete an ended batch and its results."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("deleting cannot be undone: say --yes")
        click.confirm(f"Delete {batch_id} and its results?", abort=True, err=True)
    answer = _api(options).request("DELETE", f"{_BATCHES}/{batch_id}")
    if options["as_json"] or not on_terminal():
        write_body(answer.body)
    else:
        message(f"{batch_id} is deleted")


def _api(options: dict[str, Any], version: str = API_VERSION) -> API:
    target = find_target(options["base_url"], options["key_file"], environment())
    return API(target, debug=options["debug"], version=version)


def _finish(api: API, batch_id: str, options: dict[str, Any], order: list[str] | None) -> int:
    """Wait, fetch the results where they are wanted, and show the batch."""
    from slackwater.cli.follow import ended_code, follow, summary  # noqa: PLC0415  # for waiting commands

    state = follow(api, batch_id, options["timeout"])
    answer = api.request("GET", f"{_BATCHES}/{batch_id}")
    if options["output"] is not None:
        from slackwater.cli.download import save_download  # noqa: PLC0415  # likewise

        save_download(api, f"{_BATCHES}/{batch_id}/results", options["output"], order)
        message(f"results in {options['output']}")
    if styled():  # elsewhere the last progress line has said it
        message(f"{batch_id} ended: {summary(state)}")
    _show(answer.body, answer.json(), options)
    return ended_code(state)


def _show(body: bytes, batch: dict[str, Any], options: dict[str, Any]) -> None:
    if options.get("id_only"):
        write_text(batch["id"])
    elif options["as_json"] or not on_terminal():
        write_body(body)
    else:
        rows = [(name, value) for name, value in batch.items() if not isinstance(value, dict) and value is not None]
        rows += list(batch.get("request_counts", {}).items())
        write_table(("field", "value"), rows)


def _row(batch: dict[str, Any]) -> tuple[object, ...]:
    counts = batch["request_counts"]
    done = (counts["succeeded"], counts["errored"]) if batch["ended_at"] else ("", "")
    return (batch["id"], batch["processing_status"], sum(counts.values()), *done, batch["created_at"])


def _custom_ids(source: str) -> list[str]:
    from slackwater.cli.submission import read_submission  # noqa: PLC0415  # for this option alone

    with read_submission(source) as submission:
        return submission.custom_ids


def _params_check(version: str) -> Any:  # noqa: ANN401  # submission.Check
    from slackwater.wire.params import ParamsError, check_messages  # noqa: PLC0415  # pydantic, for --dry-run alone

    def check(params: bytes) -> str | None:
        try:
            check_messages(params, version=version, batch=True)
        except ParamsError as error:
            return error.message
        return None

    return check
