"""What a training or test example is, and how whole wordings, names and label sets are kept out of training."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Split = Literal["train", "held_out"]
Message = Mapping[str, Any]
Check = Literal["exact", "json", "tool"]

Thing = TypeVar("Thing")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A conversation and the answer it should get, in the shapes of chat completions."""

    task: str
    """The name under which it is scored."""
    messages: tuple[Message, ...]
    """`system`, `user`, `assistant` (with `tool_calls` where it called) and `tool` messages; the last one asks."""
    answer: Message
    """The assistant's message: `content`, or `tool_calls`, which are `[{"type": "function", "function": {"name",
    "arguments"}}]` where `arguments` is a mapping."""
    tools: tuple[Message, ...] = ()
    """`[{"type": "function", "function": {"name", "description", "parameters"}}]`."""
    check: Check = "exact"
    """How an answer is scored: the same text, the same JSON value, or the same call with the same arguments."""


Make = Callable[[random.Random, Split], Example]
"""What every module in `tasks/` offers as `MAKERS: dict[str, Make]`, by task name."""


def held_out(things: Sequence[Thing], share: float = 0.15) -> tuple[tuple[Thing, ...], tuple[Thing, ...]]:
    """Split a list into what training sees and what it never sees; the same split on every machine and in every run."""
    order = list(range(len(things)))
    random.Random(len(things)).shuffle(order)  # noqa: S311  # reproducible, hides nothing
    count = max(1, round(len(things) * share)) if len(things) > 1 else 0
    unseen = set(order[:count])
    kept = tuple(thing for index, thing in enumerate(things) if index not in unseen)
    return kept, tuple(thing for index, thing in enumerate(things) if index in unseen)


def user(text: str) -> Message:
    """Make a user's message."""
    return {"role": "user", "content": text}


def system(text: str) -> Message:
    """Make a system message."""
    return {"role": "system", "content": text}


def says(text: str) -> Message:
    """Make an assistant's answer in words."""
    return {"role": "assistant", "content": text}


def calls(name: str, arguments: Mapping[str, Any]) -> Message:
    """Make an assistant's tool call."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
    }
