"""The table of endpoints as an OpenAPI 3.1 document."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from slackwater.api.failures import JSON
from slackwater.api.routes import Endpoint
from slackwater.domain.file import EXPIRES_IN_SECONDS_MAX, EXPIRES_IN_SECONDS_MIN
from slackwater.wire.errors import ErrorEnvelope
from slackwater.wire.objects import (
    BatchProgress,
    DeletedFile,
    DeletedMessageBatch,
    FileList,
    FileMetadata,
    ListPage,
    MessageBatch,
    Model,
    TokenCount,
)

_OBJECTS = {
    "MessageBatch": MessageBatch,
    "MessageBatchList": ListPage[MessageBatch],
    "DeletedMessageBatch": DeletedMessageBatch,
    "BatchProgress": BatchProgress,
    "File": FileMetadata,
    "FileList": FileList,
    "DeletedFile": DeletedFile,
    "Model": Model,
    "ModelList": ListPage[Model],
    "TokenCount": TokenCount,
    "ErrorEnvelope": ErrorEnvelope,
}
_REFERENCE = "#/components/schemas/{name}"
_FORM = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "expires_in_seconds": {"type": "integer", "minimum": EXPIRES_IN_SECONDS_MIN, "maximum": EXPIRES_IN_SECONDS_MAX},
    },
    "required": ["file"],
}
_PARAMETER = re.compile(r"\{([a-z_]+)\}")


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Build the document."""
    references, schemas = msgspec.json.schema_components(list(_OBJECTS.values()), ref_template=_REFERENCE)
    named = dict(zip(_OBJECTS, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Slackwater",
            "version": "1",
            "description": "Message Batches, Files, Messages and Models, as the official SDKs speak them.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(endpoint: Endpoint, named: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}{re.sub(r'[^a-z]+', '_', endpoint.path)}".rstrip("_"),
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": {
            "200": {"description": "OK", "content": _content(endpoint, named)},
            "default": {
                "description": "An error",
                "content": {"application/json": {"schema": named["ErrorEnvelope"]}},
            },
        },
        "security": [] if endpoint.public else [{"key": []}, {"bearer": []}],
    }
    if endpoint.body is not None:
        schema = {"type": "object"} if endpoint.body == JSON else _FORM
        operation["requestBody"] = {"required": True, "content": {endpoint.body: {"schema": schema}}}
    return operation


def _content(endpoint: Endpoint, named: dict[str, Any]) -> dict[str, Any]:
    if "/" in endpoint.answers:
        return {endpoint.answers: {}}
    return {"application/json": {"schema": named.get(endpoint.answers, {"type": "object"})}}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": {"type": "integer" if name == "limit" else "string"}}
        for name in endpoint.query
    ]
    if not endpoint.public:
        parameters.append({"name": "anthropic-version", "in": "header", "required": True, "schema": {"type": "string"}})
    return parameters
