"""Request bodies: codings, charsets, limits, and what is left on disk (contract §1.4, §1.7, §1.8; B4, B5)."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.api import encodings
from slackwater.domain.errors import InvalidRequestError
from support.api import SMALL, World

CREATE = "/v1/messages/batches"
BODY = b'{"requests":[{"custom_id":"row-0","params":{}}]}'


def raw_deflate(data: bytes) -> bytes:
    """Compress without zlib's header, as some clients do under the name `deflate`."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def zstd(data: bytes, level: int = 3) -> bytes:
    """Compress as one frame."""
    return zstandard.ZstdCompressor(level=level).compress(data)


def halves(data: bytes) -> tuple[bytes, bytes]:
    """Cut in the middle."""
    return data[: len(data) // 2], data[len(data) // 2 :]


FIRST, SECOND = halves(BODY)
ENCODED = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "x-gzip in capitals": ("X-GZIP", gzip.compress(BODY)),
    "gzip of two members": ("gzip", gzip.compress(FIRST) + gzip.compress(SECOND)),
    "gzip with an empty member": ("gzip", gzip.compress(b"") + gzip.compress(BODY)),
    "zlib": ("deflate", zlib.compress(BODY)),
    "raw deflate": ("deflate", raw_deflate(BODY)),
    "zstd": ("zstd", zstd(BODY)),
    "zstd of two frames": ("zstd", zstd(FIRST) + zstd(SECOND)),
    "identity": ("identity", BODY),
    "identity and gzip": ("identity, gzip", gzip.compress(BODY)),
    "nothing named": ("", BODY),
}


@pytest.mark.parametrize("name", ENCODED)
async def test_a_coded_body_is_decoded_and_its_digest_is_that_of_the_decoded_bytes(world: World, name: str) -> None:
    """Contract §1.7; the fake step checks the digest."""
    coding, content = ENCODED[name]
    async with world.client() as client:
        response = await client.post(CREATE, content=content, headers={"content-encoding": coding})
        message = await client.post("/v1/messages", content=content, headers={"content-encoding": coding})
    assert (response.status_code, message.status_code) == (200, 200)
    assert world.admit.bodies == [BODY]
    assert world.interactive.bodies == [BODY]


BROKEN = {
    "gzip cut short": ("gzip", gzip.compress(BODY)[:-4]),
    "gzip with rubbish behind": ("gzip", gzip.compress(BODY) + b"rubbish"),
    "gzip that is not": ("gzip", BODY),
    "gzip of nothing": ("gzip", b""),
    "gzip with a wrong checksum": ("gzip", gzip.compress(BODY)[:-8] + b"\0" * 8),
    "gzip of too many members": ("gzip", gzip.compress(b"") * (encodings.MEMBERS_MAX + 1)),
    "zlib cut short": ("deflate", zlib.compress(BODY)[:-1]),
    "deflate with rubbish behind": ("deflate", zlib.compress(BODY) + b"rubbish"),
    "deflate that is not": ("deflate", b"\xff" * 50),
    "deflate of one byte": ("deflate", b"x"),
    "zstd cut short": ("zstd", zstd(BODY)[:-1]),
    "zstd that is not": ("zstd", BODY),
    "zstd of nothing": ("zstd", b""),
    "zstd with a window of 128 MiB": (
        "zstd",
        zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
        )
        .compressobj()
        .compress(b"")
        + b"\x28\xb5\x2f\xfd\x00\x88",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_body_that_is_not_what_its_coding_says_is_a_400_with_its_code(world: World, name: str) -> None:
    """B5."""
    coding, content = BROKEN[name]
    async with world.client() as client:
        response = await client.post(CREATE, content=content, headers={"content-encoding": coding})
    assert response.status_code == 400
    assert response.json()["error"]["details"] == {"error_code": "request_body_encoding_invalid"}
    assert not list(world.services.spool_dir.iterdir())


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "gzip,zstd", "compress", "*"])
async def test_unknown_and_stacked_codings_are_refused(world: World, coding: str) -> None:
    """B5."""
    async with world.client() as client:
        response = await client.post(CREATE, content=BODY, headers={"content-encoding": coding})
    assert response.status_code == 400
    assert response.json()["error"]["details"] == {"error_code": "request_body_encoding_unsupported"}


@pytest.mark.parametrize(("path", "limit"), [(CREATE, 1000), ("/v1/messages", 500)])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
async def test_the_limit_is_on_decoded_bytes_to_the_byte(world: World, path: str, limit: int, coding: str) -> None:
    """Detail 27, B4: at the limit is fine, one more is 413 with its own code."""
    world.reconfigure(limits=SMALL)
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd}[coding]
    headers = {"content-encoding": coding}
    async with world.client() as client:
        fits = await client.post(path, content=compress(b"{" + b" " * (limit - 2) + b"}"), headers=headers)
        exceeds = await client.post(path, content=compress(b"{" + b" " * (limit - 1) + b"}"), headers=headers)
    assert fits.status_code == 200
    assert exceeds.status_code == 413
    assert exceeds.json()["error"] == {
        "type": "request_too_large",
        "message": "Request exceeds the maximum size",
        "details": {"error_code": "request_body_too_large_after_decoding"},
    }


async def endless() -> AsyncIterator[bytes]:
    """Send more than any limit, in chunks, without saying how much it will be."""
    for _ in range(1000):
        yield b"1" * 100


async def test_a_chunked_body_is_measured_while_it_streams(world: World) -> None:
    """B4: no Content-Length to believe."""
    world.reconfigure(limits=SMALL)
    async with world.client() as client:
        response = await client.post(CREATE, content=endless())
    assert response.status_code == 413
    assert not list(world.services.spool_dir.iterdir())


@pytest.mark.parametrize(("coding", "make"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd)])
async def test_a_bomb_is_stopped_at_the_limit_in_bounded_steps(
    world: World, coding: str, make: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5: 64 MiB of zeros; no step holds more than 4 MiB, and nothing is decoded far beyond the limit."""
    bomb = make(bytes(64 * 2**20))  # type: ignore[operator]  # each compressor takes bytes
    steps: list[int] = []
    kind = {"gzip": encodings.Gzip, "deflate": encodings.Deflate, "zstd": encodings.Zstd}[coding]
    feed = kind.feed

    def watched(self: encodings.Gzip, data: bytes) -> object:
        for step in feed(self, data):  # type: ignore[arg-type]  # whichever it is
            steps.append(len(step))
            yield step

    monkeypatch.setattr(kind, "feed", watched)
    async with world.client() as client:
        response = await client.post("/v1/messages", content=bomb, headers={"content-encoding": coding})
    assert response.status_code == 413
    assert max(steps) <= 4 * 2**20
    assert sum(steps) <= world.services.limits.message_body_bytes_max + 4 * 2**20


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=5000),
    coding=st.sampled_from(["gzip", "deflate", "raw", "zstd"]),
    cuts=st.lists(st.integers(0, 6000), max_size=8),
)
def test_decoding_does_not_depend_on_where_the_bytes_are_cut(data: bytes, coding: str, cuts: list[int]) -> None:
    """A network cuts anywhere."""
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": raw_deflate, "zstd": zstd}[coding]
    decoder = encodings.decoder(["deflate" if coding == "raw" else coding])
    assert decoder is not None
    encoded = compress(data)
    edges = [0, *sorted(min(cut, len(encoded)) for cut in cuts), len(encoded)]
    parts = [encoded[start:stop] for start, stop in pairwise(edges)]
    assert b"".join(step for part in parts for step in decoder.feed(part)) == data
    decoder.finish()


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), coding=st.sampled_from(["gzip", "deflate", "zstd"]))
def test_rubbish_is_refused_or_decoded_but_never_fails_otherwise(data: bytes, coding: str) -> None:
    """B5: bad input is a 400, never a 500."""
    decoder = encodings.decoder([coding])
    assert decoder is not None
    refusal = None
    try:
        for _ in decoder.feed(data):
            pass
        decoder.finish()
    except InvalidRequestError as error:
        refusal = error.error_code
    assert refusal in {None, "request_body_encoding_invalid"}


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=2000),
    coding=st.sampled_from(["gzip", "deflate", "raw", "zstd"]),
    at=st.floats(0, 1, exclude_max=True),
    wrong=st.binary(max_size=3),
    cut=st.integers(1, 700),
)
def test_a_damaged_body_is_refused_or_decoded_within_bounds(
    data: bytes, coding: str, at: float, wrong: bytes, cut: int
) -> None:
    """B5: bytes changed, put in or left out of what was valid; each step is bounded, and only a typed error comes."""
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": raw_deflate, "zstd": zstd}[coding]
    whole = compress(data)
    place = int(at * len(whole))
    damaged = whole[:place] + wrong + whole[place + 1 :]
    decoder = encodings.decoder(["deflate" if coding == "raw" else coding])
    assert decoder is not None
    refusal = None
    try:
        for start in range(0, len(damaged), cut):
            for step in decoder.feed(damaged[start : start + cut]):
                assert len(step) <= 4 * 2**20
        decoder.finish()
    except InvalidRequestError as error:
        refusal = error.error_code
    assert refusal in {None, "request_body_encoding_invalid"}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=us-ascii",
        "application/json; charset=",
        "text/plain",
        None,
    ],
)
async def test_utf8_and_ascii_bodies_pass_as_they_are(world: World, content_type: str | None) -> None:
    """Contract §1.4."""
    headers = {} if content_type is None else {"content-type": content_type}
    async with world.client() as client:
        response = await client.post(CREATE, content='{"ü":1}'.encode(), headers=headers)
    assert response.status_code == 200
    assert world.admit.bodies == ['{"ü":1}'.encode()]


async def test_a_latin1_body_is_transcoded(world: World) -> None:
    """Contract §1.4; the steps only know UTF-8."""
    headers = {"content-type": "application/json; charset=ISO-8859-1", "content-encoding": "gzip"}
    async with world.client() as client:
        await client.post(CREATE, content=gzip.compress('{"ü":1}'.encode("latin-1")), headers=headers)
    assert world.admit.bodies == ['{"ü":1}'.encode()]


@pytest.mark.parametrize("charset", ["utf-16", "shift_jis", "cp1252", "x" * 200])
async def test_any_other_charset_is_a_400_with_its_code(world: World, charset: str) -> None:
    """Contract §1.4."""
    async with world.client() as client:
        headers = {"content-type": f"application/json; charset={charset}"}
        response = await client.post(CREATE, content=b"{}", headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["details"] == {"error_code": "unsupported_charset"}


async def test_a_large_body_reaches_the_disk_whole(world: World) -> None:
    """More than one write."""
    body = bytes(range(256)) * 4096 * 3
    async with world.client() as client:
        response = await client.post(CREATE, content=body)
    assert response.status_code == 200
    assert world.admit.bodies == [body]


async def test_two_creates_at_once_do_not_share_a_spool(world: World) -> None:
    """Files are named by the request id."""
    async with world.client() as client:
        await asyncio.gather(*(client.post(CREATE, content=BODY + b" " * n) for n in range(8)))
    assert len({spool.name for spool in world.admit.spools}) == 8
    assert sorted(map(len, world.admit.bodies)) == [len(BODY) + n for n in range(8)]
