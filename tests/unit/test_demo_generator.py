"""The generator of the demo model keeps its promises: splits are disjoint, answers can be found in prompts."""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[2] / "models" / "demo"
sys.path.insert(0, str(DEMO))
try:
    import generate
    from tasks import lists
finally:
    sys.path.remove(str(DEMO))

COUNT = 60
NAMED = ("classify", "verdict", "route")
TASKS = tuple(generate.WEIGHTS)


def drawn(task: str, split: str, count: int = COUNT) -> list[Any]:
    return list(islice(generate.examples(7, split, (task,)), count))


def prompt(example: Any) -> str:
    return "\n".join(message["content"] or "" for message in example.messages)


def test_every_task_of_the_mix_has_a_maker_and_every_maker_a_weight() -> None:
    """A maker without a weight would never be drawn, a weight without a maker never be met."""
    assert set(generate.WEIGHTS) == set(generate.MAKERS)


@pytest.mark.parametrize("task", TASKS)
def test_no_prompt_of_training_is_held_out(task: str) -> None:
    """The held-out part is made of wordings, names and labels that training never uses, so no prompt is in both."""
    seen = {(prompt(example), json.dumps(example.tools)) for example in drawn(task, "train")}
    unseen = {(prompt(example), json.dumps(example.tools)) for example in drawn(task, "held_out")}
    assert seen
    assert not seen & unseen


def test_the_two_parts_of_a_list_share_nothing() -> None:
    """Every list of more than one entry is split in two parts that share no entry and leave none out."""
    for name in ("chat", "extract", "fallback", "route", "tools", "tones", "values", "yesno"):
        for title, entries in lists.sections(name).items():
            pool = lists.Pool(entries)
            if len(entries) > 1:
                assert not set(pool.train) & set(pool.held_out), (name, title)
            assert set(pool.train) | set(pool.held_out) == {entry.removeprefix("^") for entry in entries}


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("task", NAMED)
def test_the_answer_of_a_classification_is_a_label_of_the_prompt(task: str, split: str) -> None:
    """A label is copied as the prompt spells it."""
    for example in drawn(task, split):
        assert example.answer["content"] in prompt(example)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_what_is_extracted_stands_in_the_prompt(split: str) -> None:
    """Every value of an extraction, and every key, is in the prompt; what is missing is null."""
    for example in drawn("extract", split, 200):
        for key, value in json.loads(example.answer["content"]).items():
            assert key in prompt(example)
            assert value is None or str(value) in prompt(example)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_call_names_an_offered_tool_and_copies_its_arguments(split: str) -> None:
    """The tool is among those offered, its parameters are declared, its arguments come from the question."""
    for example in drawn("tool-call", split):
        call = example.answer["tool_calls"][0]["function"]
        tools = {tool["function"]["name"]: tool["function"] for tool in example.tools}
        assert len(tools) == len(example.tools)
        parameters = tools[call["name"]]["parameters"]
        assert set(call["arguments"]) <= set(parameters["properties"])
        assert set(parameters.get("required", ())) <= set(call["arguments"])
        for value in call["arguments"].values():
            assert str(value) in prompt(example)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_example_renders(split: str) -> None:
    """A conversation ends with a question or a tool's result, has an answer, and fits into the context of training."""
    for example in islice(generate.examples(3, split), 400):
        assert example.messages[-1]["role"] in {"user", "tool"}
        assert example.answer["role"] == "assistant"
        assert example.answer["content"] or example.answer["tool_calls"]
        assert generate.shown(example)
        assert generate.chars(example.messages) <= 1400


def test_the_same_seed_gives_the_same_examples() -> None:
    """Training can be repeated."""
    assert list(islice(generate.examples(1, "train"), 50)) == list(islice(generate.examples(1, "train"), 50))
