"""Batches, leases, flushes and files for tests of the store, made of as few words as possible."""

import hashlib
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from slackwater.domain.batch import Admission, Batch, Lease, RequestCounts, Shard, Terms
from slackwater.domain.file import File
from slackwater.domain.ids import FILE, IdSource
from slackwater.domain.result import Charge, CommitReport, Flush, ResultType, Segment, Usage
from slackwater.store import Store
from slackwater.store.schema import metadata

NOW = datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
MINE = "wrkspc_mine"
THEIRS = "wrkspc_theirs"

_numbers = itertools.count(1)
_ids = IdSource(lambda: int(NOW.timestamp() * 1000))


def admission(
    shards: Sequence[int] = (2,),
    *,
    batch_id: str | None = None,
    workspace_id: str = MINE,
    models: Sequence[str] = ("m",),
    created_at: datetime = NOW,
    digest: bytes | None = None,
    key_id: str = "apikey_1",
    **more: Any,
) -> Admission:
    """Plan a batch: `shards` are the numbers of requests, `models` are dealt to them in turn."""
    number = next(_numbers)
    batch_id = batch_id or f"msgbatch_{number:06}"
    size = sum(shards)
    batch = Batch(
        id=batch_id,
        workspace_id=workspace_id,
        terms=Terms(version="2026-10-21", betas=("a", "b"), user_profile_id="user_1"),
        size=size,
        processing_status="in_progress",
        tally=RequestCounts(processing=size),
        created_at=created_at,
        expires_at=created_at + DAY,
        requests_key=f"requests/{batch_id}",
    )
    planned = tuple(
        Shard(number=i, model=models[i % len(models)], offset=1000 * i, length=900, count=count)
        for i, count in enumerate(shards)
    )
    return Admission(batch=batch, shards=planned, key_id=key_id, digest=digest or f"digest {number}".encode(), **more)


async def sealed(store: Store, shards: Sequence[int] = (2,), **more: Any) -> Batch:
    """Seal a batch."""
    return (await store.seal(admission(shards, **more))).batch


async def leased(
    store: Store,
    batch: Batch,
    *,
    model: str = "m",
    worker_id: str = "worker_1",
    now: datetime = NOW,
    limit: int = 1000,
) -> list[Lease]:
    """Lease a batch's free shards for half a minute."""
    return await store.lease(batch.id, model, worker_id=worker_id, now=now, until=now + LEASE, limit=limit)


def charge(model: str = "m", requests: int = 1) -> Charge:
    """Return what some requests used; every number differs from the others."""
    usage = Usage(
        input_tokens=10 * requests,
        output_tokens=20 * requests,
        cache_creation_5m_input_tokens=3 * requests,
        cache_creation_1h_input_tokens=4 * requests,
        cache_read_input_tokens=5 * requests,
    )
    return Charge(model=model, requests=requests, usage=usage, cost_nanousd=7 * requests)


def segment(
    lease: Lease,
    positions: Sequence[int] | None = None,
    *,
    kind: ResultType = "succeeded",
    blob_key: str | None = None,
    offset: int = 0,
) -> Segment:
    """Make lines for positions (all that are left) under a lease, ten bytes each."""
    chosen = tuple(sorted(set(range(lease.shard.count)) - lease.done) if positions is None else positions)
    return Segment(
        batch_id=lease.batch_id,
        shard_number=lease.shard.number,
        epoch=lease.epoch,
        blob_key=blob_key or f"results/{lease.batch_id}/{next(_numbers)}",
        offset=offset,
        length=10 * len(chosen),
        positions=chosen,
        types=(kind,) * len(chosen),
        charges=(charge(lease.shard.model, len(chosen)),) if kind == "succeeded" else (),
    )


def flush(*segments: Segment, token: str | None = None) -> Flush:
    """Gather segments."""
    return Flush(token=token or f"flush {next(_numbers)}", segments=segments)


async def committed(store: Store, *segments: Segment, now: datetime = NOW) -> CommitReport:
    """Commit segments."""
    return await store.commit(flush(*segments), now)


async def ended(store: Store, shards: Sequence[int] = (2,), **more: Any) -> Batch:
    """Seal a batch and answer all of it, each shard in a flush of its own."""
    now = more.get("created_at", NOW)
    batch = await sealed(store, shards, **more)
    for model in more.get("models", ("m",)):
        for lease in await leased(store, batch, model=model, now=now):
            await committed(store, segment(lease), now=now)
    found = await store.find(batch.workspace_id, batch.id)
    assert found is not None
    assert found.processing_status == "ended"
    return found


def file(data: bytes = b"some bytes", *, workspace_id: str = MINE, **more: Any) -> File:
    """Describe a file with a blob of its own."""
    file_id = _ids.new(FILE)
    facts: dict[str, Any] = {
        "filename": "contract.pdf",
        "mime_type": "application/pdf",
        "created_at": NOW,
        "blob_key": f"files/{file_id}",
        **more,
    }
    digest = hashlib.sha256(data).digest()
    return File(id=file_id, workspace_id=workspace_id, size_bytes=len(data), digest=digest, **facts)


async def empty(store: Store) -> None:
    """Delete every row."""
    statements = [f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)]  # noqa: S608  # our own names
    if not hasattr(store.database, "writer"):  # one trip to the server
        statements = [f"DO $$ BEGIN {'; '.join(statements)}; END $$"]
    await store.database.write(
        lambda connection: [connection.exec_driver_sql(statement).close() for statement in statements]
    )
