"""Stored: a shard's requests as they lie in the blob of its batch, one for each position, damaged or not."""

import re
from itertools import takewhile

import msgspec
import structlog

from slackwater.domain.batch import Lease
from slackwater.ports import Blobs
from slackwater.wire.lines import StoredRequest, decode_requests

SHARED_HINT = "local blobs lie in the data directory: every process on one database needs the same one"

_ID = re.compile(rb'\{"index":\d+,"group":\d+,"custom_id":"([a-zA-Z0-9_-]{1,64})","params":')

_log = structlog.get_logger(__name__)


async def requests_of(lease: Lease, blobs: Blobs) -> list[StoredRequest] | None:
    """Return the requests of a leased shard; None, said in the log, when they cannot be read here."""
    shard = lease.shard
    try:
        data = await blobs.read(lease.requests_key, shard.offset, shard.length)
    except OSError as error:
        _log.error("cannot read the requests of a batch", batch_id=lease.batch_id, error=str(error), hint=SHARED_HINT)
        return None
    found = decode_requests(data)
    return found if len(found) == shard.count else _realigned(data, found, shard.count)


def _realigned(data: bytes, found: list[StoredRequest], count: int) -> list[StoredRequest]:
    """Find each request's place again where damage made or removed a line break (D5).

    What lies before the first damaged line and after the last one is as it was; all between them counts as damaged.
    """
    front = list(takewhile(_intact, found))
    back = list(takewhile(_intact, reversed(found[len(front) :])))[::-1]
    lines = data.removesuffix(b"\n").split(b"\n")
    names = [name.decode() for name in _ID.findall(b"\n".join(lines[len(front) : len(lines) - len(back)]))]
    between = range(len(front), count - len(back))
    if len(names) != len(between):
        names = [f"unreadable-{position}" for position in between]
    damaged = [
        StoredRequest(index=position, group=0, custom_id=name, params=msgspec.Raw(b"{}"), damaged=True)
        for position, name in zip(between, names, strict=True)
    ]
    return [*front, *damaged, *back][:count]


def _intact(request: StoredRequest) -> bool:
    return not request.damaged
