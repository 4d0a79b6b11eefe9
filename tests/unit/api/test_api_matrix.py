"""Properties over every endpoint of the table, so that a new one cannot forget them."""

import string
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slackwater.api.routes import Endpoint
from slackwater.api.table import ENDPOINTS
from support.api import HEADERS, World, make_ended, make_file, make_world

GUARDED = [endpoint for endpoint in ENDPOINTS if not endpoint.public]
PUBLIC = {"/health", "/metrics", "/openapi.json"}
IDS = {
    "batch_id": ("msgbatch_01Theirs", "msgbatch_01Unknown"),
    "file_id": ("file_01Foreign", "file_01Unknown"),
}
"""For each kind of id in a path: one of another workspace, and one of nobody. Model ids are the operator's, not a
workspace's."""
SHARED = {"model_id"}


def name(endpoint: Endpoint) -> str:
    """Name a case."""
    return f"{endpoint.method} {endpoint.path}"


def test_only_what_machines_ask_is_served_without_a_key() -> None:
    """A4: whoever adds a public endpoint has to say so here."""
    assert {endpoint.path for endpoint in ENDPOINTS if endpoint.public} == PUBLIC


@pytest.mark.parametrize("endpoint", GUARDED, ids=name)
async def test_no_endpoint_answers_without_a_key_or_a_version(world: World, endpoint: Endpoint) -> None:
    """Detail 1, detail 2: 401 first, then 400."""
    path = endpoint.path.format(batch_id="a", model_id="b", file_id="c")
    async with world.client({}) as client:
        without_key = await client.request(endpoint.method, path, content=b"{}")
        without_version = await client.request(
            endpoint.method, path, content=b"{}", headers={"x-api-key": HEADERS["x-api-key"]}
        )
    assert (without_key.status_code, without_key.json()["error"]["type"]) == (401, "authentication_error")
    assert without_version.status_code == 400
    assert without_version.json()["error"]["message"] == "anthropic-version: header is required"


@pytest.mark.parametrize("endpoint", [one for one in GUARDED if "{" in one.path], ids=name)
async def test_a_foreign_id_and_an_unknown_one_are_told_apart_by_nothing(world: World, endpoint: Endpoint) -> None:
    """W2, A4: same status, same headers, same body but for the request id, with and without Range."""
    kind = endpoint.path.partition("{")[2].partition("}")[0]
    if kind in SHARED:
        assert endpoint.path.startswith("/v1/models/")
        return
    foreign, unknown = IDS[kind]
    world.batches.batches[foreign] = make_ended(foreign, workspace_id="wrkspc_01Theirs")
    world.files.files[foreign] = make_file(foreign, workspace_id="wrkspc_01Theirs")
    answers = []
    async with world.client() as client:
        for identifier in (foreign, unknown):
            for more in ({}, {"range": "bytes=0-1", "accept": "text/event-stream"}):
                path = endpoint.path.format(**{kind: identifier})
                response = await client.request(endpoint.method, path, headers=more)
                request_id = response.headers["request-id"]
                headers = {**response.headers, "request-id": ""}
                text = response.text.replace(request_id, "").replace(identifier, "")  # which may be named
                answers.append((response.status_code, headers, text))
    assert answers[0][0] == 404
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name)
async def test_every_other_method_is_a_405_that_lists_the_right_ones(world: World, endpoint: Endpoint) -> None:
    """Detail 28."""
    path = endpoint.path.format(batch_id="a", model_id="b", file_id="c")
    allowed = {one.method for one in ENDPOINTS if one.path == endpoint.path}
    if "GET" in allowed:
        allowed.add("HEAD")
    async with world.client() as client:
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
            response = await client.request(method, path)
            assert response.status_code == 405
            assert response.headers["allow"] == ", ".join(sorted(allowed))
            assert method == "HEAD" or response.json()["request_id"] == response.headers["request-id"]


TEXT = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=12)
SEGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["v1", "messages", "batches", "results", "cancel", "files", "content", "models", "count_tokens", "a"]
        ),
        st.sampled_from(["%2e%2e", "%2F", "%00", "%ff", "..", "", "{batch_id}", "health", "Qwen%2FQwen2.5:7b"]),
        st.text(string.ascii_letters + "-._~%", max_size=5),
    ),
    max_size=6,
)
QUERY = st.lists(
    st.tuples(
        st.sampled_from(["limit", "after_id", "before_id", "beta", "lifecycle[]", "ids[]", "page"]), st.text(max_size=5)
    ),
    max_size=3,
)
HEADER = st.sampled_from(
    [
        "range",
        "if-range",
        "accept",
        "content-type",
        "content-encoding",
        "content-length-x",
        "idempotency-key",
        "x-stainless-retry-count",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-workspace-id",
        "anthropic-user-profile-id",
        "x-api-key",
        "authorization",
        "origin",
        "x-forwarded-host",
        "x-forwarded-proto",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"]),
    parts=SEGMENTS,
    query=QUERY,
    headers=st.lists(st.tuples(HEADER, TEXT), max_size=4),
    body=st.binary(max_size=40),
)
async def test_whatever_is_sent_is_answered_in_form_and_never_with_a_500(  # parts of a request
    tmp_path: Path,
    method: str,
    parts: list[str],
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes,
) -> None:
    """Detail 28, B10, B11: status below 500, request id, and JSON for every failure."""
    world = make_world(tmp_path, cors_origins=("https://app.example",), public_url="", trusted_proxies=("127.0.0.1",))
    world.batches.batches["a"] = make_ended("a")
    world.files.files["a"] = make_file("a")
    world.batches.delivery.content = b"{}\n" * 10
    path = httpx2.URL("http://testserver/" + "/".join(parts))
    given_names = {header for header, _ in headers}
    own = [(header, value) for header, value in HEADERS.items() if header not in given_names]
    encoded = [(header.encode(), value.encode("latin-1")) for header, value in own + headers]
    async with world.client({}) as client:
        response = await client.request(method, path, params=query, headers=encoded, content=body)
    assert response.status_code < 500
    assert response.headers["request-id"].startswith("req_")
    if response.status_code >= 400 and method != "HEAD":
        assert response.json()["request_id"] == response.headers["request-id"]
