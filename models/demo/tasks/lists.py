"""Word lists and phrases from the `.txt` files of this folder, split into what training sees and what it never sees."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from examples import Split, held_out

Thing = TypeVar("Thing")


@cache
def sections(name: str) -> dict[str, tuple[str, ...]]:
    r"""Read `name`.txt: `[title]` starts a list of one entry a line, `[title |]` one of entries parted by bars.

    The characters `\n` in an entry stand for a line break.
    """
    found: dict[str, list[str]] = {}
    parted = False
    title = ""
    text = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8")
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("[") and line.endswith("]"):
            parted = line.endswith(" |]")
            title = line.strip("[]| ")
            found.setdefault(title, [])
        else:
            entries = [entry.strip() for entry in line.split("|")] if parted else [line]
            found[title] += [entry.replace("\\n", "\n") for entry in entries if entry]
    return {title: tuple(dict.fromkeys(entries)) for title, entries in found.items()}


class Pool(Generic[Thing]):
    """A list to pick from, of which training never sees a part; a text that starts with `^` is always in training."""

    def __init__(self, things: Sequence[Thing]) -> None:
        usual = [isinstance(thing, str) and thing.startswith("^") for thing in things]
        rest = [thing for thing, always in zip(things, usual, strict=True) if not always]
        train, self.held_out = held_out(rest)
        marked = [thing for thing, always in zip(things, usual, strict=True) if always]
        self.train: tuple[Thing, ...] = (*train, *(thing[1:] for thing in marked))  # type: ignore[index]  # texts
        self.held_out = self.held_out or self.train

    def of(self, split: Split) -> tuple[Thing, ...]:
        """Name the part that a split may use."""
        return self.train if split == "train" else self.held_out

    def pick(self, rng: random.Random, split: Split) -> Thing:
        """Pick one thing of the split's part."""
        return rng.choice(self.of(split))


def chance(rng: random.Random, share: float) -> bool:
    """Throw a coin that lands on true in this share (0-1) of throws."""
    return rng.random() < share


def pools(name: str) -> dict[str, Pool[str]]:
    """Read `name`.txt as pools by title."""
    return {title: Pool(entries) for title, entries in sections(name).items()}
