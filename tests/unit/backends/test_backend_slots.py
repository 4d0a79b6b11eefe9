"""Which slot of an engine of ours answers a request."""

from contextlib import ExitStack
from typing import Any

from slackwater.backends.openai.slots import START_BYTES_MAX, Slots, start_of

LONG = "The quick brown fox jumps over the lazy dog. " * 40


def _body(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _alone(slots: Slots, text: str, *, person: bool = False) -> int | None:
    with slots.taken(_body(text), person=person) as slot:
        return slot


def test_the_first_slot_is_people_s_and_what_a_batch_sends_goes_into_the_others() -> None:
    """The server reads the prompts of a step in the order of its slots."""
    slots = Slots(4)
    with ExitStack() as held:
        batch = [held.enter_context(slots.taken(_body(f"{n}"), person=False)) for n in range(3)]
        assert sorted(batch, key=str) == [1, 2, 3]
        assert held.enter_context(slots.taken(_body("Hello"), person=True)) == 0


def test_a_batch_takes_the_first_slot_when_it_is_the_only_one_left() -> None:
    """Whoever may be in flight has a slot: a second person took one of the batch's, and the first one has left."""
    slots = Slots(2)
    with slots.taken(_body("a"), person=True) as first, slots.taken(_body("b"), person=True) as second:
        assert {first, second} == {0, 1}
        with slots.taken(_body("c"), person=False) as none:
            assert none is None  # nobody chooses for the server what is not there
    with slots.taken(_body("d"), person=False), slots.taken(_body("e"), person=False) as left:
        assert left == 0


def test_requests_that_begin_alike_keep_to_one_slot() -> None:
    """Each of several prefixes comes back to where it has been read, whatever came between."""
    slots = Slots(4)
    prefixes = [f"{name}: {LONG}" for name in "abc"]
    homes = [_alone(slots, prefix + "first?") for prefix in prefixes]
    assert sorted(homes, key=str) == [1, 2, 3]
    for number in range(6):
        for prefix, home in reversed(list(zip(prefixes, homes, strict=True))):
            assert _alone(slots, f"{prefix} and then {number}?") == home


def test_the_longest_beginning_wins_and_a_short_one_counts_nothing() -> None:
    """A few words in common are read sooner than they are worth a slot: the one idle for the longest time is taken."""
    slots = Slots(3)
    home, other = _alone(slots, LONG + "x" * 300), _alone(slots, "Hello, you")
    assert (home, other) == (1, 2)
    assert _alone(slots, "Hello, again") == home
    assert _alone(slots, LONG + "y") == other
    assert _alone(slots, LONG + "y" * 300) == other


def test_a_conversation_goes_on_where_it_was_and_another_does_not_push_it_out() -> None:
    """Without a batch people have all slots."""
    slots = Slots(3)
    mine = _alone(slots, "mine" + LONG, person=True)
    yours = _alone(slots, "yours" + LONG, person=True)
    assert mine != yours
    assert _alone(slots, "mine" + LONG + "go on", person=True) == mine
    assert _alone(slots, "yours" + LONG + "go on", person=True) == yours


def test_what_is_remembered_of_a_request_has_an_end() -> None:
    """A megabyte of text, or an image, is compared by its beginning."""
    slots = Slots(2)
    assert _alone(slots, LONG * 1_000) == 1
    assert all(len(slot.start) <= START_BYTES_MAX for slot in slots._slots)
    assert _alone(slots, LONG * 1_000 + "more") == 1


def test_a_server_that_others_use_too_chooses_itself() -> None:
    """Its slots are not ours to give."""
    assert _alone(Slots(0), "Hello") is None


def test_what_is_offered_is_the_most_alike_of_the_free_slots() -> None:
    """Of several processes with the same model the one that has read the prompt before is asked."""
    slots = Slots(3)
    start = start_of(_body(LONG))
    assert slots.offer(start, person=False) == (True, 0)
    with slots.taken(_body(LONG), person=False):
        assert slots.offer(start, person=False) == (True, 0)
        with slots.taken(_body("a"), person=False):
            assert slots.offer(start, person=False) == (False, 0)  # the first slot is people's
            assert slots.offer(start, person=True) == (True, 0)
    assert slots.offer(start, person=False) == (True, len(start))
