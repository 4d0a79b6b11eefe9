"""What was made is kept, once and within bounds; what is in flight has room, in order."""

import asyncio
import gc
import weakref
from collections.abc import Hashable
from dataclasses import dataclass

import pytest

from slackwater.documents import Documents
from slackwater.documents.shelf import FAILURE_SECONDS, LASTING_SECONDS, Shelf
from slackwater.documents.sources import Sources
from slackwater.domain.document import DocumentError, Form
from support.api import ManualClock


@dataclass(frozen=True)
class Thing:
    """Something with a size."""

    size_bytes: int


class Maker:
    """Makes things and counts."""

    def __init__(self, outcome: "Thing | Exception", *, go: bool = True) -> None:
        self.outcome = outcome
        self.made = 0
        self.canceled = 0
        self.go = asyncio.Event()
        if go:
            self.go.set()

    async def __call__(self) -> Thing:
        self.made += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_thousand_who_ask_for_the_same_have_it_made_once() -> None:
    """While it is being made, and afterwards."""
    shelf, make = Shelf(clock=ManualClock()), Maker(Thing(10), go=False)
    asking = [asyncio.ensure_future(shelf.get("k", make)) for _ in range(1_000)]
    await settled()
    make.go.set()
    found = await asyncio.gather(*asking)
    assert all(thing is make.outcome for thing in [*found, await shelf.get("k", make)])
    assert make.made == 1


async def test_what_nobody_waits_for_any_more_is_given_up_and_made_anew_for_the_next() -> None:
    """One who leaves costs the others nothing; the last one ends it."""
    shelf, make = Shelf(clock=ManualClock()), Maker(Thing(10), go=False)
    first, second = (asyncio.ensure_future(shelf.get("k", make)) for _ in range(2))
    await settled()
    first.cancel()
    await settled()
    assert make.canceled == 0
    second.cancel()
    await settled()
    assert make.canceled == 1
    make.go.set()
    assert await shelf.get("k", make) is make.outcome


async def test_a_document_that_could_not_be_read_is_tried_again_after_a_while() -> None:
    """A busy machine may have been the reason, and what is kept without an end would outlive it."""
    clock = ManualClock()
    shelf, broken = Shelf(clock=clock), Maker(DocumentError("Reading the PDF takes longer than 10 seconds"))
    for made, later in ((1, FAILURE_SECONDS - 1), (1, 2), (2, 0)):
        with pytest.raises(DocumentError):
            await shelf.get("slow", broken)
        assert broken.made == made
        clock.advance(later)


async def test_an_error_that_is_kept_keeps_nothing_of_what_failed() -> None:
    """It counts as little: the bytes of a broken file must not hang on it."""
    shelf = Shelf(clock=ManualClock())
    held: list[weakref.ref[Thing]] = []

    async def make() -> Thing:
        thing = Thing(2**30)
        held.append(weakref.ref(thing))
        raise DocumentError(f"The PDF of {thing.size_bytes} bytes is broken")

    for _ in range(2):
        with pytest.raises(DocumentError, match="broken"):
            await shelf.get("broken", make)
    await settled()  # the loop's own handle of the wakeup goes
    gc.collect()
    assert [one() for one in held] == [None]


async def test_nothing_is_kept_under_a_url_that_is_too_long() -> None:
    """A URL may be as long as a request; what is kept is bounded by what it counts as."""
    shelf, clock = Shelf(clock=ManualClock()), ManualClock()
    sources = Sources(documents=Documents(clock=clock), clock=clock, shelf=shelf)
    form = Form(kind="document", native=False, drawn=False)
    with pytest.raises(DocumentError, match="longer than 2,048 characters"):
        await sources.of_url("https://x/" + "y" * 2**20, form, "w")
    assert shelf.kept_bytes == 0
    await sources.close()


async def test_what_was_used_longest_ago_goes_first_and_the_last_one_stays_whatever_its_size() -> None:
    """Bounded by bytes."""
    shelf = Shelf(clock=ManualClock(), kept_bytes_max=100)
    makers = {name: Maker(Thing(size)) for name, size in {"a": 40, "b": 40, "c": 40, "huge": 500}.items()}
    for name in ("a", "b", "a", "c"):
        await shelf.get(name, makers[name])
    assert shelf.kept_bytes == 80
    for name in ("a", "c", "b"):
        await shelf.get(name, makers[name])
    assert {name: maker.made for name, maker in makers.items()} == {"a": 1, "b": 2, "c": 1, "huge": 0}
    for _ in range(3):
        await shelf.get("huge", makers["huge"])
    assert (makers["huge"].made, shelf.kept_bytes) == (1, 500)
    await shelf.get("a", makers["a"])
    assert shelf.kept_bytes == 40


async def test_a_document_that_cannot_be_read_is_not_read_again_but_what_failed_otherwise_is() -> None:
    """A broken PDF stays broken; a process that did not start may start."""
    shelf = Shelf(clock=ManualClock())
    broken, unlucky = Maker(DocumentError("The PDF is broken", error_code="c")), Maker(OSError())
    for _ in range(3):
        with pytest.raises(DocumentError, match="broken") as told:
            await shelf.get("broken", broken)
        assert told.value.error_code == "c"
        with pytest.raises(OSError):  # noqa: PT011  # any
            await shelf.get("unlucky", unlucky)
    assert (broken.made, unlucky.made) == (1, 3)


async def test_what_may_change_is_asked_for_again_after_its_time() -> None:
    """A URL's content."""
    clock = ManualClock()
    shelf, make = Shelf(clock=clock), Maker(Thing(1))
    await shelf.get("url", make, keep_seconds=60)
    clock.advance(59)
    await shelf.get("url", make, keep_seconds=60)
    assert make.made == 1
    clock.advance(2)
    await shelf.get("url", make, keep_seconds=60)
    assert make.made == 2


async def test_what_may_be_there_again_is_tried_a_few_times_with_growing_waits_for_all_who_ask() -> None:
    """Who asks too early hears how long to wait; after the last try its absence is the answer for a while."""
    clock = ManualClock()
    shelf, away = Shelf(clock=clock), Maker(DocumentError("status 503", retry_after_seconds=0.0))

    async def wait() -> float | None:
        with pytest.raises(DocumentError, match="status 503") as told:
            await shelf.get("url", away, keep_seconds=600)
        return told.value.retry_after_seconds

    for made, seconds in enumerate((1.0, 2.0, 4.0, 8.0), 1):
        assert [await wait(), await wait()] == [seconds, seconds]
        clock.advance(seconds - 0.5)
        assert (await wait(), away.made) == (0.5, made)
        clock.advance(0.5)
    assert [await wait(), await wait()] == [None, None]
    clock.advance(LASTING_SECONDS - 1)
    assert (await wait(), away.made) == (None, 5)
    clock.advance(1)
    assert (await wait(), away.made) == (1.0, 6)
    clock.advance(1)
    away.outcome = Thing(1)
    assert await shelf.get("url", away, keep_seconds=600) is away.outcome


async def test_a_server_that_asks_for_a_longer_wait_gets_it() -> None:
    """Its Retry-After; and all who asked meanwhile hear the same."""
    clock = ManualClock()
    shelf, away = Shelf(clock=clock), Maker(DocumentError("status 429", retry_after_seconds=30.0), go=False)
    asking = [asyncio.ensure_future(shelf.get("url", away)) for _ in range(3)]
    await settled()
    away.go.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [getattr(error, "retry_after_seconds", None) for error in told] == [30.0] * 3
    assert away.made == 1


class Request:
    """Somebody who wants room."""

    def __init__(self, shelf: Shelf, size: int, place: Hashable = "b") -> None:
        self.inside = False
        self.done = asyncio.Event()
        self.size = size
        self.true_size: int | None = None
        self.shelf, self.place = shelf, place
        self.task = asyncio.ensure_future(self._go())

    async def _go(self) -> None:
        async with self.shelf.room(self.place, self.size) as settle:
            if self.true_size is not None:
                settle(self.true_size)
            self.inside = True
            await self.done.wait()


async def test_room_is_given_in_order_and_one_that_is_too_large_for_any_goes_alone() -> None:
    """Memory is bounded, nobody starves, and other backends' requests do not wait."""
    shelf = Shelf(clock=ManualClock(), room_bytes_max=100)
    first, second, huge, small = (Request(shelf, size) for size in (60, 60, 500, 1))
    other = Request(shelf, 100, place="other")
    await settled()
    assert [one.inside for one in (first, second, huge, small, other)] == [True, False, False, False, True]
    first.done.set()
    await settled()
    assert [one.inside for one in (second, huge, small)] == [True, False, False]
    second.done.set()
    await settled()
    assert [one.inside for one in (huge, small)] == [True, False]
    huge.done.set()
    await settled()
    assert small.inside
    small.done.set()
    other.done.set()
    await asyncio.gather(first.task, second.task, huge.task, small.task, other.task)


async def test_what_batches_hold_keeps_nobody_out_who_waits_in_person() -> None:
    """Interactive first: each has a room of its own (`Material` names it), however long batches fill theirs."""
    shelf = Shelf(clock=ManualClock(), room_bytes_max=100)
    batch = [Request(shelf, 100, place=("b", False)) for _ in range(3)]
    person = Request(shelf, 100, place=("b", True))
    await settled()
    assert [one.inside for one in (*batch, person)] == [True, False, False, True]
    for one in (person, *batch):
        one.done.set()
        await one.task


async def test_room_that_turns_out_not_to_be_needed_goes_to_the_next() -> None:
    """A large PDF's text may be short."""
    shelf = Shelf(clock=ManualClock(), room_bytes_max=100)
    first, second = Request(shelf, 90), Request(shelf, 90)
    first.true_size = 5
    await settled()
    assert second.inside
    for one in (first, second):
        one.done.set()
        await one.task
    last = Request(shelf, 100)
    await settled()
    assert last.inside
    last.done.set()
    await last.task


async def test_room_that_turns_out_to_be_too_small_is_counted_as_it_is() -> None:
    """A short PDF may be many page images: nobody else comes in beside them until they are gone."""
    shelf = Shelf(clock=ManualClock(), room_bytes_max=100)
    first = Request(shelf, 10)
    first.true_size = 500
    await settled()
    second = Request(shelf, 10)
    await settled()
    assert [first.inside, second.inside] == [True, False]
    first.done.set()
    await settled()
    third = Request(shelf, 90)
    await settled()
    assert [second.inside, third.inside] == [True, True]
    for one in (second, third):
        one.done.set()
        await one.task


@pytest.mark.parametrize("when", ["waiting", "let in", "inside"])
async def test_a_request_that_is_canceled_gives_its_room_back(when: str) -> None:
    """While it waits, at the moment it is let in, or later."""
    shelf = Shelf(clock=ManualClock(), room_bytes_max=100)
    first, second, third = (Request(shelf, 100) for _ in range(3))
    await settled()
    if when == "waiting":
        second.task.cancel()
        first.done.set()
    elif when == "let in":
        first.done.set()
        await first.task
        second.task.cancel()
    else:
        first.done.set()
        await settled()
        assert second.inside
        second.task.cancel()
    await settled()
    assert third.inside
    third.done.set()
    await third.task
