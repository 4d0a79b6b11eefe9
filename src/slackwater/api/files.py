"""`/v1/files`: upload, list, metadata, content, delete (contract §6).

One shape answers both kinds of clients: every object has the keys of the present API and those of the beta
`files-api-2025-04-14`, and a list takes the cursors of either. Only old clients send the header, some newer ones send
`?beta=true` without it and want the present shape, and each ignores the keys that it does not know (contract §6.0).
"""

import base64
import binascii
import re
from urllib.parse import quote

from slackwater.api.context import Answer, Context
from slackwater.api.download import download
from slackwater.api.multipart import ENVELOPE_BYTES_MAX, Form
from slackwater.api.query import cursor, integer
from slackwater.api.responses import json
from slackwater.api.spool import spooled
from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.file import File
from slackwater.flow.interactive import Caller
from slackwater.wire.objects import DeletedFile, FileMetadata, file_list, file_metadata

IDS_MAX = 100  # contract §6.2
PINNED_BY_MAX = 20
"""Batches named in a header of a delete: a header has no room for all there may be."""
SHOWN_AS_THEY_ARE = frozenset(
    {
        "application/json",
        "application/pdf",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/csv",
        "text/markdown",
        "text/plain",
    }
)
"""Media types that a download may have: none that a browser would run in our name."""
_EXPIRES_IN = "expires_in_seconds"
_CURSOR = "page_"
_FILE_ID = re.compile(r"file_01[1-9A-HJ-NP-Za-km-z]{22}")


async def upload(context: Context, caller: Caller) -> Answer:
    """`POST /v1/files`: 200 once the bytes and their metadata are durable (D1)."""
    largest = context.services.limits.file_bytes_max
    content_type = context.headers.get("content-type", "")
    form = Form(content_type, file_bytes_max=largest, fields=frozenset({_EXPIRES_IN}))
    async with spooled(context, largest + ENVELOPE_BYTES_MAX, through=form.feed) as spool:
        received = form.finish()
        expires_in = received.fields.get(_EXPIRES_IN)
        file = await context.services.files.upload(
            spool.path,
            workspace_id=caller.workspace_id,
            filename=received.filename,
            mime_type=received.media_type,
            digest=spool.digest,
            length=spool.length,
            expires_in_seconds=None if expires_in is None else integer(_EXPIRES_IN, expires_in),
        )
    return json(_metadata(context, file))


async def page(context: Context, caller: Caller) -> Answer:
    """`GET /v1/files`: by `page`, by `after_id` or `before_id`, or those of `ids[]`."""
    files, wanted = context.services.files, _ids(context)
    if wanted is not None:
        some = await files.by_ids(caller.workspace_id, wanted)
        return json(file_list([_metadata(context, file) for file in some], has_more=False, next_page=None))
    asked, after = cursor(context), _after(context)
    if after is not None and (asked.after_id or asked.before_id):
        raise InvalidRequestError("page: Only one of `page`, `after_id` and `before_id` may be given")
    if context.http.query_params.get("scope_id"):  # of a session on the official service; no file of ours has one
        return json(file_list([], has_more=False, next_page=None))
    found = await files.page(
        caller.workspace_id, limit=asked.limit, after=after or asked.after_id, before=asked.before_id
    )
    more = found.has_more and asked.before_id is None
    next_page = _cursor_after(found.items[-1].id) if more else None
    return json(
        file_list([_metadata(context, file) for file in found.items], has_more=found.has_more, next_page=next_page)
    )


async def retrieve(context: Context, caller: Caller) -> Answer:
    """`GET /v1/files/{file_id}`; of an expired file for another 30 days."""
    file = await context.services.files.retrieve(caller.workspace_id, context.parameters["file_id"])
    return json(_metadata(context, file))


async def content(context: Context, caller: Caller) -> Answer:
    """`GET /v1/files/{file_id}/content`, resumable by `Range`; nothing in it runs in a browser."""
    found = await context.services.files.content(caller.workspace_id, context.parameters["file_id"])
    media_type = found.file.mime_type
    headers = {
        "content-type": media_type if media_type in SHOWN_AS_THEY_ARE else "application/octet-stream",
        "content-disposition": _attachment(found.file.filename),
        "content-security-policy": "sandbox; default-src 'none'",
    }
    return download(context, found, headers)


async def delete(context: Context, caller: Caller) -> Answer:
    """`DELETE /v1/files/{file_id}`; unfinished batches that may still read the bytes are named in a header (I3)."""
    file_id, pinned_by = await context.services.files.delete(caller.workspace_id, context.parameters["file_id"])
    headers = {"slackwater-pinned-by": ", ".join(pinned_by[:PINNED_BY_MAX])} if pinned_by else {}
    return json(DeletedFile(id=file_id), headers=headers)


def _metadata(context: Context, file: File) -> FileMetadata:
    return file_metadata(file, downloadable=context.services.files.downloadable)


def _ids(context: Context) -> list[str] | None:
    """Read `ids[]`, or `ids`; None without. Raises InvalidRequestError."""
    query = context.http.query_params
    given = dict.fromkeys(query.getlist("ids[]") + query.getlist("ids"))
    if not given:
        return None
    for other in ("page", "limit", "after_id", "before_id"):
        if query.get(other):
            raise InvalidRequestError(f"ids: `ids` and `{other}` cannot be given together")
    if len(given) > IDS_MAX:
        message = f"ids: List should have at most {IDS_MAX} items after validation, not {len(given)}"
        raise InvalidRequestError(message)
    return [one for one in given if _FILE_ID.fullmatch(one)]  # what is no id of ours is missing like any unknown one


def _after(context: Context) -> str | None:
    """Read `page`: the id of the last file on the page before. Raises InvalidRequestError."""
    given = context.http.query_params.get("page")
    if not given:
        return None
    try:
        after = base64.urlsafe_b64decode(given.removeprefix(_CURSOR)).decode()
    except (binascii.Error, ValueError):
        after = ""
    if not _FILE_ID.fullmatch(after) or given != _cursor_after(after):
        raise InvalidRequestError("page: Input should be the `next_page` of an earlier page")
    return after


def _cursor_after(file_id: str) -> str:
    return _CURSOR + base64.urlsafe_b64encode(file_id.encode()).decode()


def _attachment(filename: str) -> str:
    """Write `content-disposition` so that old and new browsers read the name (RFC 6266 §5, appendix D)."""
    plain = re.sub(r"[^ -~]|[\"\\%]", "_", filename)
    extended = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'attachment; filename="{plain}"{extended}'
