"""The table of endpoints as an OpenAPI 3.1 document: every route, what it takes, every answer it can give."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from slackwater.api.auth import VERSIONS
from slackwater.api.query import CURSOR_LENGTH_MAX
from slackwater.api.responses import JSON
from slackwater.api.routes import Endpoint
from slackwater.domain.errors import BY_TYPE
from slackwater.domain.file import EXPIRES_IN_SECONDS_MAX, EXPIRES_IN_SECONDS_MIN
from slackwater.domain.limits import BATCH_REQUESTS_MAX, CUSTOM_ID_PATTERN, PAGE_LIMIT_MAX
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

Schema = dict[str, Any]

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
_TEXT: Schema = {"type": "string"}
_MESSAGE_PROPERTIES: Schema = {
    "model": {"type": "string", "minLength": 1, "maxLength": 256},
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "role": {"enum": ["user", "assistant", "system"]},
                "content": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object", "required": ["type"]}}]},
            },
            "required": ["role", "content"],
        },
    },
}
_WRITTEN: dict[str, Schema] = {
    "MessageParams": {
        "description": "The body of the Messages API; what is not listed here is described there.",
        "type": "object",
        "properties": {
            **_MESSAGE_PROPERTIES,
            "max_tokens": {"type": "integer", "minimum": 0},
            "stream": {"type": "boolean"},
        },
        "required": ["model", "max_tokens", "messages"],
    },
    "CountTokensParams": {"type": "object", "properties": _MESSAGE_PROPERTIES, "required": ["model", "messages"]},
    "CreateMessageBatch": {
        "type": "object",
        "properties": {
            "requests": {
                "type": "array",
                "minItems": 1,
                "maxItems": BATCH_REQUESTS_MAX,
                "items": {
                    "type": "object",
                    "properties": {
                        "custom_id": {"type": "string", "pattern": f"^{CUSTOM_ID_PATTERN}$"},
                        "params": {"type": "object", "description": "MessageParams, judged when it is processed."},
                    },
                    "required": ["custom_id", "params"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["requests"],
        "additionalProperties": False,
    },
    "UploadFile": {
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "expires_in_seconds": {
                "type": "integer",
                "minimum": EXPIRES_IN_SECONDS_MIN,
                "maximum": EXPIRES_IN_SECONDS_MAX,
            },
        },
        "required": ["file"],
    },
    "Message": {
        "type": "object",
        "properties": {
            "id": _TEXT,
            "type": {"enum": ["message"]},
            "role": {"enum": ["assistant"]},
            "model": _TEXT,
            "content": {"type": "array", "items": {"type": "object", "required": ["type"]}},
            "stop_reason": {"type": ["string", "null"]},
            "stop_sequence": {"type": ["string", "null"]},
            "usage": {"type": "object", "required": ["input_tokens", "output_tokens"]},
        },
        "required": ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"],
    },
    "Health": {
        "type": "object",
        "properties": {
            "status": {"enum": ["ok", "starting", "stopping"]},
            "storage": {"enum": ["ok", "low", "full"]},
        },
        "required": ["status", "storage"],
    },
    "OpenAPI": {"type": "object", "required": ["openapi", "info", "paths"]},
}
_QUERY: dict[str, Schema] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX},
    "after_id": {"type": "string", "maxLength": CURSOR_LENGTH_MAX},
    "before_id": {"type": "string", "maxLength": CURSOR_LENGTH_MAX},
    "page": {"type": "string", "description": "`next_page` of an earlier page"},
    "ids[]": {"type": "array", "items": _TEXT, "maxItems": 100},
    "lifecycle[]": {"type": "array", "items": {"enum": ["active", "deprecated", "retired"]}},
}
_ERROR_HEADERS: Schema = {
    "request-id": {"required": True, "schema": _TEXT},
    "retry-after": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    "x-should-retry": {"description": "Whether a retry can help.", "schema": {"enum": ["true", "false"]}},
}
_ERRORS = {
    **{error.status: (error.type, (error.__doc__ or "").partition("\n")[0]) for error in BY_TYPE.values()},
    408: ("invalid_request_error", "The head or the body came too slowly"),
    414: ("invalid_request_error", "The request target is too long"),
    416: ("invalid_request_error", "Requested range not satisfiable"),
    431: ("invalid_request_error", "The head of the request, or what frames its body, is too large"),
}
_PARAMETER = re.compile(r"\{([a-z_]+)\}")


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Build the document."""
    references, schemas = msgspec.json.schema_components(list(_OBJECTS.values()), ref_template=_REFERENCE)
    named = dict(zip(_OBJECTS, references, strict=True))
    named |= {name: {"$ref": _REFERENCE.format(name=name)} for name in _WRITTEN}
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
            "schemas": {name: _as_written(schema) for name, schema in schemas.items()} | _WRITTEN,
            "responses": {f"Error{status}": _error(status, named["ErrorEnvelope"]) for status in _ERRORS},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _as_written(schema: Schema) -> Schema:
    """Say what the encoder does: every key is written, but for an error's details; instants are RFC 3339."""
    properties = {
        name: _instant(one) if name.endswith("_at") else one for name, one in schema.get("properties", {}).items()
    }
    if not properties:
        return schema
    return {**schema, "properties": properties, "required": [name for name in properties if name != "details"]}


def _instant(schema: Schema) -> Schema:
    moment = {**_TEXT, "format": "date-time"}
    return {"anyOf": [moment if one == _TEXT else one for one in schema["anyOf"]]} if "anyOf" in schema else moment


def _error(status: int, envelope: Schema) -> dict[str, Any]:
    kind, description = _ERRORS[status]
    schema = {
        "allOf": [envelope, {"properties": {"error": {"properties": {"type": {"const": kind}}}}}],
    }
    return {"description": description, "headers": _ERROR_HEADERS, "content": {JSON: {"schema": schema}}}


def _operation(endpoint: Endpoint, named: dict[str, Schema]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}{re.sub(r'[^a-z]+', '_', endpoint.path)}".rstrip("_"),
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, named),
        "security": [] if endpoint.public else [{"key": []}, {"bearer": []}],
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {endpoint.body: {"schema": named[endpoint.takes] if endpoint.takes else {"type": "object"}}},
        }
    return operation


def _responses(endpoint: Endpoint, named: dict[str, Schema]) -> dict[str, Any]:
    content = {media_type: {"schema": named[name]} if name else {} for media_type, name in endpoint.media_types()}
    headers = {"request-id": {"required": True, "schema": _TEXT}}
    answer = {"description": "OK", "headers": headers, "content": content}
    responses: dict[str, Any] = {"200": answer}
    if endpoint.ranges:
        responses["206"] = {**answer, "description": "The range that was asked for"}
    if endpoint.answers == "Health":
        responses["503"] = {**answer, "description": "Not ready"}
    for status in sorted(_statuses(endpoint)):
        responses[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    return responses


def _statuses(endpoint: Endpoint) -> set[int]:
    if endpoint.public:
        return {400, 414, 431, 500}  # a Host header that is missing or there twice
    statuses = {400, 401, 403, 414, 431, 500, 529}
    if "{" in endpoint.path or endpoint.takes in {"MessageParams", "CountTokensParams"}:
        statuses.add(404)
    if endpoint.body is not None:
        statuses |= {408, 413}
    if endpoint.takes in {"MessageParams", "CountTokensParams"}:
        statuses |= {429, 504}
    if endpoint.ranges:
        statuses.add(416)
    return statuses


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in _PARAMETER.findall(endpoint.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": _QUERY[name]} for name in endpoint.query]
    if not endpoint.public:
        versions = {"enum": sorted(VERSIONS)}
        parameters.append({"name": "anthropic-version", "in": "header", "required": True, "schema": versions})
        parameters.append({"name": "anthropic-beta", "in": "header", "schema": _TEXT})
    if endpoint.takes == "CreateMessageBatch":
        key = {"type": "string", "pattern": "^[ -~]{1,255}$"}
        parameters.append({"name": "idempotency-key", "in": "header", "schema": key})
    if endpoint.ranges:
        parameters += [{"name": name, "in": "header", "schema": _TEXT} for name in ("range", "if-range")]
    return parameters
