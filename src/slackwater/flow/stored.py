"""Stored: a shard's requests as they lie in the blob of its batch, one for each position, damaged or not."""

import msgspec
import structlog

from slackwater.domain.batch import Lease
from slackwater.ports import Blobs
from slackwater.wire.realign import realigned
from slackwater.wire.stored import StoredRequest, decode_requests

REQUEST_COST, TOKENS_PER_BYTE = 16.0, 0.25
"""What a request is charged: something each, and a usual estimate of its input, good enough to share by."""
SHARED_HINT = "local blobs lie in the data directory: every process on one database needs the same one"

ShardKey = tuple[str, int]

_log = structlog.get_logger(__name__)


class Entry(msgspec.Struct, eq=False):
    """A request of a held shard, waiting to be sent."""

    position: int
    """0-based position in the shard."""
    request: StoredRequest
    shard: ShardKey
    backend: str

    @property
    def cost(self) -> float:
        """What sending it charges its batch and workspace."""
        return REQUEST_COST + TOKENS_PER_BYTE * len(memoryview(self.request.params))


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
