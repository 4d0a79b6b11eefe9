"""Every way to fail gets the envelope (contract §2, details 27-29, B11)."""

import errno
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from slackwater.domain.errors import (
    BY_TYPE,
    APIError,
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    OverloadedError,
    RateLimitError,
    StoreUnavailableError,
    WireTimeoutError,
)
from support.api import HEADERS, KEY, SMALL, World, make_batch, make_ended

BATCH = "/v1/messages/batches/a"
CREATE = "/v1/messages/batches"


def envelope(response: Any) -> dict[str, Any]:
    """Return the inner error after checking everything that every failure has in common."""
    body: dict[str, Any] = response.json()
    assert list(body) == ["type", "error", "request_id"]
    assert body["type"] == "error"
    assert list(body["error"])[:2] == ["type", "message"]
    assert body["request_id"] == response.headers["request-id"]
    assert body["request_id"].startswith("req_")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["anthropic-organization-id"] == "7a1c5bd0-0000-4000-8000-000000000001"
    error: dict[str, Any] = body["error"]
    return error


FAILURES = [
    pytest.param("GET", "/", {}, b"", 404, "not_found_error", "Not found", id="root"),
    pytest.param("GET", "/v1/nothing", {}, b"", 404, "not_found_error", "Not found", id="unknown path"),
    pytest.param("GET", "/v1/../health", {}, b"", 200, "", "", id="a path the client itself shortens"),
    pytest.param("GET", "/v1/%2e%2e/health", {}, b"", 404, "not_found_error", "Not found", id="encoded dots"),
    pytest.param("GET", "/v1/messages/batches//", {}, b"", 404, "not_found_error", "Not found", id="empty id"),
    pytest.param("GET", "/v1/models/nope", {}, b"", 404, "not_found_error", "model: nope", id="unknown model"),
    pytest.param("PUT", BATCH, {}, b"", 405, "invalid_request_error", "Method Not Allowed", id="wrong method"),
    pytest.param("GET", "/v1/messages", {}, b"", 405, "invalid_request_error", "Method Not Allowed", id="GET messages"),
    pytest.param("OPTIONS", BATCH, {}, b"", 405, "invalid_request_error", "Method Not Allowed", id="OPTIONS"),
    pytest.param(
        "GET",
        BATCH,
        {"anthropic-version": ""},
        b"",
        400,
        "invalid_request_error",
        "anthropic-version: header is required",
        id="no version",
    ),
    pytest.param(
        "GET",
        BATCH,
        {"anthropic-version": "2023-10-01"},
        b"",
        400,
        "invalid_request_error",
        'anthropic-version: "2023-10-01" is not a valid version',
        id="unknown version",
    ),
    pytest.param(
        "GET",
        BATCH,
        {"anthropic-version": "2023-01-01"},
        b"",
        400,
        "invalid_request_error",
        'anthropic-version: "2023-01-01" is not a valid version',
        id="initial version",
    ),
    pytest.param(
        "GET",
        BATCH,
        {"x-api-key": "wrong"},
        b"",
        401,
        "authentication_error",
        "invalid x-api-key",
        id="wrong key",
    ),
    pytest.param(
        "GET",
        BATCH,
        {"anthropic-workspace-id": "wrkspc_01Theirs"},
        b"",
        403,
        "permission_error",
        "Your API key does not have access to the workspace in anthropic-workspace-id.",
        id="other workspace",
    ),
    pytest.param(
        "POST",
        "/v1/messages",
        {},
        b'{"model":',
        400,
        "invalid_request_error",
        "The request body is not valid JSON: Expecting value: line 1 column 10 (char 9)",
        id="broken JSON",
    ),
    pytest.param(
        "POST",
        CREATE,
        {"content-type": "application/json; charset=utf-16"},
        b"{}",
        400,
        "invalid_request_error",
        "content-type: charset `utf-16` is not supported; use UTF-8, ISO-8859-1 or US-ASCII",
        id="charset",
    ),
    pytest.param(
        "POST",
        CREATE,
        {"content-encoding": "br"},
        b"{}",
        400,
        "invalid_request_error",
        "Content-Encoding `br` is not supported; use one of gzip, deflate, zstd or identity",
        id="unknown coding",
    ),
    pytest.param(
        "POST",
        CREATE,
        {"idempotency-key": "x" * 256},
        b"{}",
        400,
        "invalid_request_error",
        "idempotency-key: String should match pattern '^[ -~]{1,255}$'",
        id="idempotency key",
    ),
    pytest.param(
        "POST",
        CREATE,
        {"anthropic-user-profile-id": "a b"},
        b"{}",
        400,
        "invalid_request_error",
        "anthropic-user-profile-id: String should match pattern '^[!-~]{1,256}$'",
        id="profile id",
    ),
    pytest.param(
        "POST",
        CREATE,
        {},
        b"x" * 1001,
        413,
        "request_too_large",
        "Request exceeds the maximum size",
        id="batch body too large",
    ),
    pytest.param(
        "POST",
        "/v1/messages",
        {},
        b"x" * 501,
        413,
        "request_too_large",
        "Request exceeds the maximum size",
        id="message body too large",
    ),
    pytest.param(
        "POST",
        "/v1/messages/count_tokens",
        {},
        b"x" * 501,
        413,
        "request_too_large",
        "Request exceeds the maximum size",
        id="count_tokens body too large",
    ),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "kind", "message"), FAILURES)
async def test_every_refusal_has_its_status_type_and_text_in_the_envelope(  # a table's columns
    world: World,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    kind: str,
    message: str,
) -> None:
    """Detail 28 and contract §2."""
    world.reconfigure(limits=SMALL)
    async with world.client() as client:
        response = await client.request(method, path, headers=headers, content=body)
    assert response.status_code == status
    if kind:
        error = envelope(response)
        assert (error["type"], error["message"]) == (kind, message)
        assert response.headers.get("x-should-retry") == ("false" if status == 400 else None)


@pytest.mark.parametrize("kind", sorted(BY_TYPE))
async def test_every_typed_error_of_a_step_keeps_its_type_and_status(world: World, kind: str) -> None:
    """Contract §2.2: one table from class to status."""
    world.batches.error = BY_TYPE[kind]("said so")
    async with world.client() as client:
        response = await client.get(BATCH)
    assert response.status_code == BY_TYPE[kind].status
    assert envelope(response) == {"type": kind, "message": "said so"}


@pytest.mark.parametrize(
    ("error", "status", "kind", "headers"),
    [
        (StoreUnavailableError("disk /var/x"), 529, "overloaded_error", {"retry-after": "5"}),
        (BackendAwayError("http://10.0.0.1", retry_after_seconds=1.2), 529, "overloaded_error", {"retry-after": "2"}),
        (AttemptFailedError("http://10.0.0.1", WireTimeoutError()), 504, "timeout_error", {}),
        (RateLimitError(retry_after_seconds=12), 429, "rate_limit_error", {"retry-after": "12"}),
        (RateLimitError(error_code="contract_spend_limit_reached", should_retry=False), 429, "rate_limit_error", {}),
        (OverloadedError(should_retry=False), 529, "overloaded_error", {"x-should-retry": "false"}),
        (InvalidRequestError(should_retry=True), 400, "invalid_request_error", {"x-should-retry": "true"}),
        (APIError(), 500, "api_error", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_steps_raise_becomes_status_and_headers_and_names_nothing_internal(
    world: World, error: Exception, status: int, kind: str, headers: dict[str, str]
) -> None:
    """Detail 29, contract §9, P1: retry hints as headers; B11: no address, no path."""
    world.batches.error = error
    async with world.client() as client:
        response = await client.get(BATCH)
    assert response.status_code == status
    assert envelope(response)["type"] == kind
    assert headers.items() <= response.headers.items()
    assert "retry-after" in headers or "retry-after" not in response.headers
    assert b"10.0.0.1" not in response.content
    assert b"/var" not in response.content


ROUTES = [
    ("GET", CREATE),
    ("GET", BATCH),
    ("DELETE", BATCH),
    ("POST", f"{BATCH}/cancel"),
    ("GET", f"{BATCH}/results"),
    ("GET", f"{BATCH}/progress"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", CREATE),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_an_unexpected_failure_on_any_route_tells_only_the_request_id(
    world: World, method: str, path: str, logged: list[Any]
) -> None:
    """B11: the log, found by that id, has the rest."""
    broken = RuntimeError("SELECT secret FROM /var/lib at http://10.0.0.1")
    world.batches.error = world.interactive.error = world.admit.error = broken
    async with world.client() as client:
        response = await client.request(method, path, content=b"{}")
    assert response.status_code == 500
    assert envelope(response) == {"type": "api_error", "message": "Internal server error"}
    failed = [entry for entry in logged if entry["log_level"] == "error"]
    assert [(entry["request_id"], entry["exc_info"]) for entry in failed] == [(response.headers["request-id"], broken)]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "x-api-key header is required"),
        ({"x-api-key": ""}, "x-api-key header is required"),
        ({"x-api-key": "no"}, "invalid x-api-key"),
        ({"x-api-key": "né"}, "invalid x-api-key"),
        ({"x-api-key": "no", "authorization": f"Bearer {KEY}"}, "invalid x-api-key"),
        ({"authorization": "Bearer no"}, "Invalid bearer token"),
        ({"authorization": "Bearer"}, "Invalid bearer token"),
        ({"authorization": f"Basic {KEY}"}, "Invalid bearer token"),
    ],
)
async def test_a_bad_credential_is_a_401_in_the_known_words(
    world: World, headers: dict[str, str], message: str
) -> None:
    """Detail 1 and contract §1.3: `x-api-key` is looked at first."""
    encoded = {name: value.encode() for name, value in headers.items()}
    async with world.client({}) as client:
        response = await client.get(BATCH, headers={b"anthropic-version": b"2023-06-01", **encoded})  # type: ignore[dict-item]
    assert response.status_code == 401
    assert envelope(response) == {"type": "authentication_error", "message": message}
    assert "anthropic-workspace-id" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"x-api-key": KEY, "authorization": "Bearer other"},
        {"x-api-key": KEY, "anthropic-workspace-id": "wrkspc_01Mine"},
    ],
)
async def test_either_way_to_send_the_key_opens_the_workspace(world: World, headers: dict[str, str]) -> None:
    """Detail 1; the answer names the workspace (contract §1.6)."""
    world.batches.batches["a"] = make_batch("a")
    async with world.client({}) as client:
        response = await client.get(BATCH, headers={"anthropic-version": "2026-10-21", **headers})
    assert response.status_code == 200
    assert response.headers["anthropic-workspace-id"] == "wrkspc_01Mine"
    assert response.headers["anthropic-organization-id"] == "7a1c5bd0-0000-4000-8000-000000000001"
    assert response.headers["request-id"].startswith("req_")
    assert response.headers["content-type"] == "application/json"


async def test_a_version_sent_twice_is_refused_as_what_it_reads(world: World) -> None:
    """Contract §1.1: a proxy that adds the header breaks clients, and must not do so silently."""
    headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01"), ("anthropic-version", "2023-06-01")]
    async with world.client({}) as client:
        response = await client.get(BATCH, headers=headers)
    message = 'anthropic-version: "2023-06-01, 2023-06-01" is not a valid version'
    assert envelope(response)["message"] == message


async def test_without_strictness_a_missing_version_is_the_classic_one(world: World) -> None:
    """Contract §1.1: the switch is the operator's."""
    world.reconfigure(strict_version=False)
    async with world.client({"x-api-key": KEY}) as client:
        response = await client.post(CREATE, content=b"{}")
    assert response.status_code == 200
    assert world.admit.origins[0].terms.version == "2023-06-01"


async def test_strict_betas_refuse_unknown_values_by_name(world: World) -> None:
    """Contract §1.5."""
    world.reconfigure(strict_betas=True)
    async with world.client() as client:
        headers = {"anthropic-beta": "pdfs-2024-09-25,x-1,y-2"}
        response = await client.get(BATCH, headers=headers)
    assert envelope(response)["message"] == "Unexpected value(s) `x-1`, `y-2` for the `anthropic-beta` header"


async def test_405_lists_what_is_allowed(world: World) -> None:
    """Contract §2.2."""
    async with world.client() as client:
        response = await client.put(BATCH)
    assert response.headers["allow"] == "DELETE, GET, HEAD"


async def test_a_full_disk_is_a_529_that_is_not_worth_retrying(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: else the SDK sends 256 MB three times."""

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device", "/secret")

    monkeypatch.setattr("slackwater.api.spool.os.write", full)
    async with world.client() as client:
        response = await client.post(CREATE, content=b"{}")
    assert response.status_code == 529
    assert envelope(response) == {"type": "overloaded_error", "message": "Storage is full"}
    assert response.headers["x-should-retry"] == "false"
    assert not list(world.services.spool_dir.iterdir())


async def test_while_the_disk_is_low_a_create_is_refused_before_its_body_is_read(world: World) -> None:
    """P4: reading and deleting go on."""
    world.reconfigure(storage=lambda: "low")
    world.batches.batches["a"] = make_ended("a")
    async with world.server() as server:
        wire = await server.connect()
        head = f"POST {CREATE} HTTP/1.1\r\nhost: h\r\n" + "".join(f"{k}: {v}\r\n" for k, v in HEADERS.items())
        await wire.send(f"{head}content-length: 1000\r\nexpect: 100-continue\r\n\r\n".encode())
        status, headers = await wire.head()
        await wire.close()
    async with world.client() as client:
        deleted = await client.delete(BATCH)
    assert (status, headers["x-should-retry"], deleted.status_code) == (529, "false", 200)


async def test_a_disk_that_fills_while_a_body_comes_refuses_the_rest_of_it(world: World) -> None:
    """P4: what is left is for the work in flight, which is worth more."""
    states = iter(["ok", "ok", "low"])
    world.reconfigure(storage=lambda: next(states, "low"))

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    async with world.client() as client:
        response = await client.post(CREATE, content=body())
    assert envelope(response) == {"type": "overloaded_error", "message": "Storage is full"}
    assert world.admit.origins == []
    assert not list(world.services.spool_dir.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_step_that_finds_no_room_is_the_same_529(world: World, number: int) -> None:
    """P4: not an internal error, wherever the disk ran full, and no traceback in the log either."""
    world.admit.error = OSError(number, "No space left on device", "/secret")
    with capture_logs() as logs:
        async with world.client() as client:
            response = await client.post(CREATE, content=b"{}")
    (told,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert "no space left" in told["event"]
    assert "exc_info" not in told
    assert (response.status_code, response.headers["x-should-retry"]) == (529, "false")
    assert envelope(response) == {"type": "overloaded_error", "message": "Storage is full"}


@pytest.mark.parametrize("state", ["ok", "low", "full"])
async def test_health_says_how_the_disk_is_and_stays_200(world: World, state: str) -> None:
    """P4: everything but creates and uploads is served, so that nobody should take the server out of rotation."""
    world.reconfigure(storage=lambda: state)
    async with world.client({}) as client:
        response = await client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "storage": state})


async def test_error_details_stand_last_with_their_code(world: World) -> None:
    """Detail 16: type, message, details."""
    world.reconfigure(limits=SMALL)
    async with world.client() as client:
        response = await client.post(CREATE, headers={"content-encoding": "br, gzip"}, content=b"{}")
    assert list(envelope(response)) == ["type", "message", "details"]
    assert envelope(response)["details"] == {"error_code": "request_body_encoding_unsupported"}


async def test_head_answers_as_get_does_without_a_body(world: World) -> None:
    """Detail 28: errors too."""
    world.batches.batches["a"] = make_batch("a")
    async with world.client() as client:
        good, bad = await client.head(BATCH), await client.head("/v1/messages/batches/b")
        get = await client.get(BATCH)
    assert (good.status_code, good.content) == (200, b"")
    assert good.headers["content-length"] == str(len(get.content))
    assert (bad.status_code, bad.content) == (404, b"")


async def test_a_trailing_slash_and_the_beta_query_change_nothing(world: World) -> None:
    """Detail 4; a redirect would turn a POST into a GET."""
    world.batches.batches["a"] = make_batch("a")
    async with world.client() as client:
        plain = await client.get(BATCH)
        decorated = await client.get(f"{BATCH}/?beta=true")
        created = await client.post(f"{CREATE}/?beta=true", content=b"{}")
    assert json.loads(plain.content) == json.loads(decorated.content)
    assert created.status_code == 200


async def test_exactly_one_host_is_required(world: World) -> None:
    """A9: two Host lines are how requests are smuggled past a proxy's rules."""
    async with world.client() as client:
        request = client.build_request("GET", BATCH, headers=[("host", "a"), ("host", "b"), *HEADERS.items()])
        response = await client.send(request)
    assert response.status_code == 400
    assert envelope(response)["message"] == "host: exactly one Host header is required"
