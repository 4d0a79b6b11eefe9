"""Sentences with choices, read from text files: `[a|b|c]` is one of them, `{x}` something technical, `{n}` a number."""

import random
import re
from functools import cache
from pathlib import Path

from examples import Split, held_out

from tasks.packages import technical

_HERE = Path(__file__).parent
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@cache
def sentences(name: str, split: Split) -> tuple[str, ...]:
    """Read the sentences of `NAME.txt`, without word lines (`= ...`); whole lines are held out."""
    lines = (_HERE / f"{name}.txt").read_text(encoding="utf-8").split("\n")
    kept = [line for line in lines if line.strip() and not line.startswith(("=", "#"))]
    return held_out(kept)[split == "held_out"]


@cache
def words(name: str) -> tuple[str, ...]:
    """Read the word lines (`= ...`) of `NAME.txt`."""
    lines = (_HERE / f"{name}.txt").read_text(encoding="utf-8").split("\n")
    return tuple(one for line in lines if line.startswith("=") for one in line[1:].split())


@cache
def blocks(name: str, split: Split) -> tuple[str, ...]:
    """Read the blocks of `NAME.txt`, parted by lines of `%%`."""
    parts = (_HERE / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n%%\n")
    return held_out(parts)[split == "held_out"]


def expand(rng: random.Random, form: str) -> str:
    """Take one of each choice and fill the slots."""
    while found := _CHOICE.search(form):
        form = form[: found.start()] + rng.choice(found.group(1).split("|")) + form[found.end() :]
    for slot in ("{x}", "{y}"):
        while slot in form:
            form = form.replace(slot, technical(rng), 1)
    while "{n}" in form:
        form = form.replace("{n}", str(rng.choice([rng.randint(2, 9), rng.randint(10, 99), rng.randint(100, 9999)])), 1)
    return form
