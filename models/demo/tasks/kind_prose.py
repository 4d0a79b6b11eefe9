"""Legal prose in the manner of licenses, and documentation: manuals, README files, reference text and docstrings."""

import random
import textwrap

from examples import Split

from tasks.kind_code import docstrings
from tasks.packages import chance, person, word
from tasks.phrases import expand, sentences

_LICENSE_NAMES = ("PUBLIC LICENSE", "PERMISSIVE LICENSE", "FREE DOCUMENTATION LICENSE", "LICENSE AGREEMENT", "LICENSE")


def _paragraphs(rng: random.Random, forms: tuple[str, ...], count: int) -> list[str]:
    return [" ".join(expand(rng, rng.choice(forms)) for _ in range(rng.choice([1, 1, 2, 3]))) for _ in range(count)]


def _layout(rng: random.Random, paragraphs: list[str]) -> str:
    width = rng.randint(58, 80)
    indent = rng.choice(["", "", "", "  ", "   ", "    "])
    done = []
    for paragraph in paragraphs:
        first = indent + rng.choice(
            ["", "", "  ", f"{rng.randint(1, 17)}. ", f"({rng.choice('abcdef')}) ", f"{rng.choice('abcde')}) "]
        )
        done.append(
            textwrap.fill(
                paragraph, width, initial_indent=first, subsequent_indent=indent + rng.choice(["", "", "   "])
            )
        )
    return rng.choice(["\n\n", "\n\n", "\n\n", "\n"]).join(done)


def legal(rng: random.Random, split: Split) -> str:
    """Write clauses of a license, with a head now and then."""
    body = _layout(rng, _paragraphs(rng, sentences("prose/legal", split), rng.randint(1, 5)))
    if chance(rng, 0.25):
        title = f"{word(rng).upper()} {rng.choice(_LICENSE_NAMES)}"
        stamp = rng.choice(
            [
                "",
                f"\n{' ' * rng.randint(0, 24)}Version {rng.randint(1, 4)}, {word(rng)} {rng.randint(1985, 2024)}",
            ]
        )
        return f"{' ' * rng.randint(0, 24)}{title}{stamp}\n\n{body}"
    if chance(rng, 0.2):
        return f"Copyright {rng.choice(['(c) ', '(C) ', ''])}{rng.randint(1985, 2026)} {person(rng)}\n\n{body}"
    if chance(rng, 0.1):
        return body.upper()
    return body


def documentation(rng: random.Random, split: Split) -> str:
    """Write a piece of a manual, or take a docstring of Python's own modules."""
    if chance(rng, 0.4):
        return textwrap.dedent(rng.choice(docstrings(split))).strip("\n")
    paragraphs = [
        one.replace("\\n", "\n") for one in _paragraphs(rng, sentences("prose/docs", split), rng.randint(2, 6))
    ]
    if chance(rng, 0.5):
        title = rng.choice(
            [
                f"{word(rng).capitalize()} {word(rng)}",
                word(rng),
                f"{word(rng)} --- {word(rng)} {word(rng)}",
                f"Using {word(rng)}",
            ]
        )
        line = rng.choice(["=", "-", "*", "~"]) * len(title)
        paragraphs.insert(
            rng.randint(0, 2),
            rng.choice([f"{title}\n{line}", f"{'#' * rng.randint(1, 3)} {title}", f"{line}\n{title}\n{line}"]),
        )
    if chance(rng, 0.5):
        width = rng.randint(60, 80)
        keep = ("\n", "|", "#", "..", "- ")
        paragraphs = [one if one.startswith(keep) or "\n" in one else textwrap.fill(one, width) for one in paragraphs]
    return "\n\n".join(paragraphs)
