"""The official SDKs, unmodified, against a running server: each release, blocking and asynchronous, both languages.

Every test reads one section of what an SDK reported (drivers/sdk.py, drivers/sdk.mjs). They are the third promise:
unmodified clients just work.
"""

import re
from collections import Counter
from typing import Any, Final

import pytest

from support.sdks import SDK

KINDS: Final = ("processing", "succeeded", "errored", "canceled", "expired")
TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
BATCH_KEYS: Final = {
    "id",
    "type",
    "processing_status",
    "request_counts",
    "ended_at",
    "created_at",
    "expires_at",
    "archived_at",
    "cancel_initiated_at",
    "results_url",
}


Report = dict[str, Any]


def test_an_sdk_gets_through_all_its_calls(sdk: SDK, report: Report) -> None:
    """No section raised anything that it did not expect."""
    assert report["version"] == sdk.version
    assert {name: section["raised"] for name, section in report.items() if "raised" in section} == {}


def test_a_new_batch_is_in_progress_and_can_be_read_back_at_once(report: Report) -> None:
    """D4, and all keys of contract §4.0, the nullable ones too."""
    created, read_back = report["mixed"]["created"], report["mixed"]["read_back"]
    assert created.keys() >= BATCH_KEYS
    assert re.fullmatch(r"msgbatch_\w{10,}", created["id"])
    assert (created["type"], created["processing_status"]) == ("message_batch", "in_progress")
    assert created["request_counts"] == dict.fromkeys(KINDS, 0) | {"processing": 11}
    assert [created[key] for key in ("ended_at", "archived_at", "cancel_initiated_at", "results_url")] == [None] * 4
    assert {key: read_back[key] for key in ("id", "created_at", "expires_at")} == {
        key: created[key] for key in ("id", "created_at", "expires_at")
    }


def test_counts_stay_in_processing_until_the_whole_batch_ends(sdk: SDK, report: Report) -> None:
    """S2: they move at once, and always sum to the size of the batch."""
    *before, last = report["mixed"]["polls"]
    assert {poll["status"] for poll in before} <= {"in_progress"}
    assert [poll["counts"]["processing"] for poll in before] == [11] * len(before)
    assert last == {
        "status": "ended",
        "counts": {"processing": 0, "succeeded": 6, "errored": 5, "canceled": 0, "expired": 0}
        if sdk.api_version == "2026-10-21"
        else {"processing": 0, "succeeded": 7, "errored": 4, "canceled": 0, "expired": 0},
    }


def test_pollers_are_told_when_to_come_again_until_the_end(report: Report) -> None:
    """Contract §4.2: `retry-after: 10`, gone once the batch has ended."""
    assert report["delete"]["retry_after"] == "10"
    assert report["mixed"]["retry_after"] is None


def test_an_ended_batch_says_when_and_where_its_results_are(report: Report) -> None:
    """S6: `results_url` is there exactly when the batch has ended."""
    ended = report["mixed"]["ended"]
    assert ended["ended_at"]
    assert ended["results_url"].endswith(f"/v1/messages/batches/{ended['id']}/results")
    assert ended["results_url"].startswith("http://127.0.0.1:")


def test_each_request_has_exactly_one_result_line(sdk: SDK, report: Report) -> None:
    """S1, and the type of each: what a model does is success, what we or a backend refuse is not."""
    results = report["mixed"]["results"]
    assert Counter(line["custom_id"] for line in results).most_common(1)[0][1] == 1
    assert {line["custom_id"]: _outcome(line) for line in results} == {
        **{f"row-{number}": "succeeded" for number in range(4)},
        "sampled": "invalid_request_error" if sdk.api_version == "2026-10-21" else "succeeded",
        "no-max-tokens": "invalid_request_error",
        "unknown-model": "not_found_error",
        "streaming": "invalid_request_error",
        "refused-by-backend": "invalid_request_error",
        "cut-short": "succeeded",
        "unicode_A-9": "succeeded",
    }


def test_answers_are_those_of_their_own_requests(report: Report) -> None:
    """Nothing is mixed up, line separators in a text do not break a line, and the tier is `batch`."""
    messages = {line["custom_id"]: line["result"].get("message") for line in report["mixed"]["results"]}
    texts = {name: message["content"][0]["text"] for name, message in messages.items() if message}
    assert {f"row-{number}": f"answer {number}" for number in range(4)}.items() <= texts.items()
    assert texts["unicode_A-9"] == "a\u2028b}{c"
    assert messages["cut-short"]["stop_reason"] == "max_tokens"
    assert {message["usage"]["service_tier"] for message in messages.values() if message} == {"batch"}
    assert {message["model"] for message in messages.values() if message} == {"claude-haiku-4-5-20251001"}


def test_errors_of_requests_name_the_field(report: Report) -> None:
    """Contract §4.6 rule 2: the whole envelope, in the words of §2.3."""
    lines = report["mixed"]["results"]
    errors = {line["custom_id"]: line["result"]["error"] for line in lines if line["result"]["type"] == "errored"}
    assert errors["no-max-tokens"]["error"]["message"] == "max_tokens: Field required"
    assert errors["unknown-model"]["error"]["message"] == "model: no-such-model"
    assert errors["streaming"]["error"]["message"].startswith("stream: ")
    if "sampled" in errors:
        assert errors["sampled"]["error"]["message"] == "temperature: Extra inputs are not permitted"
    assert {error["type"] for error in errors.values()} == {"error"}


def test_paging_walks_the_whole_list_newest_first_in_both_directions(report: Report) -> None:
    """Contract §3, family A: `before_id` walks to newer items and still delivers newest first."""
    paging = report["paging"]
    newest_first = paging["made"][::-1]
    assert paging["forwards"][:5] == newest_first
    assert len(set(paging["forwards"])) == len(paging["forwards"])
    assert report["mixed"]["created"]["id"] in paging["forwards"]
    oldest = paging["made"][0]
    assert set(paging["newer"]) == set(newest_first[:-1])
    assert paging["newer"] == [*newest_first[2:4], *newest_first[0:2]]
    assert paging["older"] == paging["forwards"][paging["forwards"].index(oldest) + 1 :]
    page = paging["page"]
    assert (page["ids"], page["has_more"]) == (newest_first[:2], True)
    assert (page["first_id"], page["last_id"]) == (newest_first[0], newest_first[1])


def test_a_canceled_batch_ends_with_a_line_for_each_request(report: Report) -> None:
    """S1, C3, C4: what was done before the cancel stays, nothing that had not been sent succeeds."""
    cancel = report["cancel"]
    assert cancel["canceling"]["processing_status"] == "canceling"
    assert cancel["canceling"]["request_counts"]["processing"] == 25
    assert cancel["again"]["cancel_initiated_at"] == cancel["canceling"]["cancel_initiated_at"]
    assert cancel["ended"]["processing_status"] == "ended"
    results = {line["custom_id"]: line["result"]["type"] for line in cancel["results"]}
    assert len(results) == len(cancel["results"]) == 25
    assert {results[f"slow-{number}"] for number in range(24)} == {"canceled"}
    assert results["quick"] in {"succeeded", "canceled"}
    counts = cancel["ended"]["request_counts"]
    assert counts == dict.fromkeys(KINDS, 0) | Counter(results.values())


def test_canceling_after_the_end_is_a_400_that_is_not_repeated(report: Report) -> None:
    """Contract §4.4: never a 409, which the SDKs would retry."""
    _expect(report["cancel"]["late"], 400, "invalid_request_error", "BadRequestError")


def test_only_an_ended_batch_can_be_deleted_and_only_once(report: Report) -> None:
    """Contract §4.5."""
    delete = report["delete"]
    _expect(delete["early"], 400, "invalid_request_error", "BadRequestError")
    assert delete["deleted"] == {"id": delete["id"], "type": "message_batch_deleted"}
    _expect(delete["twice"], 404, "not_found_error", "NotFoundError")
    _expect(delete["gone"], 404, "not_found_error", "NotFoundError")


def test_results_before_the_end_are_refused_by_the_sdk_itself(report: Report) -> None:
    """Contract §4.6 rule 8: `results_url` is null until then, and the SDK says so."""
    early = report["delete"]["early_results"]
    assert early["classes"][0] == "AnthropicError"
    assert "in_progress" in early["message"]


def test_a_message_is_answered_at_once_at_the_standard_tier(report: Report) -> None:
    """Contract §7."""
    message = report["messages"]
    assert [(block["type"], block["text"]) for block in message["content"]] == [("text", "positive")]
    assert (message["type"], message["role"], message["stop_reason"]) == ("message", "assistant", "end_turn")
    assert message["model"] == "claude-haiku-4-5-20251001"
    assert message["usage"]["service_tier"] == "standard"
    assert message["usage"]["input_tokens"] > 0
    assert message["usage"]["output_tokens"] > 0


def test_a_stream_arrives_as_named_events_in_order(report: Report) -> None:
    """Contract §7.1."""
    stream = report["stream"]
    assert stream["text"] == "one two three"
    assert stream["final"]["content"][0]["text"] == "one two three"
    assert stream["final"]["usage"]["output_tokens"] > 0
    events = [event for event in stream["events"] if event != "ping"]
    assert events[:2] == ["message_start", "content_block_start"]
    assert set(events[2:-3]) == {"content_block_delta"}
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_tokens_are_counted(report: Report) -> None:
    """Contract §7.2."""
    assert report["count"]["input_tokens"] > 0


def test_models_are_listed_and_found_by_ids_with_slashes(report: Report) -> None:
    """Contract §7.3: `Qwen/Qwen2.5:7b` arrives as `Qwen%2FQwen2.5:7b`."""
    models = report["models"]
    assert sorted(models["listed"]) == ["Qwen/Qwen2.5:7b", "claude-haiku-4-5-20251001", "claude-opus-4-6", "faulty"]
    assert (models["slashed"]["id"], models["slashed"]["type"]) == ("Qwen/Qwen2.5:7b", "model")
    assert models["first"].keys() >= {"id", "type", "display_name", "created_at"}
    _expect(models["unknown"], 404, "not_found_error", "NotFoundError")


TOO_LARGE: Final = {
    "py-0-sync": "RequestTooLargeError",
    "py-0-async": "APIStatusError",
    "py-1-sync": "RequestTooLargeError",
    "py-1-async": "RequestTooLargeError",
    "ts-0-async": "APIError",
}
OVERLOADED: Final = {"py-0-async": "InternalServerError", "ts-0-async": "InternalServerError"}
"""Older releases have fewer classes, their asynchronous clients fewer still."""

ERRORS: Final = [
    ("batch_empty", 400, "invalid_request_error", "BadRequestError", "requests"),
    ("batch_duplicate", 400, "invalid_request_error", "BadRequestError", "same"),
    (
        "batch_long_id",
        400,
        "invalid_request_error",
        "BadRequestError",
        "requests.0.custom_id: String should have at most 64",
    ),
    (
        "batch_newline_id",
        400,
        "invalid_request_error",
        "BadRequestError",
        "requests.0.custom_id: String should match pattern",
    ),
    ("batch_extra_key", 400, "invalid_request_error", "BadRequestError", "note: Extra inputs are not permitted"),
    ("batch_unknown", 404, "not_found_error", "NotFoundError", ""),
    ("batch_both_cursors", 400, "invalid_request_error", "BadRequestError", ""),
    (
        "batch_limit",
        400,
        "invalid_request_error",
        "BadRequestError",
        "limit: Input should be less than or equal to 1000",
    ),
    ("message_no_max_tokens", 400, "invalid_request_error", "BadRequestError", "max_tokens: Field required"),
    ("message_extra_key", 400, "invalid_request_error", "BadRequestError", "colour: Extra inputs are not permitted"),
    ("message_too_large", 413, "request_too_large", "ContentTooLargeError", ""),
    ("message_unknown_model", 404, "not_found_error", "NotFoundError", "model: no-such-model"),
    ("wrong_key", 401, "authentication_error", "AuthenticationError", ""),
    ("wrong_version", 400, "invalid_request_error", "BadRequestError", '"2023-10-01" is not a valid version'),
    ("foreign_workspace", 403, "permission_error", "PermissionDeniedError", ""),
    ("unknown_path", 404, "not_found_error", "NotFoundError", ""),
    ("wrong_method", 405, "invalid_request_error", "APIError", ""),
    ("backend_400", 400, "invalid_request_error", "BadRequestError", ""),
    ("backend_500", 500, "api_error", "InternalServerError", ""),
    ("backend_529", 529, "overloaded_error", "OverloadedError", ""),
]


@pytest.mark.parametrize(("name", "status", "kind", "raised", "words"), ERRORS, ids=[error[0] for error in ERRORS])
def test_an_error_is_raised_as_its_own_class(
    sdk: SDK, report: Report, name: str, status: int, kind: str, raised: str, words: str
) -> None:
    """Contract §2: status, type, message and request id arrive, whatever was wrong."""
    older = {"message_too_large": TOO_LARGE, "backend_529": OVERLOADED}.get(name, {})
    generation = f"{sdk.language}-{sdk.version.split('.')[0]}-{sdk.mode}"
    _expect(report["errors"][name], status, kind, older.get(generation, raised))
    assert words in report["errors"][name]["message"]


def test_the_sdk_s_own_retries_get_over_a_backend_that_was_full_once(report: Report) -> None:
    """A 529 is repeated by the SDK, and the second answer is used (contract §9)."""
    assert report["retries"]["type"] == "message"


def test_the_beta_namespace_is_served_the_same(report: Report) -> None:
    """Contract §1.5: neither `?beta=true` nor a known beta header changes anything here."""
    beta = report["beta"]
    assert beta["read"]["id"] == beta["listed"][0] == beta["id"]
    assert [line["result"]["type"] for line in beta["results"]] == ["succeeded"]
    assert beta["deleted"] == {"id": beta["id"], "type": "message_batch_deleted"}


def _outcome(line: dict[str, Any]) -> str:
    result = line["result"]
    return str(result["error"]["error"]["type"] if result["type"] == "errored" else result["type"])


def _expect(error: dict[str, Any], status: int, kind: str, raised: str) -> None:
    assert (error.get("status"), error["type"]) == (status, kind), error
    assert raised in error["classes"]
    assert re.fullmatch(r"req_\w{10,}", error["body"]["request_id"])
    assert error["request_id"] in {error["body"]["request_id"], None}
