"""The objects the API answers with."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.domain.batch import Batch, RequestCounts, Terms
from slackwater.domain.result import Charge, Usage
from slackwater.wire.objects import batch_list, batch_progress, dollars, encode, instant, message_batch

CREATED = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)
BATCH = Batch(
    id="msgbatch_01A",
    workspace_id="wrkspc_01W",
    terms=Terms(version="2023-06-01"),
    size=4,
    processing_status="ended",
    tally=RequestCounts(succeeded=3, expired=1),
    created_at=CREATED,
    expires_at=CREATED + timedelta(days=1),
    ended_at=CREATED + timedelta(microseconds=1),
    requests_key="requests/x",
)


def test_an_instant_has_six_digits_and_a_z_even_on_the_full_second() -> None:
    """Contract §3."""
    assert instant(CREATED) == "2026-11-22T09:00:00.000000Z"
    elsewhere = CREATED.astimezone(timezone(timedelta(hours=9)))
    assert instant(elsewhere) == "2026-11-22T09:00:00.000000Z"


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [(0, "0"), (1, "0.000000001"), (10, "0.00000001"), (1_500_000_000, "1.5"), (10_000_000_000, "10")],
)
def test_money_is_an_exact_decimal_without_an_exponent(nanousd: int, text: str) -> None:
    """Half a cent per million tokens must not round away."""
    assert dollars(nanousd) == text


@given(st.integers(0, 10**18))
def test_money_comes_back_as_it_went(nanousd: int) -> None:
    """M1: sums over what we show are exact."""
    assert Decimal(dollars(nanousd)) * 10**9 == nanousd


def test_an_ended_batch_shows_its_counts_and_where_its_results_are() -> None:
    """Contract §4.0, S2, S6."""
    written = json.loads(encode(message_batch(BATCH, "http://h/p")))
    assert written["request_counts"] == {"processing": 0, "succeeded": 3, "errored": 0, "canceled": 0, "expired": 1}
    assert written["results_url"] == "http://h/p/v1/messages/batches/msgbatch_01A/results"
    assert written["ended_at"] == "2026-11-22T09:00:00.000001Z"


def test_a_list_names_its_ends() -> None:
    """Contract §3."""
    written = json.loads(encode(batch_list([BATCH], "http://h", has_more=True)))
    assert (written["has_more"], written["first_id"], written["last_id"]) == (True, "msgbatch_01A", "msgbatch_01A")


def test_progress_adds_up_what_the_models_used() -> None:
    """The extension: live numbers, tokens and cost, per model and in all; cached input is apart."""
    charges = [
        Charge(
            model="a",
            requests=2,
            usage=Usage(input_tokens=10, output_tokens=4, cache_creation_5m_input_tokens=3),
            cost_nanousd=1_000,
        ),
        Charge(
            model="b",
            requests=1,
            usage=Usage(input_tokens=5, cache_creation_1h_input_tokens=2, cache_read_input_tokens=7),
            cost_nanousd=500,
        ),
    ]
    written = json.loads(encode(batch_progress(BATCH, charges)))
    assert list(written)[:5] == ["id", "type", "processing_status", "size", "progress"]
    assert sum(written["progress"].values()) == written["size"] == 4
    assert written["usage"] == {
        "input_tokens": 15,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 7,
        "output_tokens": 4,
    }
    assert written["cost_usd"] == "0.0000015"
    assert [(model["model"], model["requests"], model["cost_usd"]) for model in written["models"]] == [
        ("a", 2, "0.000001"),
        ("b", 1, "0.0000005"),
    ]
