"""The composition root: a server starts, works, stops in order, and does not outlive its store."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from slackwater.blobs import LocalBlobs
from slackwater.config import Settings, load, with_stand_in
from slackwater.main import serve
from slackwater.store import Store, StoreFailedError
from support.gguf import tiny_model


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Put logging back: a server sets it up for its whole process, which it shares with other tests here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def settings(directory: Path) -> Settings:
    config = directory / "slackwater.toml"
    config.write_text('[[backends]]\nname = "sim"\nprotocol = "simulated"\nlatency_ms = 1\n')
    return load(config, {}, {"server": {"port": 0}, "storage": {"data_dir": directory / "data"}})


async def test_a_server_starts_and_stops_on_a_signal(tmp_path: Path) -> None:
    """A6, L4: the first start tells a key once, the second none; SIGTERM ends it without an error."""
    told: list[tuple[str, str | None]] = []

    def ready(url: str, key: str | None) -> None:
        told.append((url, key))
        os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(2):
        async with asyncio.timeout(30):
            await serve(settings(tmp_path), on_ready=ready)
    (url, first), (_, second) = told
    assert url.startswith("http://127.0.0.1:")
    assert first is not None
    assert first.startswith("slw_")
    assert second is None


async def test_a_toy_that_stands_in_answers_under_any_name_and_is_named_by_every_answer(tmp_path: Path) -> None:
    """A real server with a real engine: the answer has the client's model name, its header the toy's."""
    toy = tiny_model(tmp_path / "toy.gguf")
    nothing = load(None, {}, {"server": {"port": 0}, "storage": {"data_dir": tmp_path / "data"}})
    count = {"model": "claude-x", "messages": [{"role": "user", "content": "Hi"}]}
    body = {**count, "max_tokens": 4}
    told: dict[str, tuple[str | None, dict[str, Any]]] = {}

    def call(url: str, key: str) -> None:
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
            for path, content in (("/v1/messages", body), ("/v1/messages/count_tokens", count), ("/v1/models", None)):
                answer = client.get(path) if content is None else client.post(path, json=content)
                assert answer.status_code == 200, answer.text
                told[path] = (answer.headers.get("slackwater-stand-in"), answer.json())

    def ready(url: str, key: str | None) -> None:
        calling = asyncio.get_running_loop().run_in_executor(None, call, url, key)
        calling.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGTERM))

    async with asyncio.timeout(60):
        await serve(with_stand_in(nothing, "toy-demo", toy, "toy-demo (toy)"), on_ready=ready)
    named, message = told["/v1/messages"]
    assert (named, message["model"]) == ("toy-demo", "claude-x")
    assert told["/v1/messages/count_tokens"][0] == "toy-demo"
    named, models = told["/v1/models"]
    (model,) = models["data"]
    assert (named, model["id"], model["display_name"]) == (None, "toy-demo", "toy-demo (toy)")
    assert model["max_input_tokens"] == 2048


@pytest.mark.parametrize("place", [Store, LocalBlobs])
async def test_a_server_whose_storage_failed_ends_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: type
) -> None:
    """D6: it does not go on as if nothing had happened; the supervisor's restart looks through the database."""
    failed = StoreFailedError("fsync: Input/output error")

    def ready(_url: str, _key: str | None) -> None:
        monkeypatch.setattr(place, "failure", failed)

    async with asyncio.timeout(30):
        with pytest.raises(ExceptionGroup) as caught:
            await serve(settings(tmp_path), on_ready=ready)
    assert caught.group_contains(StoreFailedError, match="Input/output")
