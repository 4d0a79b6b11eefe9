"""`slackwater files`: upload once, refer to it from many requests."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from slackwater.cli.connection import API, find_target
from slackwater.cli.options import Duration, Id, OutputFile, client_options, environment, json_option
from slackwater.cli.output import message, on_terminal, write_body, write_table, write_text

_FILES = "/v1/files"
_COLUMNS = ("id", "filename", "bytes", "type", "created", "expires")
FILE_ID = click.argument("file_id", type=Id("file"))


@click.group(no_args_is_help=False)
def files() -> None:
    """Upload files and look after them."""


@files.command()
@click.argument("sources", metavar="PATH...", nargs=-1, required=True)
@click.option("--expires-in", type=Duration(), help="How long to keep it, 1h to 90d, such as 7d [default: for good].")
@click.option("--mime-type", help="Media type of the file [default: found out by the server].")
@click.option("--filename", help="Name to store it under [default: its own; stdin has none].")
@click.option("--id-only", "-q", is_flag=True, help="Print the file's id only.")
@json_option
@client_options
def upload(sources: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401  # click's values, named below
    """Upload files (- for stdin); each is shown as soon as it is stored."""
    from slackwater.cli.upload import STDIN, check_sources  # noqa: PLC0415  # for this command alone

    if options["filename"] is not None and len(sources) > 1:
        raise click.UsageError("--filename is for one file")
    if sources.count(STDIN) > 1:
        raise click.UsageError("stdin can be read once")
    check_sources(sources)
    api = _api(options)
    table = []
    try:
        for source in sources:
            answer = _send(api, source, options)
            if options["id_only"]:
                write_text(answer.json()["id"])
            elif options["as_json"] or not on_terminal():
                write_body(answer.body)
            else:
                table.append(_row(answer.json()))
    finally:
        if table:  # of those that were stored, also when a later one was not
            write_table(_COLUMNS, table)


@files.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Files on a page.")
@click.option("--page", help="Continue with this page: `next_page` of the one before.")
@json_option
@client_options
def list_(*, limit: int, page: str | None, **options: Any) -> None:  # noqa: ANN401  # click's
    """List files, newest first."""
    params: dict[str, str | int] = {"limit": limit, **({"page": page} if page else {})}
    answer = _api(options).request("GET", _FILES, params=params)
    found = answer.json()
    if options["as_json"] or not on_terminal():
        write_body(answer.body)
        return
    write_table(_COLUMNS, [_row(one) for one in found["data"]])
    if found["next_page"]:
        message(f"more: slackwater files list --limit {limit} --page {found['next_page']}")


@files.command()
@FILE_ID
@json_option
@client_options
def retrieve(file_id: str, **options: Any) -> None:  # noqa: ANN401  # click's
    """Show what is known about a file."""
    answer = _api(options).request("GET", f"{_FILES}/{file_id}")
    if options["as_json"] or not on_terminal():
        write_body(answer.body)
    else:
        write_table(("field", "value"), [item for item in answer.json().items() if item[1] is not None])


@files.command()
@FILE_ID
@click.option(
    "-o", "--output", type=OutputFile("slackwater files download ID"), help="File for the bytes; whole or not there."
)
@client_options
def download(file_id: str, *, output: Path | None, **options: Any) -> None:  # noqa: ANN401  # click's
    """Fetch a file's bytes, where the server hands out uploads (`files.downloadable`)."""
    from slackwater.cli.download import print_download, save_download  # noqa: PLC0415  # for few commands

    if output is None and on_terminal():
        raise click.UsageError("a file's bytes do not belong on a terminal: name a file with -o")
    api, route = _api(options), f"{_FILES}/{file_id}/content"
    if output is None:
        print_download(api, route)
    else:
        save_download(api, route, output)
        message(f"saved as {output}")


@files.command()
@FILE_ID
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@client_options
def delete(file_id: str, *, yes: bool, **options: Any) -> None:  # noqa: ANN401  # click's
    """Delete a file; batches that use it and have not ended may finish with it."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("deleting cannot be undone: say --yes")
        click.confirm(f"Delete {file_id}?", abort=True, err=True)
    answer = _api(options).request("DELETE", f"{_FILES}/{file_id}")
    if pinned_by := answer.headers.get("slackwater-pinned-by"):
        message(f"its bytes are kept until these batches have ended: {pinned_by}")
    if options["as_json"] or not on_terminal():
        write_body(answer.body)
    else:
        message(f"{file_id} is deleted")


def _api(options: dict[str, Any]) -> API:
    target = find_target(options["base_url"], options["key_file"], environment())
    return API(target, debug=options["debug"])


def _send(api: API, source: str, options: dict[str, Any]) -> Any:  # noqa: ANN401  # connection.Answer
    from slackwater.cli.upload import STDIN, Upload, opened, progress  # noqa: PLC0415  # for one command alone

    expires_in = options["expires_in"]
    with opened(source) as (file, size_bytes):
        one = Upload(
            file=file,
            size_bytes=size_bytes,
            filename=options["filename"] or (None if source == STDIN else Path(source).name),
            mime_type=options["mime_type"],
            expires_in_seconds=None if expires_in is None else round(expires_in),
        )
        with progress(one, api.target.base_url) as on_sent:
            return api.request(
                "POST", _FILES, headers=one.headers, content=lambda: one.pieces(on_sent), repeatable=False
            )


def _row(file: dict[str, Any]) -> tuple[object, ...]:
    size = f"{file['size_bytes']:,}"
    return (file["id"], file["filename"], size, file["mime_type"], file["created_at"], file.get("expires_at"))
