"""Images on the real engine: what it sees, what it refuses, and what it must never be asked to fetch."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends.llamacpp import LocalEngines, LocalModel
from slackwater.backends.llamacpp.backend import LlamaCppBackend
from slackwater.clock import SystemClock
from slackwater.domain.errors import InvalidRequestError
from support.engine import WEATHER, asked, events_of, image, local, said

LOOK = {"type": "text", "text": "What is it?"}


async def test_images_are_seen_and_counted(tmp_path: Path) -> None:
    """In a turn, in a document, in the result of a tool: the count is what is read, and each image adds to it."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image()]}
    document = {"type": "document", "source": {"type": "content", "content": [LOOK, image()]}}
    history = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    async with local(tmp_path, sees=True) as backend:
        blind = await backend.count_tokens(asked([LOOK]))
        assert blind is not None
        for call, images in (
            (asked([image(), LOOK]), 1),
            (asked([image(), LOOK, image(color=(1, 2, 3)), image(width=50)]), 3),
            (asked([document]), 1),
            (asked(messages=history, tools=[WEATHER]), 1),
        ):
            counted = await backend.count_tokens(call)
            assert counted is not None
            assert counted > blind + 14 * images
            for _ in range(2):
                message = await backend.infer(call)
                assert said(message)
                usage = message["usage"]
                assert usage["input_tokens"] + usage["cache_read_input_tokens"] == counted


async def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    """Bytes of something else: a 400 for the request and not a failure of ours."""
    odd = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64encode(b"?").decode()}}
    async with local(tmp_path, sees=True) as backend:
        with pytest.raises(InvalidRequestError, match="image"):
            await backend.infer(asked([odd, LOOK]))
        with pytest.raises(InvalidRequestError, match="image"):
            await events_of(backend, asked([odd, LOOK]))
        with pytest.raises(InvalidRequestError, match="image"):
            await backend.count_tokens(asked([odd, LOOK]))
        assert said(await backend.infer(asked([image(), LOOK])))


async def test_a_model_without_eyes_refuses_images_by_their_path(tmp_path: Path) -> None:
    """Before the engine is asked, and also where it would only be counted."""
    async with local(tmp_path) as backend:
        for attempt in (backend.infer, backend.count_tokens):
            with pytest.raises(InvalidRequestError, match=r"^messages\.0\.content\.1\.image: this model cannot see"):
                await attempt(asked([LOOK, image()]))


@pytest.mark.parametrize(
    "source", [{"type": "url", "url": "http://127.0.0.1:1/x.png"}, {"type": "file", "file_id": "f"}]
)
async def test_the_engine_never_fetches(tmp_path: Path, source: dict[str, Any]) -> None:
    """E1: addresses and file ids never reach it."""
    async with local(tmp_path, sees=True) as backend:
        with pytest.raises(InvalidRequestError, match=r"^messages\.0\.content\.0\.image\.source: "):
            await backend.infer(asked([{"type": "image", "source": source}, LOOK]))


async def test_fetching_cannot_even_be_configured(tmp_path: Path) -> None:
    """E1: `pass_urls` is for a hosted API outside one's own network."""
    clock = SystemClock()
    engine = LocalEngines(clock=clock).add(LocalModel(name="tiny", path=tmp_path / "none.gguf"))
    with pytest.raises(ValueError, match="pass_urls"):
        LlamaCppBackend(engines=[engine], new_id=str, clock=clock, pass_urls=True)


async def test_a_text_that_spells_an_image_s_mark_is_a_text(tmp_path: Path) -> None:
    """The template puts a mark where an image goes; a client cannot."""
    async with local(tmp_path, sees=True) as backend:
        assert said(await backend.infer(asked("<__media__> and <__media_x__>")))
