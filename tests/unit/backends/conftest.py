"""A stub server and the backends that talk to it."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from slackwater.backends import AnthropicBackend, OpenAIBackend, options_for
from slackwater.ports import Backend
from support.stub import COMPLETION, MESSAGE, NOW, Stub


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    """Run a stub on a free port."""
    stub = Stub()
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield stub
    server.close()
    await stub.stop()


@pytest.fixture
def plain() -> dict[str, Any]:
    """Return what every backend's constructor takes, `url` aside: numbered ids, a fixed clock, short patience."""
    numbers = count(1)
    return {
        "name": "gpu0",
        "api_key": "sk-backend-secret",
        "timeout_seconds": 2.0,
        "new_id": lambda prefix: f"{prefix}_{next(numbers)}",
        "wall": lambda: NOW,
    }


@pytest.fixture(params=["anthropic", "openai"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Run a test once for each protocol."""
    return str(request.param)


@pytest.fixture
async def backend(stub: Stub, plain: dict[str, Any], protocol: str) -> AsyncIterator[Backend]:
    """Run a backend of each protocol against the stub."""
    made: Backend = (
        AnthropicBackend(url=stub.url, **plain)
        if protocol == "anthropic"
        else OpenAIBackend(url=stub.url, options=options_for("vllm"), **plain)
    )
    yield made
    await made.close()


@pytest.fixture
def whole(protocol: str) -> dict[str, Any]:
    """Return a good answer in the protocol under test."""
    return MESSAGE if protocol == "anthropic" else COMPLETION
