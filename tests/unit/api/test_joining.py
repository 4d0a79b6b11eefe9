"""What is written in one turn of the loop leaves together."""

import asyncio
from typing import Any, cast

import pytest

from slackwater.api.joining import HELD_BYTES_MAX, JoiningTransport


class Wire:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.done.append(b"".join(pieces))

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def is_closing(self) -> bool:
        return "close" in self.done


@pytest.fixture
async def wire() -> Wire:
    """Return a fresh one."""
    return Wire()


def joining(wire: Wire) -> JoiningTransport:
    return JoiningTransport(cast("asyncio.Transport", wire))


async def test_a_head_and_its_body_are_one_write(wire: Wire) -> None:
    """A client is woken once, and has all of a small answer then."""
    transport = joining(wire)
    transport.write(b"head ")
    assert wire.done == []
    transport.write(b"body")
    assert wire.done == [b"head body"]
    await asyncio.sleep(0)
    assert wire.done == [b"head body"]


async def test_a_head_alone_leaves_with_the_next_turn(wire: Wire) -> None:
    """A stream whose first event is far away has begun for its client all the same."""
    transport = joining(wire)
    transport.write(b"head")
    await asyncio.sleep(0)
    assert wire.done == [b"head"]
    transport.write(b"event")
    await asyncio.sleep(0)
    assert wire.done == [b"head", b"event"]


async def test_much_is_not_held(wire: Wire) -> None:
    """What is large enough is sent at once, so that the other side's pace is felt at once."""
    joining(wire).write(bytes(HELD_BYTES_MAX + 1))
    assert wire.done == [bytes(HELD_BYTES_MAX + 1)]


@pytest.mark.parametrize(("end", "noted"), [("close", "close"), ("write_eof", "eof")])
async def test_what_is_held_goes_before_the_end(wire: Wire, end: str, noted: str) -> None:
    """An answer is never lost to the goodbye that follows it; a connection that is cut loses it on purpose."""
    transport = joining(wire)
    transport.write(b"last words")
    getattr(transport, end)()
    await asyncio.sleep(0)
    assert wire.done == [b"last words", noted]


async def test_all_else_is_the_transports(wire: Wire) -> None:
    """Whether it is closing, for one."""
    transport = joining(wire)
    assert transport.is_closing() is False
    transport.close()
    assert transport.is_closing() is True
