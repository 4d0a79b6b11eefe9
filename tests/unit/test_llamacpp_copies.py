"""A model in several processes: which of them a call goes to. The engine is real."""

import asyncio
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends.llamacpp import why_not
from slackwater.backends.llamacpp.backend import LlamaCppBackend
from slackwater.backends.llamacpp.process import EngineProcess
from slackwater.ports import Call
from support.engine import asked, local

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

PREFIX = "Read all of this before you answer, and then answer in one word. " * 8


def processes(backend: LlamaCppBackend) -> list[EngineProcess]:
    """Return the copies that run."""
    return [copy.engine._process for copy in backend._copies if copy.engine._process is not None]


async def test_calls_at_once_go_to_different_processes_and_one_after_the_other_needs_only_one(tmp_path: Path) -> None:
    """The second process is started when there is something for it to do."""
    async with local(tmp_path, copies=2, slots=4) as backend:
        for _ in range(3):
            await backend.infer(asked())
            assert len(processes(backend)) == 1
        await asyncio.gather(*(backend.infer(asked()) for _ in range(4)))
        assert len({process.pid for process in processes(backend)}) == 2


async def test_a_prompt_goes_where_its_beginning_has_been_read(tmp_path: Path) -> None:
    """In whatever order they come, both beginnings are in the caches from the second time on."""

    async def cached(number: int) -> int:
        message: dict[str, Any] = await backend.infer(asked(f"{number % 3}. {PREFIX} {number}?", max_tokens=2))
        return int(message["usage"]["cache_read_input_tokens"])

    async with local(tmp_path, copies=2, slots=4) as backend:
        assert await asyncio.gather(*(cached(number) for number in range(3))) == [0, 0, 0]
        for number in (4, 3, 5, 8, 6, 7):
            assert await cached(number) > 100


async def test_while_one_process_is_started_again_the_other_one_answers(tmp_path: Path) -> None:
    """A killed process costs the calls that were in it; what comes next goes elsewhere until it is back."""
    async with local(tmp_path, copies=2, slots=2) as backend:
        await asyncio.gather(*(backend.infer(asked()) for _ in range(2)))
        first, second = processes(backend)
        os.kill(first.pid, signal.SIGKILL)
        await first.ended()
        for _ in range(3):
            assert (await backend.infer(asked()))["stop_reason"] is not None
        assert second in processes(backend)


async def test_a_model_that_cannot_be_read_is_refused_once(tmp_path: Path) -> None:
    """There is one engine, which says what is wrong."""
    async with local(tmp_path, copies=2) as backend:
        assert len(backend._copies) == 2
    (tmp_path / "tiny.gguf").write_bytes(b"no model")
    engines = backend._copies[0].engine._neighbors
    (only,) = engines.add_copies(backend._copies[0].engine.model)  # type: ignore[attr-defined]
    assert only.refusal is not None


async def test_a_batch_leaves_the_process_alone_that_people_keep_calling(tmp_path: Path) -> None:
    """What they send next finds it with nothing else to do; the batch would rather wait for a slot, but not forever."""
    async with local(tmp_path, copies=2, slots=4) as backend:
        await asyncio.gather(*(backend.infer(of_batch(number)) for number in range(4)))
        kept, other = backend._copies
        assert backend._begun(asked()) is kept
        assert backend._copy_for(of_batch(1)) is kept
        assert backend._begun(asked()) is kept
        assert backend._copy_for(of_batch(1)) is other
        await asyncio.gather(*(backend.infer(of_batch(number)) for number in range(8)))
        assert backend._clock.monotonic() < kept.kept_until, "the slots of the other one were enough"
        with ExitStack() as slots:
            for _ in range(2):
                slots.enter_context(other._client.slots.taken(asked().params, person=False))  # type: ignore[union-attr]
            await backend.infer(of_batch(1))
        assert backend._clock.monotonic() >= kept.kept_until
        assert backend._copy_for(of_batch(1)) is kept


@pytest.mark.parametrize("copies", [1, 2])
async def test_a_batch_does_not_wait_where_every_process_is_kept_for_people(tmp_path: Path, copies: int) -> None:
    """There is none that it could wait for, and a model in one process is for all."""
    async with local(tmp_path, copies=copies, slots=2) as backend:
        for _ in range(3):
            await asyncio.gather(*(backend.infer(asked()) for _ in range(copies)))
        assert all(copy.kept_seconds > 0 for copy in backend._copies)
        await backend.infer(of_batch(1))
        assert all(copy.kept_seconds > 0 for copy in backend._copies), "nothing was waited for"


def of_batch(number: int) -> Call:
    """Make a call of a batch."""
    return asked(f"number {number}")._replace(custom_id=f"r{number}")
