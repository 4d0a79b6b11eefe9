"""Rows as domain values and back."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Row

from slackwater.domain.batch import Admission, Batch, Lease, RequestCounts, Shard, Terms
from slackwater.domain.pricing import ServiceTier
from slackwater.domain.result import Charge, ResultRange, Usage
from slackwater.store.schema import EPOCH, batches, ledger, positions_in

AnyRow = Row[*tuple[Any, ...]]

BATCH_COLUMNS: tuple[Column[Any], ...] = (
    batches.c.id,
    batches.c.workspace_id,
    batches.c.version,
    batches.c.betas,
    batches.c.user_profile_id,
    batches.c.size,
    batches.c.processing_status,
    batches.c.succeeded,
    batches.c.errored,
    batches.c.canceled,
    batches.c.expired,
    batches.c.created_at,
    batches.c.expires_at,
    batches.c.requests_key,
    batches.c.ended_at,
    batches.c.cancel_initiated_at,
    batches.c.archived_at,
)

TALLIES = ("succeeded", "errored", "canceled", "expired")


def batch(row: AnyRow) -> Batch:
    """Read BATCH_COLUMNS."""
    resolved = {name: getattr(row, name) for name in TALLIES}
    return Batch(
        id=row.id,
        workspace_id=row.workspace_id,
        terms=terms(row),
        size=row.size,
        processing_status=row.processing_status,
        tally=RequestCounts(processing=row.size - sum(resolved.values()), **resolved),
        created_at=row.created_at,
        expires_at=row.expires_at,
        requests_key=row.requests_key,
        ended_at=row.ended_at,
        cancel_initiated_at=row.cancel_initiated_at,
        archived_at=row.archived_at,
    )


def terms(row: AnyRow) -> Terms:
    """Read what governs a batch's requests."""
    return Terms(version=row.version, betas=tuple(json.loads(row.betas)), user_profile_id=row.user_profile_id)


def batch_values(admission: Admission) -> dict[str, Any]:
    """Write a batch that is being sealed."""
    new = admission.batch
    return {
        "id": new.id,
        "workspace_id": new.workspace_id,
        "key_id": admission.key_id,
        "version": new.terms.version,
        "betas": json.dumps(new.terms.betas),
        "user_profile_id": new.terms.user_profile_id,
        "size": new.size,
        "processing_status": "in_progress",
        "succeeded": 0,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
        "shards_open": len(admission.shards),
        "segments": 0,
        "created_at": new.created_at,
        "expires_at": new.expires_at,
        "requests_key": new.requests_key,
        "result_blobs": 0,
    }


def shard_values(batch_id: str, shard: Shard) -> dict[str, Any]:
    """Write a shard that nobody has leased yet."""
    return {
        "batch_id": batch_id,
        "number": shard.number,
        "model": shard.model,
        "offset": shard.offset,
        "length": shard.length,
        "size": shard.count,
        "done": b"",
        "done_count": 0,
        "state": "open",
        "epoch": 0,
        "lease_until": EPOCH,
    }


def lease(of: AnyRow, row: AnyRow) -> Lease:
    """Read a lease from its batch (BATCH_COLUMNS) and its shard."""
    return Lease(
        batch_id=of.id,
        workspace_id=of.workspace_id,
        shard=Shard(number=row.number, model=row.model, offset=row.offset, length=row.length, count=row.size),
        epoch=row.epoch,
        until=row.lease_until,
        requests_key=of.requests_key,
        terms=terms(of),
        created_at=of.created_at,
        expires_at=of.expires_at,
        canceled=of.processing_status == "canceling",
        done=positions_in(row.done),
    )


CHARGE_NAMES = tuple(column.name for column in ledger.c if column.name not in {"day", "workspace_id", "model", "tier"})


def charge_values(charge: Charge) -> dict[str, Any]:
    """Write a charge: everything but what it is booked on."""
    usage = charge.usage
    return {
        "model": charge.model,
        "requests": charge.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_5m_input_tokens": usage.cache_creation_5m_input_tokens,
        "cache_creation_1h_input_tokens": usage.cache_creation_1h_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cost_nanousd": charge.cost_nanousd,
    }


def charge(row: AnyRow) -> Charge:
    """Read a charge."""
    return Charge(
        model=row.model,
        requests=row.requests,
        usage=Usage(
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cache_creation_5m_input_tokens=row.cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens=row.cache_creation_1h_input_tokens,
            cache_read_input_tokens=row.cache_read_input_tokens,
        ),
        cost_nanousd=row.cost_nanousd,
    )


def merged(charges: Iterable[Charge]) -> list[Charge]:
    """Add up charges, one for each model, by name."""
    sums: dict[str, Charge] = {}
    for one in charges:
        known = sums.get(one.model)
        sums[one.model] = one if known is None else _sum(known, one)
    return [sums[model] for model in sorted(sums)]


def _sum(left: Charge, right: Charge) -> Charge:
    return Charge(
        model=left.model,
        requests=left.requests + right.requests,
        usage=Usage.total((left.usage, right.usage)),
        cost_nanousd=left.cost_nanousd + right.cost_nanousd,
    )


def ranges(rows: Iterable[AnyRow]) -> list[ResultRange]:
    """Read segments in their order; what lies side by side in one blob becomes one range."""
    found: list[ResultRange] = []
    for row in rows:
        last = found[-1] if found else None
        if last and last.blob_key == row.blob_key and last.offset + last.length == row.offset:
            found[-1] = ResultRange(blob_key=last.blob_key, offset=last.offset, length=last.length + row.length)
        else:
            found.append(ResultRange(blob_key=row.blob_key, offset=row.offset, length=row.length))
    return found


def tier(row: AnyRow) -> ServiceTier:
    """Read a ledger line's tier."""
    known: ServiceTier = row.tier
    return known
