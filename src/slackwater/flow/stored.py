"""Stored: a shard's requests as they lie in the blob of its batch, one for each position, damaged or not."""

import structlog

from slackwater.domain.batch import Lease
from slackwater.ports import Blobs
from slackwater.wire.lines import StoredRequest, decode_requests
from slackwater.wire.realign import realigned

SHARED_HINT = "local blobs lie in the data directory: every process on one database needs the same one"

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
    return found if len(found) == shard.count else realigned(data, found, shard.count)
