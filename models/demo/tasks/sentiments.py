"""Reviews that are clearly good, clearly bad, both, or neither."""

import random
import re

from examples import Split

from tasks.lists import Pool, chance, sections
from tasks.values import DRAWS
from tasks.wording import slipped

LISTS = sections("sentiment")
GOOD, BAD, OKAY, VERY = LISTS["good"], LISTS["bad"], LISTS["okay"], LISTS["very"]
LINES = {kind: Pool(LISTS[kind]) for kind in ("positive", "negative", "neutral", "filler")}
OPENERS = Pool(LISTS["opener"])
SLOT = re.compile(r"\{(\w+)\}")
FRAMES = Pool(
    (
        "the {aspect} was {word}",
        "the {aspect} is {word}",
        "{word} {aspect}",
        "I found the {aspect} {word}",
        "the {aspect} turned out to be {word}",
        "everything about the {aspect} was {word}",
        "we thought the {aspect} was {word}",
        "the {aspect} and the {other} are {word}",
        "my wife says the {aspect} is {word}",
        "the {aspect} seems {word}",
        "the {aspect} of this {thing} is {word}",
        "such a {word} {thing}",
        "a {word} {thing} with a {word} {aspect}",
        "this {thing} is {word}",
        "the {thing} was {word} from start to finish",
        "{word}, {word}, {word}",
        "it has been {word} since {month}",
        "{first} called the {aspect} {word}",
        "{word}!",
        "about the {aspect}: {word}",
        "it felt {word}",
        "its {aspect} is {word}, its {other} too",
    )
)
NOT_GOOD = Pool(
    (
        "not {g}",
        "not {g} at all",
        "not very {g}",
        "anything but {g}",
        "never {g}",
        "far from {g}",
        "hardly {g}",
        "less {g} than promised",
    )
)
NOT_BAD = Pool(("not {b}", "not {b} at all", "never {b}", "anything but {b}", "not {b} in the least", "far from {b}"))
PLAIN_GOOD: tuple[str, ...] = (
    "good",
    "great",
    "reliable",
    "friendly",
    "helpful",
    "fast",
    "comfortable",
    "clean",
    "pleasant",
    "impressive",
)
PLAIN_GOOD += ("happy", "satisfying", "nice", "enjoyable", "fresh", "smooth", "perfect", "worth it", "what I hoped for")
PLAIN_BAD: tuple[str, ...] = (
    "bad",
    "disappointing",
    "boring",
    "slow",
    "dirty",
    "noisy",
    "rude",
    "ugly",
    "confusing",
    "terrible",
    "expensive",
)
PLAIN_BAD += ("difficult", "annoying", "weak", "cheap", "unpleasant", "broken", "poor", "awful")
BUT = ("but", "however,", "although", "while", "yet", "on the other hand", "; still,", "but sadly", "even so,")


def place(rng: random.Random, split: Split) -> dict[str, str]:
    """Choose what the review is about."""
    kind = rng.choice(tuple(CONTEXTS))
    aspects, things = CONTEXTS[kind]
    aspect, other = rng.sample(aspects, 2)
    return {"aspect": aspect, "other": other, "thing": rng.choice(things), "first": str(DRAWS["first"](rng, split))}


def contexts() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Read aspects and things by context; a context starts at the entry with a colon."""
    read: dict[str, dict[str, list[str]]] = {"aspect": {}, "thing": {}}
    for title, found in read.items():
        kind = ""
        for entry in LISTS[title]:
            if ":" in entry:
                kind, _, word = entry.partition(":")
                found[kind] = [word]
            else:
                found[kind].append(entry)
    both = {kind: (tuple(words), tuple(read["thing"].get(kind, ["lesson"]))) for kind, words in read["aspect"].items()}
    return {kind: pair for kind, pair in both.items() if kind}


CONTEXTS = contexts()


def filled(rng: random.Random, split: Split, template: str, about: dict[str, str], words: tuple[str, ...]) -> str:
    """Fill a line's slots; `word` takes a word of the class, sometimes with "very", sometimes by negation."""

    def slot(found: re.Match[str]) -> str:
        title = found[1]
        if title in {"word", "good", "bad"}:
            chosen = rng.choice(words if title == "word" else LISTS[title])
            return (
                f"{rng.choice(VERY)} {chosen}" if title == "word" and chance(rng, 0.25) and chosen[1] != " " else chosen
            )
        return about.get(title) or str(DRAWS[title](rng, split))

    return SLOT.sub(slot, template)


def negated(rng: random.Random, split: Split, kind: str) -> tuple[str, ...]:
    """Say a class by denying the opposite."""
    if kind == "positive":
        return (NOT_BAD.pick(rng, split).format(b=rng.choice(PLAIN_BAD)),)
    return (NOT_GOOD.pick(rng, split).format(g=rng.choice(PLAIN_GOOD)),)


def clause(rng: random.Random, split: Split, kind: str, about: dict[str, str]) -> str:
    """Write one clause of a class."""
    words = {"positive": GOOD, "negative": BAD, "neutral": OKAY}[kind]
    if chance(rng, 0.4):
        return filled(rng, split, LINES[kind].pick(rng, split), about, words)
    if kind != "neutral" and chance(rng, 0.3):
        words = negated(rng, split, kind)
    return filled(rng, split, FRAMES.pick(rng, split), about, words)


def sentiment_text(rng: random.Random, split: Split, kind: str) -> str:
    """Write a review of one to four clauses."""
    about = place(rng, split)
    if kind == "mixed":
        pair = [clause(rng, split, one, about) for one in rng.sample(("positive", "negative"), 2)]
        text = f"{pair[0]} {rng.choice(BUT)} {pair[1]}" if chance(rng, 0.7) else f"{pair[0]}. {pair[1]}"
        text = text.replace(" ;", ";")
    else:
        clauses = [clause(rng, split, kind, about) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
        if chance(rng, 0.2):
            clauses.insert(
                rng.randint(0, len(clauses)), filled(rng, split, LINES["filler"].pick(rng, split), about, OKAY)
            )
        text = rng.choice((". ", ". ", "! ", ", ", " and ", ". ")).join(clauses)
    if chance(rng, 0.2):
        text = f"{OPENERS.pick(rng, split)} {text}"
    if chance(rng, 0.6):
        text = text[:1].upper() + text[1:]
    if chance(rng, 0.06):
        text = slipped(rng, text)
    return text + rng.choice((".", ".", ".", "", "!", "..."))
