"""Close: write the lines of requests that were never sent because their batch was canceled or ran out of time.

Cancel and expiry only set a state. Workers stop sending and give their shards back; what has no result then gets one
here, through the same recorder and the same fence, whether a worker is alive or not (C3, T2).
"""

from datetime import timedelta

from slackwater.domain.batch import Lease
from slackwater.domain.result import ResultLine, ResultType
from slackwater.flow.record import Recorder
from slackwater.flow.stored import requests_of
from slackwater.ports import Blobs, Clock, WorkStore
from slackwater.wire.lines import canceled_line, expired_line

SHARDS_PER_ROUND = 16


class Closer:
    """Gives what is left of stopped batches its lines."""

    def __init__(
        self,
        *,
        store: WorkStore,
        blobs: Blobs,
        clock: Clock,
        recorder: Recorder,
        worker_id: str,
        lease_seconds: float,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._recorder = recorder
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds

    async def close_some(self) -> int:
        """Close the shards of stopped batches that nobody holds; return how many. Raises StoreUnavailableError."""
        now = self._clock.now()
        leases = await self._store.lease_closing(
            worker_id=self._worker_id,
            now=now,
            until=now + timedelta(seconds=self._lease_seconds),
            limit=SHARDS_PER_ROUND,
        )
        for lease in leases:
            await self._close(lease)
        if leases:
            await self._recorder.flush()
        return len(leases)

    async def _close(self, lease: Lease) -> None:
        """Write a shard's lines; one that cannot be read is tried again when its lease has lapsed."""
        requests = await requests_of(lease, self._blobs)
        if requests is None:
            return
        done = self._recorder.open(lease)
        for position, request in enumerate(requests):
            if position in done:
                continue
            line = canceled_line(request.custom_id) if lease.canceled else expired_line(request.custom_id)
            kind: ResultType = "canceled" if lease.canceled else "expired"
            self._recorder.add(lease, ResultLine(position=position, type=kind, line=line, model=lease.shard.model))
