"""Ranges of the results (R1, B10)."""

import hashlib
import time

import pytest

from support.api import World, make_ended

RESULTS = "/v1/messages/batches/a/results"
CONTENT = bytes(range(256)) * 4
TAG = '"msgbatch_01A.1"'


@pytest.fixture(autouse=True)
def ended(world: World) -> None:
    """Have results of 1,024 bytes."""
    world.batches.batches["a"] = make_ended("a")
    world.batches.delivery.content = CONTENT


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, 1024),
        ("bytes=-7", 1017, 1024),
        ("bytes=-5000", 0, 1024),
        ("bytes=1000-5000", 1000, 1024),
        ("bytes=1023-", 1023, 1024),
        ("Bytes = 3 - 4", 3, 5),
    ],
)
async def test_one_range_gets_a_206_with_exactly_those_bytes(world: World, asked: str, start: int, stop: int) -> None:
    """R1: a resume gives the same bytes; the source is only asked for them."""
    async with world.client() as client:
        response = await client.get(RESULTS, headers={"range": asked})
    assert response.status_code == 206
    assert response.content == CONTENT[start:stop]
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
    assert response.headers["content-length"] == str(stop - start)
    assert response.headers["content-type"] == "application/x-jsonl"
    assert world.batches.delivery.asked == [(start, stop - start)]


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=9999-10000", "bytes=-0"])
async def test_a_range_outside_is_a_416_envelope_that_tells_the_length(world: World, asked: str) -> None:
    """RFC 9110 §15.5.17, with our envelope."""
    async with world.client() as client:
        response = await client.get(RESULTS, headers={"range": asked})
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */1024"
    assert response.json()["error"] == {
        "type": "invalid_request_error",
        "message": "Requested range not satisfiable",
    }
    assert response.json()["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=5-2", "bytes=-", "lines=1-2", "bytes", "bytes=a-b", "bytes=1-2-3", ""]
)
async def test_several_ranges_and_nonsense_get_everything(world: World, asked: str) -> None:
    """B10: many ranges are an amplifier, and what is not understood is to be ignored."""
    async with world.client() as client:
        response = await client.get(RESULTS, headers={"range": asked})
    assert (response.status_code, response.content) == (200, CONTENT)
    assert "content-range" not in response.headers


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 206), ('"other"', 200), (f"W/{TAG}", 200), ("Sun, 22 Nov 2026 09:00:00 GMT", 200)],
)
async def test_if_range_gives_a_part_only_of_the_same_bytes(world: World, condition: str, status: int) -> None:
    """R1: the tag is strong; a date is not one."""
    async with world.client() as client:
        response = await client.get(RESULTS, headers={"range": "bytes=1-2", "if-range": condition})
    assert response.status_code == status


async def test_a_resumed_download_is_the_same_sequence_of_bytes(world: World) -> None:
    """R1: SHA-256 of the pieces together."""
    digest = hashlib.sha256()
    async with world.client() as client:
        for start in range(0, 1024, 300):
            headers = {"range": f"bytes={start}-{start + 299}", "if-range": TAG}
            digest.update((await client.get(RESULTS, headers=headers)).content)
    assert digest.digest() == hashlib.sha256(CONTENT).digest()


async def test_a_range_of_empty_results_is_a_416_and_all_of_them_are_a_200(world: World) -> None:
    """An empty body is fine for the SDKs (contract §4.6 rule 5)."""
    world.batches.delivery.content = b""
    async with world.client() as client:
        whole = await client.get(RESULTS)
        part = await client.get(RESULTS, headers={"range": "bytes=0-"})
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"", "0")
    assert part.status_code == 416


async def test_head_of_results_reads_nothing(world: World) -> None:
    """The length without the bytes."""
    async with world.client() as client:
        response = await client.head(RESULTS)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "1024"
    assert world.batches.delivery.asked == []


async def test_ten_thousand_ranges_cost_nothing(world: World) -> None:
    """B10: below 5 ms, here with room for a busy machine."""
    header = "bytes=" + ",".join("0-1" for _ in range(7000))
    async with world.client() as client:
        await client.get(RESULTS)
        begun = time.perf_counter()
        response = await client.get(RESULTS, headers={"range": header})
        took = time.perf_counter() - begun
    assert (response.status_code, len(response.content)) == (200, 1024)
    assert took < 0.25
