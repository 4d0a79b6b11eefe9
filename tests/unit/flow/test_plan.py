"""Plan order: everything once, models apart, shared prefixes together, nothing else moved."""

import json
from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from slackwater.domain.limits import SHARD_BYTES_MAX, SHARD_REQUESTS_MAX
from slackwater.flow.plan import MIXED, MODELS_MAX, cut, plan
from slackwater.wire.prompt import Prompt, glance


def prompt(**params: Any) -> Prompt | None:
    return glance(msgspec.Raw(json.dumps({"model": "m", "messages": [{"role": "user", "content": "q"}], **params})))


PROMPTS = st.none() | st.builds(
    lambda model, system, question: prompt(
        model=model, system=system, messages=[{"role": "user", "content": question}]
    ),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["", "x" * 5_000, "y" * 5_000, "v" * 1_500, "z"]),
    st.sampled_from(["q" * 20, "w" * 6_000]),
)


@given(st.lists(PROMPTS, max_size=60))
def test_every_request_is_planned_exactly_once(prompts: list[Prompt | None]) -> None:
    """S1 begins here: the plan is a permutation."""
    assert sorted(place.index for place in plan(prompts)) == list(range(len(prompts)))


@given(st.lists(PROMPTS, max_size=60))
def test_a_models_requests_and_a_groups_requests_stand_together(prompts: list[Prompt | None]) -> None:
    """Each model and each prefix group is one run of the plan."""
    places = plan(prompts)
    for keys in ([place.model for place in places], [place.group for place in places if place.group]):
        runs = [key for number, key in enumerate(keys) if number == 0 or keys[number - 1] != key]
        assert len(runs) == len(set(runs))


@given(st.lists(PROMPTS, max_size=60))
def test_a_group_has_at_least_two_members_and_a_long_start(prompts: list[Prompt | None]) -> None:
    """Nobody waits for a leader that warms nothing."""
    groups = Counter(place.group for place in plan(prompts) if place.group)
    assert all(count > 1 for count in groups.values())


def test_a_short_start_makes_a_group_only_where_no_long_one_is_shared() -> None:
    """It is worth staying in a slot for, and not worth waiting for: its number is negative."""
    system = [{"type": "text", "text": "s" * 1_500}]
    long = [{"type": "text", "text": "l" * 5_000}]
    places = plan([prompt(system=system), prompt(system=[*system, *long]), prompt(system=[*system, *long])] * 2)
    groups = {place.index: place.group for place in places}
    assert groups[0] == groups[3] < 0 < groups[1] == groups[2] == groups[4] == groups[5]
    assert {place.group for place in plan([prompt(system="s" * 900)] * 3)} == {0}


def about(file_id: str, question: str, *, first: str | None = None) -> Prompt | None:
    """Ask about a file, in the manner of the Files API; `first` is said before it."""
    document = {"type": "document", "source": {"type": "file", "file_id": file_id}}
    said = [{"type": "text", "text": text} for text in (first, question) if text is not None]
    return prompt(messages=[{"role": "user", "content": [*said[:-1], document, said[-1]]}])


def test_questions_about_the_same_file_are_a_group_though_its_id_is_short() -> None:
    """Upload once, ask many: what the id stands for is the long start that these prompts share."""
    places = plan([about(file, question) for question in ("Who?", "When?", "How much?") for file in ("a", "b")])
    assert [place.index for place in places] == [0, 2, 4, 1, 3, 5]
    first, second = places[0].group, places[3].group
    assert [place.group for place in places] == [first] * 3 + [second] * 3
    assert first != second
    assert min(first, second) > 0, "worth waiting for"


def test_files_after_different_beginnings_share_nothing() -> None:
    """A cache holds prompts from their start on, not files."""
    assert {place.group for place in plan([about("a", "Well?", first=text) for text in ("One.", "Two.")])} == {0}
    assert {place.group for place in plan([about("a", "Well?"), about("b", "Well?")])} == {0}


def test_a_second_file_divides_those_who_share_the_first() -> None:
    """The deepest start that two requests share is their group; further files count further."""

    def both(*files: str) -> Prompt | None:
        documents = [{"type": "document", "source": {"type": "file", "file_id": file}} for file in files]
        return prompt(messages=[{"role": "user", "content": [*documents, {"type": "text", "text": "Compare."}]}])

    groups = [place.group for place in plan([both("a", "b"), both("a", "c"), both("a", "b"), both("a", "c")])]
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert all(groups)


@given(st.integers(0, 40), st.integers(0, 3_000))
def test_the_places_where_a_prompt_is_cut_only_grow(files: int, between: int) -> None:
    """However files and text take turns, and however many files there are, of which the first few count."""
    content = [
        block
        for number in range(files)
        for block in (
            {"type": "document", "source": {"type": "file", "file_id": str(number)}},
            {"type": "text", "text": "t" * between},
        )
    ]
    seen = prompt(messages=[{"role": "user", "content": content}])
    assert seen is not None
    lengths = [length for length, _ in seen.cuts]
    assert lengths == sorted(set(lengths))
    assert bool(lengths) == bool(files), "the text alone begins behind the first file"


def test_a_batch_without_shared_prefixes_keeps_its_order() -> None:
    """Reordering needs a reason."""
    prompts = [prompt(system=f"You are number {number}." * 300) for number in range(50)]
    assert [place.index for place in plan(prompts)] == list(range(50))


def test_interleaved_prefixes_are_gathered_depth_first() -> None:
    """Tools, then system, then messages: what shares the most stands closest."""
    tools = [{"name": "t", "description": "d" * 5_000, "input_schema": {"type": "object"}}]
    mixed = [prompt(tools=tools, system=("A" if number % 2 else "B") * 5_000) for number in range(8)]
    alone = [prompt(system="C" * 5_000)]
    order = [place.index for place in plan([*mixed[:4], *alone, *mixed[4:]])]
    assert order == [0, 2, 5, 7, 1, 3, 6, 8, 4]


def test_requests_whose_prompt_cannot_be_read_share_the_mixed_model() -> None:
    """They will be errored one by one; they must not stop the plan."""
    assert glance(msgspec.Raw(b'{"model":7}')) is None
    assert glance(msgspec.Raw(b"{}")) is None
    assert [place.model for place in plan([None, prompt()])] == [MIXED, "m"]


def test_a_flood_of_model_names_does_not_become_a_flood_of_shards() -> None:
    """100,000 names would otherwise be 100,000 rows."""
    places = plan([Prompt(f"model-{number}", ()) for number in range(5_000)])
    assert len({place.model for place in places}) == MODELS_MAX + 1
    assert len(list(cut((place.model, 100) for place in places))) <= MODELS_MAX + 5_000 // SHARD_REQUESTS_MAX + 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, SHARD_BYTES_MAX * 2)), max_size=700))
def test_shards_cover_the_plan_without_gap_or_overlap(sizes: list[tuple[str, int]]) -> None:
    """D1: consecutive, one model, at most 256 requests, at most 8 MiB unless a single request is larger."""
    shards = list(cut(sizes))
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert sum(shard.count for shard in shards) == len(sizes)
    at = offset = 0
    for shard in shards:
        part = sizes[at : at + shard.count]
        assert {model for model, _ in part} == {shard.model}
        assert (shard.offset, shard.length) == (offset, sum(size for _, size in part))
        assert 1 <= shard.count <= SHARD_REQUESTS_MAX
        assert shard.length <= SHARD_BYTES_MAX or shard.count == 1
        at, offset = at + shard.count, offset + shard.length
