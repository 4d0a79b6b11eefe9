"""All endpoints."""

from slackwater.api import batches, files, health, messages, models
from slackwater.api.auth import guarded
from slackwater.api.context import Answer, Context
from slackwater.api.openapi import document
from slackwater.api.responses import JSON, json
from slackwater.api.routes import Endpoint
from slackwater.wire.lines import RESULTS_MEDIA_TYPE

_PAGED = ("limit", "after_id", "before_id")


async def describe(_context: Context) -> Answer:
    """`GET /openapi.json`: this table as an OpenAPI document."""
    return json(document(ENDPOINTS))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/messages/batches",
        handle=guarded(batches.create),
        summary="Create a message batch",
        answers="MessageBatch",
        body=JSON,
        takes="CreateMessageBatch",
    ),
    Endpoint(
        method="GET",
        path="/v1/messages/batches",
        handle=guarded(batches.page),
        summary="List message batches, newest first",
        answers="MessageBatchList",
        query=_PAGED,
    ),
    Endpoint(
        method="GET",
        path="/v1/messages/batches/{batch_id}",
        handle=guarded(batches.retrieve),
        summary="Retrieve a message batch",
        answers="MessageBatch",
    ),
    Endpoint(
        method="DELETE",
        path="/v1/messages/batches/{batch_id}",
        handle=guarded(batches.delete),
        summary="Delete a message batch that has ended",
        answers="DeletedMessageBatch",
    ),
    Endpoint(
        method="POST",
        path="/v1/messages/batches/{batch_id}/cancel",
        handle=guarded(batches.cancel),
        summary="Cancel a message batch",
        answers="MessageBatch",
    ),
    Endpoint(
        method="GET",
        path="/v1/messages/batches/{batch_id}/results",
        handle=guarded(batches.results),
        summary="Stream the results of a message batch that has ended",
        answers=RESULTS_MEDIA_TYPE,
        ranges=True,
    ),
    Endpoint(
        method="GET",
        path="/v1/messages/batches/{batch_id}/progress",
        handle=guarded(batches.progress),
        summary="Follow a message batch live (extension); an event stream with Accept: text/event-stream",
        answers="BatchProgress",
        streams=True,
    ),
    Endpoint(
        method="POST",
        path="/v1/messages",
        handle=guarded(messages.create),
        summary="Create a message; an event stream with `stream`",
        answers="Message",
        streams=True,
        body=JSON,
        takes="MessageParams",
    ),
    Endpoint(
        method="POST",
        path="/v1/messages/count_tokens",
        handle=guarded(messages.count_tokens),
        summary="Count the input tokens of a message",
        answers="TokenCount",
        body=JSON,
        takes="CountTokensParams",
    ),
    Endpoint(
        method="POST",
        path="/v1/files",
        handle=guarded(files.upload),
        summary="Upload a file",
        answers="File",
        body="multipart/form-data",
        takes="UploadFile",
    ),
    Endpoint(
        method="GET",
        path="/v1/files",
        handle=guarded(files.page),
        summary="List files, newest first",
        answers="FileList",
        query=("ids[]", "page", *_PAGED),
    ),
    Endpoint(
        method="GET",
        path="/v1/files/{file_id}",
        handle=guarded(files.retrieve),
        summary="Retrieve a file's metadata",
        answers="File",
    ),
    Endpoint(
        method="GET",
        path="/v1/files/{file_id}/content",
        handle=guarded(files.content),
        summary="Download a file, where the configuration allows it",
        answers="*/*",
        ranges=True,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/files/{file_id}",
        handle=guarded(files.delete),
        summary="Delete a file",
        answers="DeletedFile",
    ),
    Endpoint(
        method="GET",
        path="/v1/models",
        handle=guarded(models.page),
        summary="List models",
        answers="ModelList",
        query=(*_PAGED, "lifecycle[]"),
    ),
    Endpoint(
        method="GET",
        path="/v1/models/{model_id}",
        handle=guarded(models.retrieve),
        summary="Retrieve a model",
        answers="Model",
        rest=True,
    ),
    Endpoint(
        method="GET",
        path="/health",
        handle=health.health,
        summary="Whether the server is ready",
        answers="Health",
        public=True,
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handle=health.metrics,
        summary="Metrics in the Prometheus text format",
        answers="text/plain",
        public=True,
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        handle=describe,
        summary="This document",
        answers="OpenAPI",
        public=True,
    ),
)
