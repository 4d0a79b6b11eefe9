"""The six batch endpoints (contract §4)."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slackwater.domain.batch import RequestCounts
from slackwater.domain.errors import InvalidRequestError
from support.api import CREATED, HEADERS, World, make_batch, make_ended

BODY = b'{"requests":[]}'
RESULTS = b'{"custom_id":"a","result":{"type":"succeeded"}}\n{"custom_id":"b","result":{"type":"expired"}}\n'


async def test_create_hands_the_spooled_body_to_the_step_and_answers_200_with_the_batch(world: World) -> None:
    """Contract §4.1; no 201, no Location."""
    async with world.client() as client:
        response = await client.post("/v1/messages/batches", content=BODY)
    assert response.status_code == 200
    assert response.json()["id"] == "msgbatch_01A"
    assert world.admit.bodies == [BODY]
    assert world.admit.modes == [0o600]
    assert not list(world.services.spool_dir.iterdir())
    origin = world.admit.origins[0]
    assert (origin.workspace_id, origin.key_id) == ("wrkspc_01Mine", "apikey_01K")
    assert (origin.retried, origin.idempotency_key) == (False, None)


async def test_a_body_whose_length_is_known_is_read_while_it_arrives(world: World) -> None:
    """Not one that is decoded or transcoded first, is of unknown length, or is longer than a body may be."""

    async def unknown() -> AsyncIterator[bytes]:
        yield BODY

    async with world.client() as client:
        await client.post("/v1/messages/batches", content=BODY)
        await client.post("/v1/messages/batches", content=gzip.compress(BODY), headers={"content-encoding": "gzip"})
        latin1 = {"content-type": "application/json; charset=latin-1"}
        await client.post("/v1/messages/batches", content=BODY, headers=latin1)
        await client.post("/v1/messages/batches", content=unknown())
        assert len(world.admit.bodies) == 4
        too_long = {"content-length": str(world.services.limits.batch_body_bytes_max + 1)}
        assert (await client.post("/v1/messages/batches", content=BODY, headers=too_long)).status_code == 413
    assert world.admit.ahead_of == [len(BODY)]


async def test_the_batch_object_has_every_key_in_the_recorded_order(world: World) -> None:
    """Detail 13: nullable keys are always written; contract §4.0 gives the order."""
    world.batches.batches["msgbatch_01A"] = make_batch()
    async with world.client() as client:
        response = await client.get("/v1/messages/batches/msgbatch_01A")
    assert list(response.json().items()) == [
        ("id", "msgbatch_01A"),
        ("type", "message_batch"),
        ("processing_status", "in_progress"),
        ("request_counts", {"processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}),
        ("ended_at", None),
        ("created_at", "2026-11-22T09:00:00.123456Z"),
        ("expires_at", "2026-11-23T09:00:00.123456Z"),
        ("archived_at", None),
        ("cancel_initiated_at", None),
        ("results_url", None),
    ]


async def test_counts_stay_in_processing_until_the_whole_batch_has_ended(world: World) -> None:
    """Detail 12, S2: live progress does not show in the official object."""
    world.batches.batches["msgbatch_01A"] = make_batch(tally=RequestCounts(processing=1, succeeded=2))
    async with world.client() as client:
        counts = (await client.get("/v1/messages/batches/msgbatch_01A")).json()["request_counts"]
    assert counts == {"processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}


async def test_an_unfinished_batch_is_answered_with_retry_after_and_an_ended_one_without(world: World) -> None:
    """Detail 24 and contract §4.2."""
    world.batches.batches = {"a": make_batch("a"), "b": make_ended("b")}
    async with world.client() as client:
        running = await client.get("/v1/messages/batches/a")
        ended = await client.get("/v1/messages/batches/b")
    assert running.headers["retry-after"] == "10"
    assert "retry-after" not in ended.headers


async def test_the_results_url_is_the_public_one_once_ended_and_null_again_after_archiving(world: World) -> None:
    """Details 13, 14, 22 and S6: own host and path prefix, whatever Host says (E9); null unless readable."""
    world.batches.batches = {"a": make_batch("a"), "b": make_ended("b"), "c": make_ended("c", archived_at=CREATED)}
    async with world.client({**HEADERS, "host": "evil.example", "x-forwarded-host": "evil.example"}) as client:
        urls = [(await client.get(f"/v1/messages/batches/{name}")).json()["results_url"] for name in "abc"]
    assert urls == [None, "https://slackwater.example/base/v1/messages/batches/b/results", None]


@pytest.mark.parametrize("batch_id", ["msgbatch_unknown", "msgbatch_theirs", "..", "%2e%2e", "a%00b", "a%2Fb"])
@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/results"), ("GET", "/progress")],
)
async def test_an_unknown_batch_and_another_workspaces_batch_are_the_same_404(
    world: World, batch_id: str, method: str, suffix: str
) -> None:
    """W2: same status, same body but for the request id."""
    world.batches.batches["msgbatch_theirs"] = make_ended("msgbatch_theirs", workspace_id="wrkspc_01Theirs")
    async with world.client() as client:
        response = await client.request(method, f"/v1/messages/batches/{batch_id}{suffix}")
    assert response.status_code in ({404, 405} if batch_id in {"..", "%2e%2e"} else {404})
    if response.status_code == 404:
        assert response.json()["error"] == {"type": "not_found_error", "message": "Not found"}


async def test_a_list_is_family_a_newest_first_with_its_ends_named(world: World) -> None:
    """Contract §3, §4.3."""
    world.batches.batches = {"b": make_batch("b"), "a": make_ended("a")}
    world.batches.has_more = True
    async with world.client() as client:
        page = (await client.get("/v1/messages/batches?limit=2")).json()
    assert list(page) == ["data", "has_more", "first_id", "last_id"]
    assert [item["id"] for item in page["data"]] == ["b", "a"]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, "b", "a")
    assert world.batches.pages == [{"limit": 2, "after_id": None, "before_id": None}]


async def test_an_empty_list_has_null_ids(world: World) -> None:
    """Contract §3."""
    async with world.client() as client:
        page = (await client.get("/v1/messages/batches")).json()
    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert world.batches.pages[0]["limit"] == 20


@pytest.mark.parametrize("query", ["after_id=x", "before_id=x"])
async def test_both_cursors_reach_the_step(world: World, query: str) -> None:
    """Detail 25: ignoring before_id would make the SDK loop for ever."""
    async with world.client() as client:
        await client.get(f"/v1/messages/batches?{query}")
    name, value = query.split("=")
    assert world.batches.pages[0][name] == value


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("limit=-3", "limit: Input should be greater than or equal to 1"),
        ("limit=1001", "limit: Input should be less than or equal to 1000"),
        ("limit=many", "limit: Input should be a valid integer, unable to parse string as an integer"),
        ("limit=", "limit: Input should be a valid integer, unable to parse string as an integer"),
        ("limit=99999999999999999999", "limit: Input should be less than or equal to 1000"),
        ("after_id=a&before_id=b", "before_id: Only one of `after_id` and `before_id` may be given"),
        ("after_id=%00", "after_id: Input should be an id from an earlier page"),
    ],
)
async def test_a_wrong_list_query_is_a_400_in_the_apis_words(world: World, query: str, message: str) -> None:
    """Contract §3."""
    async with world.client() as client:
        response = await client.get(f"/v1/messages/batches?{query}")
    assert response.status_code == 400
    assert response.json()["error"] == {"type": "invalid_request_error", "message": message}


async def test_an_unknown_cursor_is_the_steps_400(world: World) -> None:
    """Contract §3."""
    world.batches.error = InvalidRequestError("after_id: unknown")
    async with world.client() as client:
        response = await client.get("/v1/messages/batches?after_id=nope")
    assert (response.status_code, response.json()["error"]["message"]) == (400, "after_id: unknown")


@pytest.mark.parametrize(
    "options",
    [{}, {"headers": {"content-type": "application/json", "content-length": "0"}}, {"content": b"not json"}],
)
async def test_cancel_takes_no_body_and_answers_canceling_again_and_again(
    world: World, options: dict[str, Any]
) -> None:
    """Detail 20, contract §4.4."""
    world.batches.batches["a"] = make_batch("a")
    async with world.client() as client:
        for _ in range(2):
            response = await client.post("/v1/messages/batches/a/cancel", **options)
            assert response.status_code == 200
            assert response.json()["processing_status"] == "canceling"
            assert response.json()["cancel_initiated_at"] == "2026-11-22T09:00:00.123456Z"
            assert response.json()["request_counts"]["processing"] == 3


@pytest.mark.parametrize(("method", "suffix", "ended"), [("POST", "/cancel", True), ("DELETE", "", False)])
async def test_a_state_conflict_is_a_400_that_says_not_to_retry(
    world: World, method: str, suffix: str, *, ended: bool
) -> None:
    """Detail 19: 409 would be retried by the SDKs."""
    world.batches.batches["a"] = make_ended("a") if ended else make_batch("a")
    async with world.client() as client:
        response = await client.request(method, f"/v1/messages/batches/a{suffix}")
    assert response.status_code == 400
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_delete_answers_the_id_and_a_second_delete_is_a_404(world: World) -> None:
    """Contract §4.5; the DELETE may announce JSON without a body (detail 20)."""
    world.batches.batches["a"] = make_ended("a")
    async with world.client() as client:
        headers = {"content-type": "application/json"}
        first = await client.delete("/v1/messages/batches/a", headers=headers)
        second = await client.delete("/v1/messages/batches/a", headers=headers)
    assert first.json() == {"id": "a", "type": "message_batch_deleted"}
    assert second.status_code == 404


async def test_results_are_the_bytes_of_the_delivery_with_length_name_and_strong_tag(world: World) -> None:
    """Contract §4.6, detail 15, R1 and R3: the bytes are passed on as they are, whatever Accept says."""
    world.batches.batches["a"] = make_ended("a")
    world.batches.delivery.content = RESULTS
    async with world.client() as client:
        response = await client.get("/v1/messages/batches/a/results", headers={"accept": "application/binary"})
    assert response.content == RESULTS
    assert response.headers["content-type"] == "application/x-jsonl"
    assert response.headers["content-disposition"] == 'attachment; filename="a_results.jsonl"'
    assert response.headers["content-length"] == str(len(RESULTS))
    assert response.headers["etag"] == '"msgbatch_01A.1"'
    assert response.headers["accept-ranges"] == "bytes"


async def test_results_before_the_end_are_a_404(world: World) -> None:
    """Contract §4.6 rule 9."""
    world.batches.batches["a"] = make_batch("a")
    async with world.client() as client:
        response = await client.get("/v1/messages/batches/a/results")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("headers", "retried", "idempotency_key"),
    [
        ({}, False, None),
        ({"x-stainless-retry-count": "0"}, False, None),
        ({"x-stainless-retry-count": "1"}, True, None),
        ({"x-stainless-retry-count": "10"}, True, None),
        ({"x-stainless-retry-count": "x"}, False, None),
        ({"idempotency-key": "mine 1"}, False, "mine 1"),
    ],
)
async def test_what_marks_a_repeated_create_reaches_the_step(
    world: World, headers: dict[str, str], *, retried: bool, idempotency_key: str | None
) -> None:
    """Detail 23, D3."""
    async with world.client() as client:
        await client.post("/v1/messages/batches", content=BODY, headers=headers)
    origin = world.admit.origins[0]
    assert (origin.retried, origin.idempotency_key) == (retried, idempotency_key)


async def test_version_betas_and_profile_of_the_create_call_belong_to_the_batch(world: World) -> None:
    """Details 2 and 4, contract §1.4, §1.5: comma lists and repeated headers; the query steers nothing."""
    headers = [
        ("x-api-key", HEADERS["x-api-key"]),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", "message-batches-2024-09-24, output-300k-2026-03-24"),
        ("anthropic-beta", "made-up-2030-01-01,message-batches-2024-09-24"),
        ("anthropic-user-profile-id", "profile_1"),
    ]
    async with world.client({}) as client:
        response = await client.post("/v1/messages/batches?beta=true", content=BODY, headers=headers)
    assert response.status_code == 200
    terms = world.admit.origins[0].terms
    assert terms.version == "2026-10-21"
    assert terms.betas == ("message-batches-2024-09-24", "output-300k-2026-03-24", "made-up-2030-01-01")
    assert terms.user_profile_id == "profile_1"


async def test_a_failing_create_keeps_the_steps_error_and_no_spool(world: World) -> None:
    """Detail 10: what the envelope check refuses is a synchronous error."""
    world.admit.error = InvalidRequestError("requests.0.custom_id: String should have at most 64 characters")
    async with world.client() as client:
        response = await client.post("/v1/messages/batches", content=BODY)
    assert response.status_code == 400
    assert response.headers["x-should-retry"] == "false"
    assert json.loads(response.content)["error"]["message"].startswith("requests.0.custom_id: ")
    assert not list(world.services.spool_dir.iterdir())
