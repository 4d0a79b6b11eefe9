"""Turns: so many at a time, who waits in person first."""

import asyncio

from slackwater.documents.turns import Turns


class Visitor:
    """Somebody who wants a turn."""

    def __init__(self, turns: Turns, *, urgent: bool = False) -> None:
        self.inside = False
        self.done = asyncio.Event()
        self.task = asyncio.ensure_future(self._go(turns, urgent=urgent))

    async def _go(self, turns: Turns, *, urgent: bool) -> None:
        async with turns.turn(urgent=urgent):
            self.inside = True
            await self.done.wait()

    async def leave(self) -> None:
        self.done.set()
        await self.task


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def inside(*visitors: Visitor) -> list[bool]:
    """Return who has a turn, once everything has run that can."""
    await settled()
    return [one.inside for one in visitors]


async def test_who_waits_in_person_is_next_and_the_others_come_in_order() -> None:
    """Interactive first: a batch of a thousand documents does not stand before a person's one."""
    turns = Turns(1)
    first, second, third = (Visitor(turns) for _ in range(3))
    person = Visitor(turns, urgent=True)
    assert await inside(first, second, third, person) == [True, False, False, False]
    await first.leave()
    assert await inside(second, third, person) == [False, False, True]
    await person.leave()
    assert await inside(second, third) == [True, False]
    await second.leave()
    assert await inside(third) == [True]
    await third.leave()


async def test_some_turns_are_for_what_is_urgent_only() -> None:
    """What holds the others may be silent for long."""
    turns = Turns(3, reserved=1)
    batch = [Visitor(turns) for _ in range(3)]
    person = Visitor(turns, urgent=True)
    assert await inside(*batch, person) == [True, True, False, True]
    await person.leave()
    assert await inside(batch[2]) == [False]
    await batch[0].leave()
    assert await inside(batch[2]) == [True]
    await batch[1].leave()
    await batch[2].leave()


async def test_a_turn_is_lost_by_nobody_who_leaves() -> None:
    """While one waits, at the moment of being let in, or inside."""
    turns = Turns(1)
    first, waiting, at_the_door, last = (Visitor(turns) for _ in range(4))
    await settled()
    waiting.task.cancel()
    assert await inside(at_the_door) == [False]
    first.done.set()
    while not first.task.done():  # noqa: ASYNC110  # exactly until it has let the next one in, who has not run yet
        await asyncio.sleep(0)
    assert not at_the_door.inside
    at_the_door.task.cancel()
    assert await inside(last) == [True]
    last.task.cancel()
    await settled()
    again = Visitor(turns)
    assert await inside(again) == [True]
    await again.leave()
