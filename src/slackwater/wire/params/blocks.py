"""The shapes of content blocks: what may stand in `system`, a message, a tool result (contract §7)."""

from pydantic_core import CoreSchema

from slackwater.wire.params.vocabulary import (
    ANY,
    BOOL,
    OBJECT,
    STRING,
    by_type,
    integer,
    items,
    nullable,
    one_of,
    shape,
    string_or,
    text,
    typed,
)

ID_PATTERN = r"^[a-zA-Z0-9_-]+$"
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")  # contract §12
CITED_TEXT = {"cited_text": STRING}
POSITION = integer()

CACHE_CONTROL = nullable(by_type({"ephemeral": typed("ephemeral", {}, {"ttl": one_of("5m", "1h")})}))
"""A cache breakpoint (contract §10)."""

CITATIONS_CONFIG = nullable(shape({}, {"enabled": BOOL}))

IN_DOCUMENT = {**CITED_TEXT, "document_index": POSITION, "document_title": nullable(STRING)}
# `file_id` comes back in answers of newer versions, and clients return what they got (contract §12)
FILE_ID = {"file_id": nullable(STRING)}

CITATION = by_type(
    {
        "char_location": typed(
            "char_location", {**IN_DOCUMENT, "start_char_index": POSITION, "end_char_index": POSITION}, FILE_ID
        ),
        "page_location": typed(
            "page_location", {**IN_DOCUMENT, "start_page_number": POSITION, "end_page_number": POSITION}, FILE_ID
        ),
        "content_block_location": typed(
            "content_block_location",
            {**IN_DOCUMENT, "start_block_index": POSITION, "end_block_index": POSITION},
            FILE_ID,
        ),
        "search_result_location": typed(
            "search_result_location",
            {
                **CITED_TEXT,
                "search_result_index": POSITION,
                "source": STRING,
                "title": nullable(STRING),
                "start_block_index": POSITION,
                "end_block_index": POSITION,
            },
        ),
        "web_search_result_location": typed(
            "web_search_result_location",
            {**CITED_TEXT, "encrypted_index": STRING, "title": nullable(STRING), "url": STRING},
        ),
    }
)
"""Where a text block's words come from (contract §12)."""

TEXT = typed("text", {"text": STRING}, {"cache_control": CACHE_CONTROL, "citations": nullable(items(CITATION))})

FILE_SOURCE = typed("file", {"file_id": STRING})
URL_SOURCE = typed("url", {"url": STRING})

IMAGE = typed(
    "image",
    {
        "source": by_type(
            {
                "base64": typed("base64", {"media_type": one_of(*IMAGE_TYPES), "data": STRING}),
                "url": URL_SOURCE,
                "file": FILE_SOURCE,
            }
        )
    },
    {
        "cache_control": CACHE_CONTROL,
        "transformations": nullable(shape({}, {"oversized_image": one_of("downsize", "error")})),
    },
)

DOCUMENT = typed(
    "document",
    {
        "source": by_type(
            {
                "base64": typed("base64", {"media_type": one_of("application/pdf"), "data": STRING}),
                "text": typed("text", {"media_type": one_of("text/plain"), "data": STRING}),
                "content": typed("content", {"content": string_or(items(by_type({"text": TEXT, "image": IMAGE})))}),
                "url": URL_SOURCE,
                "file": FILE_SOURCE,
            }
        )
    },
    {
        "cache_control": CACHE_CONTROL,
        "citations": CITATIONS_CONFIG,
        "context": nullable(STRING),
        "title": nullable(text(length_min=1, length_max=500)),
    },
)

SEARCH_RESULT = typed(
    "search_result",
    {"content": items(TEXT), "source": STRING, "title": STRING},
    {"cache_control": CACHE_CONTROL, "citations": CITATIONS_CONFIG},
)

TOOL_RESULT = typed(
    "tool_result",
    {"tool_use_id": text(pattern=ID_PATTERN)},
    {
        "cache_control": CACHE_CONTROL,
        "content": string_or(
            items(
                by_type(
                    {
                        "text": TEXT,
                        "image": IMAGE,
                        "document": DOCUMENT,
                        "search_result": SEARCH_RESULT,
                        "tool_reference": typed(
                            "tool_reference", {"tool_name": STRING}, {"cache_control": CACHE_CONTROL}
                        ),
                        "browser_state": typed(
                            "browser_state",
                            {"tabs": items(OBJECT)},
                            {"cache_control": CACHE_CONTROL, "state_changes": nullable(items(OBJECT))},
                        ),
                    }
                )
            )
        ),
        "is_error": BOOL,
        "toolset_name": nullable(STRING),
    },
)

TOOL_USE = typed(
    "tool_use",
    {"id": text(pattern=ID_PATTERN), "name": text(length_min=1, length_max=200), "input": OBJECT},
    {"cache_control": CACHE_CONTROL, "caller": OBJECT, "toolset_name": nullable(STRING)},
)

SERVER_TOOL_USE = typed(
    "server_tool_use",
    {"id": STRING, "name": STRING, "input": OBJECT},
    {"cache_control": CACHE_CONTROL, "caller": OBJECT},
)


def _made_elsewhere(name: str) -> CoreSchema:
    """Say the result of a tool that ran on a server: its inside is returned to the model as it came."""
    return typed(
        name,
        {"tool_use_id": STRING},
        {"content": ANY, "cache_control": CACHE_CONTROL, "caller": OBJECT, "is_error": BOOL},
    )


SERVER_RESULTS = (
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_result",
)

BLOCK = by_type(
    {
        "text": TEXT,
        "image": IMAGE,
        "document": DOCUMENT,
        "search_result": SEARCH_RESULT,
        "thinking": typed("thinking", {"thinking": STRING, "signature": STRING}),
        "redacted_thinking": typed("redacted_thinking", {"data": STRING}),
        "tool_use": TOOL_USE,
        "tool_result": TOOL_RESULT,
        "server_tool_use": SERVER_TOOL_USE,
        **{name: _made_elsewhere(name) for name in SERVER_RESULTS},
        "mcp_tool_use": typed(
            "mcp_tool_use",
            {"id": STRING, "name": STRING, "server_name": STRING, "input": OBJECT},
            {"cache_control": CACHE_CONTROL},
        ),
        "container_upload": typed("container_upload", {"file_id": STRING}, {"cache_control": CACHE_CONTROL}),
    }
)
"""Any block of a message; which role may say it is a rule of `conversation`, not of the shape."""
