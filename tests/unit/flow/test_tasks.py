"""Tasks that carry turns through, one after another."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

from slackwater.clock import SystemClock
from slackwater.flow.holding import Held, Holding, Tasks
from slackwater.flow.infer import Turn


def held(number: int) -> Held:
    """Return something to be carried."""
    turn = SimpleNamespace(number=number, task=None)
    return cast("Holding", SimpleNamespace(clock=SystemClock())), cast("Turn", turn)


class Work:
    """Carries what is there, and notes what became of it."""

    def __init__(self, following: Iterable[Held] = ()) -> None:
        self.waiting = iter(following)
        self.carried: list[tuple[int, object]] = []
        """Numbers, each with the task that carried it."""
        self.finished: list[int] = []
        self.until: asyncio.Event | None = None
        self.tasks = Tasks(self.carry, self.finish, lambda: next(self.waiting, None))

    async def carry(self, _: Holding, turn: Turn) -> None:
        assert turn.task is asyncio.current_task()
        self.carried.append((cast("Any", turn).number, turn.task))
        if self.until is not None:
            await self.until.wait()

    def finish(self, _: Holding, turn: Turn) -> None:
        self.finished.append(cast("Any", turn).number)

    async def over(self) -> None:
        """Wait until no task is left."""
        async with asyncio.timeout(10):
            await asyncio.gather(*self.tasks._at_work, return_exceptions=True)
        assert not self.tasks._at_work


async def test_one_task_carries_all_that_follows_and_finishes_each() -> None:
    """The next turn begins in the task of the one before it; who stops the next one finds that task."""
    work = Work(map(held, range(1, 5)))
    work.tasks.start(held(0))
    await work.over()
    assert [number for number, _ in work.carried] == [0, 1, 2, 3, 4]
    assert len({task for _, task in work.carried}) == 1
    assert list(dict.fromkeys(work.finished)) == [0, 1, 2, 3, 4]


async def test_turns_that_wait_for_nothing_leave_the_loop_its_turns() -> None:
    """Thousands of requests that are refused at once must not hold up everybody else (P3)."""
    work = Work(map(held, range(1, 1_000)))
    work.tasks.start(held(0))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(work.carried) < 20
    await work.over()
    assert len(work.carried) == 1_000


async def test_a_canceled_task_finishes_its_turn_and_carries_no_other() -> None:
    """C3: before its first step, in the middle of a turn, and between two."""
    before, during, between = Work([held(1)]), Work([held(1)]), Work([held(1), held(2)])
    during.until = asyncio.Event()
    turns = [held(0)[1] for _ in range(3)]
    for work, turn in zip((before, during, between), turns, strict=True):
        work.tasks.start((held(0)[0], turn))
    cast("asyncio.Task[None]", turns[0].task).cancel()
    await asyncio.sleep(0)
    for turn in turns[1:]:
        cast("asyncio.Task[None]", turn.task).cancel()
    for work in (before, during, between):
        await work.over()
    assert ([number for number, _ in before.carried], set(before.finished)) == ([], {0})
    assert ([number for number, _ in during.carried], set(during.finished)) == ([0], {0})
    assert ([number for number, _ in between.carried], set(between.finished)) == ([0], {0, 1})
