"""The objects the API answers with, their keys in the order in which the real API writes them (contract §4.0).

Every nullable key is always written. Instants end in `Z` and have six digits.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Generic, Literal, TypeVar

import msgspec

from slackwater.domain.batch import Batch, ProcessingStatus, RequestCounts
from slackwater.domain.file import File
from slackwater.domain.result import Charge, Usage

_ENCODER = msgspec.json.Encoder()
_NANO = Decimal(10) ** 9


class MessageBatch(msgspec.Struct, kw_only=True, frozen=True):
    """A batch as its owner sees it (contract §4.0)."""

    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: ProcessingStatus
    request_counts: RequestCounts
    """All in `processing` until the whole batch has ended; always sums to the batch size (S2)."""
    ended_at: str | None
    created_at: str
    expires_at: str
    archived_at: str | None
    cancel_initiated_at: str | None
    results_url: str | None
    """Absolute; null until ended and again after archiving (S6)."""


class DeletedMessageBatch(msgspec.Struct, kw_only=True, frozen=True):
    """What a delete answers (contract §4.5)."""

    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


class FileMetadata(msgspec.Struct, kw_only=True, frozen=True):
    """A file as its owner sees it (contract §6): the keys of both shapes, `expires_at` is unknown to the older one."""

    id: str
    type: Literal["file"] = "file"
    filename: str
    mime_type: str
    size_bytes: int
    created_at: str
    downloadable: bool
    """Whether its content can be fetched; false for uploads unless the server is configured otherwise."""
    expires_at: str | None


class FileList(msgspec.Struct, kw_only=True, frozen=True):
    """A page of files, newest first, with the keys of both shapes (contract §6.0)."""

    data: tuple[FileMetadata, ...]
    has_more: bool
    """Whether more follows in the direction walked."""
    first_id: str | None
    last_id: str | None
    next_page: str | None
    """Where the next older page begins; null on the last one, and for lists of given ids (contract §6.2)."""


class DeletedFile(msgspec.Struct, kw_only=True, frozen=True):
    """What a delete answers (contract §6.5)."""

    id: str
    type: Literal["file_deleted"] = "file_deleted"


class CapabilitySupport(msgspec.Struct, kw_only=True, frozen=True):
    """Whether a model has a capability."""

    supported: bool


class ModelCapabilities(msgspec.Struct, kw_only=True, frozen=True):
    """What we can say about a model behind a backend of any kind."""

    batch: CapabilitySupport
    image_input: CapabilitySupport


class Model(msgspec.Struct, kw_only=True, frozen=True):
    """A model that clients may name (contract §7.3)."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    line: str | None = None
    deprecated_at: str | None = None
    retires_at: str | None = None
    max_input_tokens: int | None
    """Tokens; null where the configuration does not say."""
    max_tokens: int | None
    """Largest `max_tokens` accepted; null where it is not limited by us."""
    capabilities: ModelCapabilities


class ProgressUsage(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens of the succeeded requests so far; `input_tokens` excludes cached ones (contract §7)."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class ModelProgress(msgspec.Struct, kw_only=True, frozen=True):
    """What one model's succeeded requests used and cost so far."""

    model: str
    requests: int
    usage: ProgressUsage
    cost_usd: str
    """Exact decimal US dollars, as text because a float would round."""


class BatchProgress(msgspec.Struct, kw_only=True, frozen=True):
    """The live view of a batch, our extension: the official object must not move before the end (contract §4.0)."""

    id: str
    type: Literal["message_batch_progress"] = "message_batch_progress"
    processing_status: ProcessingStatus
    size: int
    """Requests in the batch, 1…100,000."""
    progress: RequestCounts
    """Live numbers; `processing` is what has no committed result yet. Sums to `size`."""
    usage: ProgressUsage
    cost_usd: str
    models: tuple[ModelProgress, ...]
    created_at: str
    expires_at: str
    ended_at: str | None


class TokenCount(msgspec.Struct, kw_only=True, frozen=True):
    """What `count_tokens` answers (contract §7.2)."""

    input_tokens: int


T = TypeVar("T")


class ListPage(msgspec.Struct, Generic[T], kw_only=True, frozen=True):
    """A page of cursor family A (contract §3), newest first whatever the direction walked."""

    data: tuple[T, ...]
    has_more: bool
    """Whether more follows in the direction walked."""
    first_id: str | None
    last_id: str | None


@lru_cache(maxsize=4096)
def instant(moment: datetime) -> str:
    """Write an aware instant as `2026-11-22T09:00:00.123456Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def message_batch(batch: Batch, base_url: str) -> MessageBatch:
    """Build the wire object; `base_url` has no trailing slash and is one the client may send its key to (E9)."""
    readable = batch.ended_at is not None and batch.archived_at is None
    return MessageBatch(
        id=batch.id,
        processing_status=batch.processing_status,
        request_counts=batch.counts,
        ended_at=_instant_or_none(batch.ended_at),
        created_at=instant(batch.created_at),
        expires_at=instant(batch.expires_at),
        archived_at=_instant_or_none(batch.archived_at),
        cancel_initiated_at=_instant_or_none(batch.cancel_initiated_at),
        results_url=f"{base_url}/v1/messages/batches/{batch.id}/results" if readable else None,
    )


def batch_progress(batch: Batch, charges: Sequence[Charge]) -> BatchProgress:
    """Build the live view."""
    return BatchProgress(
        id=batch.id,
        processing_status=batch.processing_status,
        size=batch.size,
        progress=batch.tally,
        usage=_usage(Usage.total(charge.usage for charge in charges)),
        cost_usd=dollars(sum(charge.cost_nanousd for charge in charges)),
        models=tuple(
            ModelProgress(
                model=charge.model,
                requests=charge.requests,
                usage=_usage(charge.usage),
                cost_usd=dollars(charge.cost_nanousd),
            )
            for charge in charges
        ),
        created_at=instant(batch.created_at),
        expires_at=instant(batch.expires_at),
        ended_at=_instant_or_none(batch.ended_at),
    )


def batch_list(batches: Sequence[Batch], base_url: str, *, has_more: bool) -> ListPage[MessageBatch]:
    """Build a page of batches."""
    return list_page([message_batch(batch, base_url) for batch in batches], has_more=has_more)


M = TypeVar("M", MessageBatch, Model)


def list_page(items: Sequence[M], *, has_more: bool) -> ListPage[M]:
    """Build a page; an empty one has null ids (contract §3)."""
    return ListPage(
        data=tuple(items),
        has_more=has_more,
        first_id=items[0].id if items else None,
        last_id=items[-1].id if items else None,
    )


def file_metadata(file: File, *, downloadable: bool) -> FileMetadata:
    """Build the wire object."""
    return FileMetadata(
        id=file.id,
        filename=file.filename,
        mime_type=file.mime_type,
        size_bytes=file.size_bytes,
        created_at=instant(file.created_at),
        downloadable=downloadable,
        expires_at=_instant_or_none(file.expires_at),
    )


def file_list(files: Sequence[FileMetadata], *, has_more: bool, next_page: str | None) -> FileList:
    """Build a page of files."""
    return FileList(
        data=tuple(files),
        has_more=has_more,
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
        next_page=next_page,
    )


def dollars(nanousd: int) -> str:
    """Write billionths of a dollar as an exact decimal without an exponent or trailing zeros."""
    text = f"{Decimal(nanousd) / _NANO:.9f}"
    return text.rstrip("0").removesuffix(".")


def encode(value: object) -> bytes:
    """Write any of these objects, or plain JSON values, as JSON."""
    return _ENCODER.encode(value)


def _instant_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else instant(moment)


def _usage(usage: Usage) -> ProgressUsage:
    return ProgressUsage(
        input_tokens=usage.input_tokens,
        cache_creation_input_tokens=usage.cache_creation_5m_input_tokens + usage.cache_creation_1h_input_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
        output_tokens=usage.output_tokens,
    )
