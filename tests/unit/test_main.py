"""The composition root: a server starts, works, stops in order, and does not outlive its store."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from slackwater.config import Settings, load
from slackwater.main import serve
from slackwater.store import Store, StoreFailedError


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


async def test_a_server_whose_storage_failed_ends_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D6: it does not go on as if nothing had happened; the supervisor's restart looks through the database."""
    failed = StoreFailedError("fsync: Input/output error")

    def ready(_url: str, _key: str | None) -> None:
        monkeypatch.setattr(Store, "failure", failed)

    async with asyncio.timeout(30):
        with pytest.raises(ExceptionGroup) as caught:
            await serve(settings(tmp_path), on_ready=ready)
    assert caught.group_contains(StoreFailedError, match="Input/output")
