"""Browsers (G3) and the base of our URLs (E9)."""

from pathlib import Path

import pytest

from support.api import HEADERS, World, make_ended, make_world

BATCH = "/v1/messages/batches/a"
ORIGIN = "https://app.example"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "x-api-key,anthropic-version,anthropic-dangerous-direct-browser-access",
}


async def test_cors_is_off_by_default(world: World) -> None:
    """G3: a preflight is an ordinary 405, and no answer carries a CORS header."""
    async with world.client() as client:
        preflight = await client.options("/v1/messages", headers=PREFLIGHT)
        answer = await client.get("/v1/models", headers={"origin": ORIGIN})
    assert preflight.status_code == 405
    assert preflight.json()["error"]["type"] == "invalid_request_error"
    for response in (preflight, answer):
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_a_configured_origin_may_ask_and_call(world: World) -> None:
    """Contract §1.4: the TypeScript SDK in a browser; never with credentials, never a wildcard."""
    world.reconfigure(cors_origins=(ORIGIN,))
    async with world.client({}) as client:
        preflight = await client.options("/v1/messages", headers=PREFLIGHT)
        answer = await client.get("/v1/models", headers={**HEADERS, "origin": ORIGIN})
        refused = await client.get("/v1/models", headers={"origin": ORIGIN})
    assert preflight.status_code == 204
    allowed = set(preflight.headers["access-control-allow-headers"].split(", "))
    assert set(PREFLIGHT["access-control-request-headers"].split(",")) <= allowed
    for response in (preflight, answer, refused):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in response.headers
    assert "request-id" in answer.headers["access-control-expose-headers"]
    assert (answer.status_code, refused.status_code) == (200, 401)


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.evil.example", "null", "*"])
async def test_any_other_origin_gets_nothing(world: World, origin: str) -> None:
    """G3."""
    world.reconfigure(cors_origins=(ORIGIN,))
    async with world.client() as client:
        preflight = await client.options("/v1/messages", headers={**PREFLIGHT, "origin": origin})
        answer = await client.get("/v1/models", headers={"origin": origin})
    assert preflight.status_code == 405
    for response in (preflight, answer):
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "origin"


@pytest.mark.parametrize(
    ("headers", "trusted", "expected"),
    [
        ({"host": "localhost:9000"}, (), "http://localhost:9000"),
        ({"host": "127.0.0.1:8321"}, (), "http://127.0.0.1:8321"),
        ({"host": "[::1]:8321"}, (), "http://[::1]:8321"),
        ({"host": "evil.example"}, (), "http://10.1.2.3:8321"),
        ({"host": "{evil}"}, (), "http://10.1.2.3:8321"),
        ({"host": "10.1.2.3:80"}, (), "http://10.1.2.3:80"),
        ({"host": "x", "x-forwarded-host": "evil.example"}, (), "http://10.1.2.3:8321"),
        ({"host": "x", "x-forwarded-host": "evil.example"}, ("10.9.0.0/16",), "http://10.1.2.3:8321"),
        ({"host": "api.example", "x-forwarded-proto": "https"}, ("127.0.0.1",), "https://api.example"),
        (
            {"host": "x", "x-forwarded-host": "evil, api.example", "x-forwarded-proto": "https"},
            ("127.0.0.0/8",),
            "https://api.example",
        ),
        (
            {"host": "api.example", "x-forwarded-prefix": "/slack/"},
            ("127.0.0.1",),
            "http://api.example/slack",
        ),
        ({"host": "api.example", "x-forwarded-prefix": "/{x}"}, ("127.0.0.1",), "http://10.1.2.3:8321"),
        ({"host": "api.example", "x-forwarded-proto": "javascript"}, ("127.0.0.1",), "http://10.1.2.3:8321"),
        ({"host": "a/b?c"}, ("127.0.0.1",), "http://10.1.2.3:8321"),
    ],
)
async def test_without_a_public_url_only_known_hosts_and_trusted_proxies_are_believed(
    tmp_path: Path, headers: dict[str, str], trusted: tuple[str, ...], expected: str
) -> None:
    """Detail 14, E9, A8: the client's key goes where this URL points; braces would break the SDK."""
    world = make_world(tmp_path, public_url="", trusted_proxies=trusted)
    world.batches.batches["a"] = make_ended("a")
    async with world.client(base_url="http://10.1.2.3:8321") as client:
        url = (await client.get(BATCH, headers=headers)).json()["results_url"]
    assert url == f"{expected}/v1/messages/batches/a/results"


async def test_a_toy_that_stands_in_is_named_by_every_answer_of_its_own(world: World) -> None:
    """Messages, counts, batches and their results, streams and errors too; what no model has a part in says nothing."""
    world.batches.batches["a"] = make_ended("a")
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    asked = (
        ("POST", "/v1/messages", body),
        ("POST", "/v1/messages", {**body, "stream": True}),
        ("POST", "/v1/messages/count_tokens", body),
        ("POST", "/v1/messages/batches", {"requests": []}),
        ("GET", BATCH, None),
        ("GET", f"{BATCH}/results", None),
        ("GET", "/v1/messages/batches/unknown", None),
        ("GET", "/v1/models", None),
        ("GET", "/health", None),
    )
    for toy in ("slackwater-demo-3m", None):
        world.reconfigure(stand_in=toy)
        async with world.client() as client:
            told = [
                (await client.request(method, path, json=json)).headers.get("slackwater-stand-in")
                for method, path, json in asked
            ]
        assert told == [toy] * 7 + [None] * 2
