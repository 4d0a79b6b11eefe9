"""From a sealed batch to its lines: results, failures and retries, over a real store and a scripted backend."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.clock import SystemClock
from slackwater.domain.batch import RequestCounts, Terms
from slackwater.domain.errors import (
    APIError,
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    NotFoundError,
    WireTimeoutError,
)
from slackwater.domain.events import BatchEnded
from slackwater.domain.limits import ATTEMPTS_MAX
from slackwater.domain.model import Route
from slackwater.ports import Call
from support.worker import WORKSPACE, echo, message, until, working


async def test_every_request_gets_its_own_answer_and_the_batch_ends_counted(tmp_path: Path) -> None:
    """S1, S2, S6, S7: one line each, content as the backend sent it, counts at the end, `ended_at` once."""
    async with working(tmp_path) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(600)})
        assert batch.counts == RequestCounts(processing=600)
        done = await worker.ended(batch)
        lines = await worker.lines(done)
        assert done.counts == RequestCounts(succeeded=600)
        assert done.processing_status == "ended"
        assert all(line["message"]["content"][0]["text"] == f"this is {name}" for name, line in lines.items())
        assert set(worker.backend.counts().values()) == {1}
        assert [event for event in worker.events if isinstance(event, BatchEnded)] == [BatchEnded(batch_id=batch.id)]


async def test_the_line_of_a_success_is_the_whole_message_with_the_batch_tier(tmp_path: Path) -> None:
    """Section 16 row 18: `service_tier` is `batch`, `input_tokens` excludes cached ones, the client's model name."""

    async def answer(_call: Call) -> dict[str, Any]:
        return {**message(cache_read_input_tokens=7), "stop_reason": "refusal"}

    async with working(tmp_path, answer, routes=(Route(id="*", backend="scripted", upstream="qwen"),)) as worker:
        batch = await worker.ended(await worker.create({"a": {"model": "claude-haiku-4-5-20251001"}}))
        result = (await worker.lines(batch))["a"]
    assert list(result) == ["type", "message"]
    assert result["type"] == "succeeded"
    assert result["message"]["model"] == "claude-haiku-4-5-20251001"
    assert result["message"]["stop_reason"] == "refusal"
    assert result["message"]["usage"]["service_tier"] == "batch"
    assert result["message"]["usage"]["input_tokens"] == 10
    assert result["message"]["usage"]["cache_read_input_tokens"] == 7


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown-model": ({"model": "nobody"}, "not_found_error", "model: nobody"),
    "no-max-tokens": ({"max_tokens": None}, "invalid_request_error", "max_tokens"),
    "streaming": ({"stream": True}, "invalid_request_error", "stream"),
    "extra": ({"colour": "red"}, "invalid_request_error", "colour: Extra inputs are not permitted"),
    "empty": ({"messages": []}, "invalid_request_error", "messages"),
    "zero": ({"max_tokens": 0}, "invalid_request_error", "max_tokens"),
    "file": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}
            ]
        },
        "not_found_error",
        "File `file_1` not found.",
    ),
    "url": (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/"}}]}]},
        "invalid_request_error",
        "messages.0.content.0.image.source",
    ),
}


async def test_a_bad_request_changes_only_its_own_line(tmp_path: Path) -> None:
    """S8, section 16 rows 10, 16, 17: typed, `type` first, and its neighbours succeed."""
    async with working(tmp_path) as worker:
        good = {f"good{n}": {} for n in range(20)}
        bad = {name: params for name, (params, _, _) in BAD.items()}
        batch = await worker.ended(await worker.create({**good, **bad}))
        lines = await worker.lines(batch)
    assert batch.counts == RequestCounts(succeeded=20, errored=len(BAD))
    assert all(lines[name]["type"] == "succeeded" for name in good)
    for name, (_, error_type, words) in BAD.items():
        envelope = lines[name]["error"]
        assert list(envelope) == ["type", "error", "request_id"]
        assert list(envelope["error"]) == ["type", "message"]
        assert envelope["request_id"].startswith("req_")
        assert envelope["error"]["type"] == error_type, name
        assert words in envelope["error"]["message"], name
    assert set(worker.backend.counts()) == set(good)


async def test_sampling_follows_the_version_of_the_create_call(tmp_path: Path) -> None:
    """Section 16 rows 2 and 3: the batch's terms govern, hours later; a route may allow more."""
    routes = (Route(id="m", backend="scripted"), Route(id="local", backend="scripted", allow_sampling=True))
    requests: dict[str, dict[str, Any]] = {
        "plain": {"temperature": 0.5},
        "local": {"temperature": 0.5, "model": "local"},
    }
    async with working(tmp_path, routes=routes) as worker:
        old = await worker.ended(await worker.create(requests))
        new = await worker.ended(await worker.create(requests, terms=Terms(version="2026-10-21")))
        assert {name: line["type"] for name, line in (await worker.lines(old)).items()} == {
            "plain": "succeeded",
            "local": "succeeded",
        }
        lines = await worker.lines(new)
    assert lines["local"]["type"] == "succeeded"
    assert lines["plain"]["error"]["error"]["message"] == "temperature: Extra inputs are not permitted"


async def test_what_the_request_may_have_caused_is_tried_five_times(tmp_path: Path) -> None:
    """X2, X7: then it is errored with the attempt's own type; no failure of one costs another anything."""

    async def answer(call: Call) -> dict[str, Any]:
        if call.custom_id == "slow":
            raise AttemptFailedError("timeout", WireTimeoutError())
        if call.custom_id == "flaky" and call.attempt < 3:
            raise AttemptFailedError("500", APIError())
        return message()

    async with working(tmp_path, answer) as worker:
        batch = await worker.ended(await worker.create({"slow": {}, "flaky": {}, "fine": {}}))
        lines = await worker.lines(batch)
    assert worker.backend.counts() == {"slow": ATTEMPTS_MAX, "flaky": 3, "fine": 1}
    assert lines["slow"]["error"]["error"]["type"] == "timeout_error"
    assert lines["flaky"]["type"] == lines["fine"]["type"] == "succeeded"


async def test_what_the_backend_refuses_is_errored_at_once(tmp_path: Path) -> None:
    """X7: a 4xx of the request itself is its result."""

    async def answer(call: Call) -> dict[str, Any]:
        if call.custom_id == "long":
            raise InvalidRequestError("prompt is too long: 9 tokens > 8 maximum")
        raise NotFoundError("model: m")

    async with working(tmp_path, answer) as worker:
        batch = await worker.ended(await worker.create({"long": {}, "gone": {}}))
        lines = await worker.lines(batch)
    assert worker.backend.counts() == {"long": 1, "gone": 1}
    assert lines["long"]["error"]["error"]["message"] == "prompt is too long: 9 tokens > 8 maximum"
    assert lines["gone"]["error"]["error"]["type"] == "not_found_error"


async def test_a_backend_that_is_away_costs_a_request_nothing(tmp_path: Path) -> None:
    """X7: far more refusals than a request has attempts, and it succeeds when the backend is back."""
    refusals = 0

    async def answer(_call: Call) -> dict[str, Any]:
        nonlocal refusals
        if refusals < 3 * ATTEMPTS_MAX:
            refusals += 1
            raise BackendAwayError("429", full=True)
        return message()

    async with working(tmp_path, answer, in_flight=4) as worker:
        batch = await worker.ended(await worker.create({f"r{n}": {} for n in range(4)}))
    assert batch.counts == RequestCounts(succeeded=4)


async def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    """X7: no earlier than the backend asked for."""

    async def answer(call: Call) -> dict[str, Any]:
        if call.attempt == 1:
            raise BackendAwayError("503", retry_after_seconds=0.4)
        return message()

    async with working(tmp_path, answer) as worker:
        await worker.ended(await worker.create({"a": {}}))
    (_, first), (_, second) = worker.backend.calls
    assert second - first >= 0.4


async def test_an_error_of_our_own_becomes_one_line_and_stops_nobody(tmp_path: Path) -> None:
    """S8: an unexpected exception is that request's `api_error`, and tells the client nothing."""

    async def answer(call: Call) -> dict[str, Any]:
        if call.custom_id == "bug":
            raise ZeroDivisionError("secret detail")
        return await echo(call)

    async with working(tmp_path, answer) as worker:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        batch = await worker.ended(await worker.create({"bug": {}, "fine": {}}))
        lines = await worker.lines(batch)
    assert lines["fine"]["type"] == "succeeded"
    assert lines["bug"]["error"]["error"] == {"type": "api_error", "message": "Internal server error"}
    assert len(faults) == 1


async def test_usage_of_the_lines_is_the_ledger_to_the_nanodollar(tmp_path: Path) -> None:
    """S4, M1: Σ over succeeded lines = the batch's charges = the ledger; errored requests are free."""

    async def answer(call: Call) -> dict[str, Any]:
        if call.custom_id == "bad":
            raise InvalidRequestError("no")
        return message(cache_read_input_tokens=100)

    async with working(tmp_path, answer) as worker:
        batch = await worker.ended(await worker.create({**{f"r{n}": {} for n in range(30)}, "bad": {}}))
        (charge,) = await worker.store.charges(WORKSPACE, batch.id)
        (row,) = await worker.store.usage(WORKSPACE)
    assert charge.requests == 30
    assert charge.usage.input_tokens == 300
    assert charge.usage.cache_read_input_tokens == 3_000
    assert charge.cost_nanousd == 30 * (10 * 1_000 + 5 * 5_000 + 100 * 100) // 2
    assert row.charge == charge
    assert row.tier == "batch"


async def test_a_generation_longer_than_its_lease_is_not_taken_away(tmp_path: Path) -> None:
    """X4: leases end because nobody renews them, never by age."""
    gate = asyncio.Event()

    async def answer(_call: Call) -> dict[str, Any]:
        await gate.wait()
        return message()

    async with working(tmp_path, answer, lease_seconds=1) as worker:
        batch = await worker.create({"long": {}})
        await until(lambda: worker.backend.calls)
        began = worker.clock.monotonic()
        await until(lambda: worker.clock.monotonic() - began > 2.5)
        gate.set()
        await worker.ended(batch)
    assert worker.backend.counts() == {"long": 1}


async def test_one_request_of_a_shared_prefix_goes_ahead_of_the_others(tmp_path: Path) -> None:
    """Scheduling: the first of a prefix group has its answer before the second is sent."""
    running = most_before_first_answer = answers = 0

    async def answer(_call: Call) -> dict[str, Any]:
        nonlocal running, most_before_first_answer, answers
        running += 1
        if not answers:
            most_before_first_answer = max(most_before_first_answer, running)
        await SystemClock().sleep(0.01)  # an answer takes time
        running -= 1
        answers += 1
        return message()

    async with working(tmp_path, answer) as worker:
        batch = await worker.create({f"r{n}": {"system": "same " * 2_000} for n in range(20)})
        assert (await worker.ended(batch)).counts.succeeded == 20
    assert most_before_first_answer == 1


@pytest.mark.parametrize("size", [1, 256, 257, 1_000])
async def test_results_are_one_fixed_sequence_of_bytes_before_and_after_compaction(tmp_path: Path, size: int) -> None:
    """R1, S3: same bytes, same ETag, any range; LF only, no blank line (R3)."""
    async with working(tmp_path) as worker:
        batch = await worker.ended(await worker.create({f"r{n}": {} for n in range(size)}))
        first = await worker.batches.results(WORKSPACE, batch.id)
        before = b"".join([piece async for piece in first.body()])
        await worker.sweeper.round()
        second = await worker.batches.results(WORKSPACE, batch.id)
        after = b"".join([piece async for piece in second.body()])
        stale = b"".join([piece async for piece in first.body(10, 500)])
        assert len(second.ranges) == 1
    assert before == after
    assert stale == before[10:510]
    assert (first.etag, first.length) == (second.etag, second.length)
    assert before.endswith(b"\n")
    assert b"\r" not in before
    assert b"\n\n" not in before


async def test_a_retried_create_is_the_same_batch_and_an_unmarked_one_is_new(tmp_path: Path) -> None:
    """D3: retry marker or idempotency key; also when both calls run at the same time."""
    async with working(tmp_path, running=False) as worker:
        first = await worker.create({"a": {}})
        again = await worker.create({"a": {}}, retried=True)
        fresh = await worker.create({"a": {}})
        keyed = await asyncio.gather(*(worker.create({"b": {}}, idempotency_key="k") for _ in range(4)))
        with pytest.raises(InvalidRequestError):
            await worker.create({"c": {}}, idempotency_key="k")
        kept = {path.name for path in (tmp_path / "blobs" / "requests").rglob("*") if path.is_file()}
    assert again.id == first.id != fresh.id
    assert len({batch.id for batch in keyed}) == 1
    assert len(kept) == 3


async def test_a_refused_create_leaves_nothing(tmp_path: Path) -> None:
    """D2: no row, no bytes, no spool."""
    async with working(tmp_path, running=False) as worker:
        for body in (b"{", b'{"requests":[]}', b'{"requests":[' + b'{"custom_id":"a","params":{}},' * 60_000 + b"{}]}"):
            with pytest.raises(InvalidRequestError):
                await worker.send(body)
        assert not list(worker.directory.iterdir())
        assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
        assert (await worker.batches.page(WORKSPACE, limit=10)).items == ()


async def test_a_large_body_is_split_in_a_process_and_comes_out_the_same(tmp_path: Path) -> None:
    """D1: above the inline limit the same requests arrive, in plan order, byte for byte."""
    async with working(tmp_path, in_flight=64) as worker:
        batch = await worker.create({f"r{n}": {"system": f"{n} " * 400} for n in range(800)})
        lines = await worker.lines(await worker.ended(batch))
    assert {line["message"]["content"][0]["text"] for line in lines.values()} == {f"this is r{n}" for n in range(800)}


async def test_expiry_is_to_the_microsecond_after_creation(tmp_path: Path) -> None:
    """T1."""
    async with working(tmp_path, running=False, expires_after=timedelta(hours=24)) as worker:
        batch = await worker.create({"a": {}})
        found = await worker.batches.retrieve(WORKSPACE, batch.id)
    assert found.expires_at - found.created_at == timedelta(hours=24)


async def test_a_stored_request_that_was_damaged_is_an_error_and_never_content(tmp_path: Path) -> None:
    """D5: a flipped bit on disk does not become another prompt; its neighbours are sent as they were."""
    async with working(tmp_path, running=False) as worker:
        batch = await worker.create({f"r{n}": {} for n in range(5)})
        (blob,) = [path for path in (tmp_path / "blobs" / "requests").rglob("*") if path.is_file()]
        data = bytearray(blob.read_bytes())
        data[data.index(b"this is r2") + 3] ^= 0x02
        blob.write_bytes(data)
    async with working(tmp_path) as worker:
        lines = await worker.lines(await worker.ended(batch))
    assert lines["r2"]["error"]["error"]["type"] == "api_error"
    assert "damaged" in lines["r2"]["error"]["error"]["message"]
    assert [lines[f"r{n}"]["type"] for n in (0, 1, 3, 4)] == ["succeeded"] * 4
    assert set(worker.backend.counts()) == {"r0", "r1", "r3", "r4"}


async def test_a_batch_whose_requests_cannot_be_read_holds_up_nobody(tmp_path: Path) -> None:
    """S8 for batches: its shards are given back and looked at again later; others run."""
    async with working(tmp_path, running=False) as worker:
        lost = await worker.create({"a": {}})
        (blob,) = [path for path in (tmp_path / "blobs" / "requests").rglob("*") if path.is_file()]
        blob.unlink()
    async with working(tmp_path) as worker:
        fine = await worker.ended(await worker.create({"b": {}}))
        assert fine.counts.succeeded == 1
        assert (await worker.batches.retrieve(WORKSPACE, lost.id)).processing_status == "in_progress"
        await until(lambda: worker.dispatcher.held == 0)


async def test_a_request_larger_than_a_synchronous_one_may_be_is_its_own_error(tmp_path: Path) -> None:
    """S8, contract §1.8 and §12: 32 MB holds for each request; a larger one has its own shard and error."""
    async with working(tmp_path) as worker:
        batch = await worker.ended(await worker.create({"large": {"system": "x" * 2**25}, "fine": {}}))
        lines = await worker.lines(batch)
    assert lines["large"]["error"]["error"]["type"] == "request_too_large"
    assert lines["fine"]["type"] == "succeeded"


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "lost"])
async def test_results_that_vanish_during_a_download_break_it_off(tmp_path: Path, *, deleted: bool) -> None:
    """R2, R4: an error for the edge to cut the connection with, never a shorter body and never an endless search."""
    async with working(tmp_path) as worker:
        batch = await worker.ended(await worker.create({f"r{n}": {} for n in range(5)}))
        delivery = await worker.batches.results(WORKSPACE, batch.id)
        if deleted:
            await worker.batches.delete(WORKSPACE, batch.id)
        else:
            for path in (tmp_path / "blobs" / "results").rglob("*"):
                if path.is_file():
                    path.unlink()
        with pytest.raises(FileNotFoundError):
            async with asyncio.timeout(5):
                [piece async for piece in delivery.body()]


async def test_no_batch_is_passed_over_however_many_there_are(tmp_path: Path) -> None:
    """L2, fairness: a small batch that comes after a hundred large ones is done long before they are."""

    async def answer(call: Call) -> dict[str, Any]:
        await SystemClock().sleep(0.02)
        return await echo(call)

    async with working(tmp_path, running=False) as worker:
        for number in range(100):
            await worker.create({f"b{number}-r{n}": {} for n in range(300)})
    async with working(tmp_path, answer, in_flight=16) as worker:
        small = await worker.create({f"r{n}": {} for n in range(10)})
        await worker.ended(small)
        done = len(worker.backend.calls)
    assert done < 5_000


async def test_a_url_goes_to_a_backend_only_where_the_operator_says_so(tmp_path: Path) -> None:
    """E1, S8: fetched by us or refused by default, passed on with `pass_urls`."""
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    routes = (Route(id="m", backend="scripted"), Route(id="fetching", backend="scripted", pass_urls=True))
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": [picture]}]}
    async with working(tmp_path, routes=routes) as worker:
        batch = await worker.ended(await worker.create({"a": asked, "b": {**asked, "model": "fetching"}}))
        lines = await worker.lines(batch)
    assert lines["a"]["error"]["error"]["type"] == "invalid_request_error"
    assert lines["b"]["type"] == "succeeded"
    assert set(worker.backend.counts()) == {"b"}
