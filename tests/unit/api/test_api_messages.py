"""Synchronous messages, token counts, models, and what machines ask (contract §7)."""

import pytest

from slackwater.domain.errors import OverloadedError
from support.api import MESSAGE, START, World

BODY = b'{"model":"m","max_tokens":1,"messages":[]}'
STREAM = b'{"model":"m","max_tokens":1,"messages":[],"stream":true}'


async def test_a_message_is_the_steps_message_under_the_callers_terms(world: World) -> None:
    """Contract §7."""
    async with world.client() as client:
        response = await client.post("/v1/messages?beta=true", content=BODY)
    assert (response.status_code, response.json()) == (200, MESSAGE)
    assert world.interactive.bodies == [BODY]
    caller = world.interactive.callers[0]
    assert (caller.workspace_id, caller.key_id, caller.terms.version) == ("wrkspc_01Mine", "apikey_01K", "2023-06-01")


async def test_a_streamed_message_is_named_events_in_order(world: World) -> None:
    """Detail 30: data-only frames are dropped by the SDK."""
    async with world.client() as client:
        response = await client.post("/v1/messages", content=STREAM)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = response.text.split("\n\n")
    assert [frame.split("\n")[0] for frame in frames] == [
        "event: message_start",
        "event: message_delta",
        "event: message_stop",
        "",
    ]
    assert frames[1] == (
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
        '"usage":{"output_tokens":3}}'
    )
    assert response.headers["request-id"].startswith("req_")


async def test_an_error_before_the_first_event_is_a_status(world: World) -> None:
    """Contract §7.1."""
    world.interactive.events = [OverloadedError()]
    async with world.client() as client:
        response = await client.post("/v1/messages", content=STREAM)
    assert response.status_code == 529
    assert response.json()["error"] == {"type": "overloaded_error", "message": "Overloaded"}


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [(OverloadedError(), "overloaded_error", "Overloaded"), (KeyError("x"), "api_error", "Internal server error")],
)
async def test_an_error_after_the_first_event_is_an_error_event(
    world: World, error: Exception, kind: str, message: str
) -> None:
    """Detail 30: the envelope as `event: error`, with the request id of the response."""
    world.interactive.events = [START, error]
    async with world.client() as client:
        response = await client.post("/v1/messages", content=STREAM)
    assert response.status_code == 200
    last = response.text.rstrip("\n").split("\n\n")[-1]
    request_id = response.headers["request-id"]
    assert last == (
        'event: error\ndata: {"type":"error","error":{"type":"' + kind + '","message":"' + message + '"},'
        '"request_id":"' + request_id + '"}'
    )


async def test_a_token_count_says_when_it_is_an_estimate(world: World) -> None:
    """Contract §7.2."""
    async with world.client() as client:
        counted = await client.post("/v1/messages/count_tokens", content=BODY)
        world.interactive.counted_by = "estimate"
        estimated = await client.post("/v1/messages/count_tokens", content=BODY)
    assert counted.json() == estimated.json() == {"input_tokens": 2095}
    assert "slackwater-token-count" not in counted.headers
    assert estimated.headers["slackwater-token-count"] == "estimate"


@pytest.mark.parametrize("sent", ["Qwen%2FQwen2.5:7b", "Qwen/Qwen2.5:7b"])
async def test_a_model_id_with_a_slash_is_found_as_the_sdks_send_it(world: World, sent: str) -> None:
    """Detail 26 and contract §7.3: the slash arrives as %2F, from older SDKs as it is, like the colon."""
    async with world.client() as client:
        response = await client.get(f"/v1/models/{sent}")
    assert response.status_code == 200
    assert list(response.json().items()) == [
        ("id", "Qwen/Qwen2.5:7b"),
        ("type", "model"),
        ("display_name", "Qwen/Qwen2.5:7b"),
        ("created_at", "2026-11-22T09:00:00.123456Z"),
        ("lifecycle", "active"),
        ("line", None),
        ("deprecated_at", None),
        ("retires_at", None),
        ("max_input_tokens", 32768),
        ("max_tokens", None),
        ("capabilities", {"batch": {"supported": True}, "image_input": {"supported": True}}),
    ]


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ("", ["claude-haiku", "Qwen/Qwen2.5:7b", "small"], False),
        ("limit=2", ["claude-haiku", "Qwen/Qwen2.5:7b"], True),
        ("limit=2&after_id=Qwen%2FQwen2.5:7b", ["small"], False),
        ("limit=1&before_id=small", ["Qwen/Qwen2.5:7b"], True),
        ("limit=5&before_id=small", ["claude-haiku", "Qwen/Qwen2.5:7b"], False),
        ("before_id=claude-haiku", [], False),
        ("lifecycle%5B%5D=retired", [], False),
        ("lifecycle%5B%5D=active&lifecycle%5B%5D=retired&limit=1", ["claude-haiku"], True),
        ("lifecycle=deprecated", [], False),
    ],
)
async def test_models_page_both_ways_in_list_order(world: World, query: str, ids: list[str], *, has_more: bool) -> None:
    """Details 25 and 26: bracketed arrays, the plain form too; has_more follows the direction."""
    async with world.client() as client:
        page = (await client.get(f"/v1/models?{query}")).json()
    assert [model["id"] for model in page["data"]] == ids
    assert page["has_more"] is has_more
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("query", ["after_id=nope", "before_id=nope", "lifecycle[]=new"])
async def test_a_wrong_model_query_is_a_400(world: World, query: str) -> None:
    """Contract §3."""
    async with world.client() as client:
        response = await client.get(f"/v1/models?{query}")
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_health_is_200_only_while_requests_can_be_served(world: World) -> None:
    """Scripts wait for it; it needs no key."""
    async with world.client({}) as client:
        ready = await client.get("/health")
        world.ready[0] = False
        starting = await client.get("/health")
        world.app.stop()
        stopping = await client.get("/health")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "storage": "ok"})
    assert (starting.status_code, starting.json()) == (503, {"status": "starting", "storage": "ok"})
    assert (stopping.status_code, stopping.json()) == (503, {"status": "stopping", "storage": "ok"})


async def test_metrics_are_the_rendered_text(world: World) -> None:
    """For Prometheus, without a key."""
    async with world.client({}) as client:
        response = await client.get("/metrics")
    assert response.content == b"# HELP x\nx 1\n"
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_the_openapi_document_lists_every_endpoint_of_the_table(world: World) -> None:
    """One table drives the router, the 405s and this document."""
    from slackwater.api.table import ENDPOINTS  # noqa: PLC0415  # the object under test

    async with world.client({}) as client:
        document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert listed == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    assert "MessageBatch" in document["components"]["schemas"]
    operation = document["paths"]["/v1/messages/batches/{batch_id}"]["get"]
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/MessageBatch"
    }


async def test_a_stream_without_events_still_ends(world: World) -> None:
    """A backend that says nothing is not our hang."""
    world.interactive.events = []
    async with world.client() as client:
        response = await client.post("/v1/messages", content=STREAM)
    assert (response.status_code, response.content) == (200, b"")
