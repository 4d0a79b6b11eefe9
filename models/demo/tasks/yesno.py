"""Yes or no about a sentence that is given: places, colours, states, counts, possessions."""

import random
from collections.abc import Callable

from examples import Example, Make, Split, says, system, user

from tasks.lists import Pool, chance, pools, sections
from tasks.values import city, coined, first
from tasks.wording import varied

Pair = tuple[str, str]
"""A statement, and the question form of a statement."""
LISTS = pools("yesno")
OPPOSITE = dict(entry.split("=") for entry in sections("yesno")["opposite"])
OPPOSITE |= {value: key for key, value in OPPOSITE.items()}
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "12", "15", "20", "40")
ENDINGS: Pool[tuple[str, str, str]] = Pool(
    (
        ("", "Yes.", "No."),
        ("", "Yes.", "No."),
        ("", "Yes.", "No."),
        ("", "Yes.", "No."),
        ("Answer yes or no.", "yes", "no"),
        ("Answer with yes or no.", "yes", "no"),
        ("yes or no?", "yes", "no"),
        ("Yes or no?", "Yes", "No"),
        ("(yes/no)", "yes", "no"),
        ("Reply with Yes or No.", "Yes", "No"),
        ("Reply only yes or no", "yes", "no"),
        ("One word: yes or no.", "yes", "no"),
        ("true or false?", "true", "false"),
        ("Answer true or false.", "true", "false"),
        ("True or False?", "True", "False"),
        ("Answer YES or NO.", "YES", "NO"),
        ("Answer with one word, no or yes.", "yes", "no"),
        ("Options: yes, no", "yes", "no"),
        ("Y or N?", "Y", "N"),
        ("[yes|no]", "yes", "no"),
    )
)
LAYOUTS = Pool(
    (
        "{s} {q}",
        "{s} {q}",
        "{s}\n{q}",
        "{s}\n\n{q}",
        "Text: {s}\nQuestion: {q}",
        'Read this: "{s}" {q}',
        "{q}\n\n{s}",
        "Context: {s}\nQ: {q}\nA:",
        "<text>{s}</text>\n{q}",
        "Here is what I know: {s} Now tell me: {q}",
        "Question: {q}\nText: {s}",
        "Given that {s} {q}",
        "Fact: {s} {q}",
        "{s} So, {q}",
        "According to this text, {q}\n\n{s}",
        "Story: {s}\n{q}",
    )
)


def thing(rng: random.Random, split: Split) -> str:
    """Draw something with an article."""
    pool = LISTS[rng.choice(("animal", "object"))]
    return f"the {coined(rng, 2) if chance(rng, 0.12) else pool.pick(rng, split)}"


def being(rng: random.Random, split: Split, title: str) -> tuple[Pair, Pair]:
    """Say that somebody or something is somewhere or somehow; the second pair says it differently."""
    subject = first(rng, split) if title in {"state", "feature"} or chance(rng, 0.3) else thing(rng, split)
    if title == "colour":
        subject = thing(rng, split)
    one = city(rng, split) if title == "where" and chance(rng, 0.2) else ""
    said, other = LISTS[title].pick(rng, split), LISTS[title].pick(rng, split)
    said = f"in {one}" if one else said
    if said in OPPOSITE and chance(rng, 0.5):
        other = OPPOSITE[said]
    verb = rng.choice(("is", "is", "is", "was"))
    return tuple((f"{subject} {verb} {word}", f"{verb} {subject} {word}") for word in (said, other))  # type: ignore[return-value]  # two of them


def having(rng: random.Random, split: Split) -> tuple[Pair, Pair]:
    """Say how many things somebody has."""
    who, what = first(rng, split), LISTS[rng.choice(("animal", "object"))].pick(rng, split)
    plural = {"mouse": "mice", "knife": "knives", "box": "boxes", "sheep": "sheep", "fox": "foxes"}.get(
        what, f"{what}s"
    )
    return tuple(
        (f"{who} has {count} {plural}", f"does {who} have {count} {plural}") for count in rng.sample(NUMBERS, 2)
    )  # type: ignore[return-value]  # two of them


def owning(rng: random.Random, split: Split) -> tuple[Pair, Pair]:
    """Say who likes, sees or owns a thing."""
    who = first(rng, split)
    verb = rng.choice(("like", "own", "see", "want", "need", "sell", "carry", "paint"))
    third = "carries" if verb == "carry" else f"{verb}s"
    pair = (thing(rng, split), thing(rng, split))
    return tuple((f"{who} {third} {what}", f"does {who} {verb} {what}") for what in pair)  # type: ignore[return-value]  # two of them


SCENES: tuple[Callable[[random.Random, Split], tuple[Pair, Pair]], ...] = (
    lambda rng, split: being(rng, split, "where"),
    lambda rng, split: being(rng, split, "where"),
    lambda rng, split: being(rng, split, "colour"),
    lambda rng, split: being(rng, split, "quality"),
    lambda rng, split: being(rng, split, "state"),
    lambda rng, split: being(rng, split, "feature"),
    having,
    owning,
)


def sentence(text: str) -> str:
    """Write with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def yesno(rng: random.Random, split: Split) -> Example:
    """Ask about one of the statements given, with or without a difference."""
    scene, other = rng.choice(SCENES)(rng, split)
    told, asked = scene, scene if chance(rng, 0.5) else other
    while asked is not told and asked[1] == told[1]:
        told, asked = rng.choice(SCENES)(rng, split)
    statements = [sentence(told[0])]
    while chance(rng, 0.25):
        more = sentence(rng.choice(SCENES)(rng, split)[0][0])
        statements.insert(rng.randint(0, len(statements)), more)
    ending, yes, no = ENDINGS.pick(rng, split)
    question = f"{asked[1][:1].upper()}{asked[1][1:]}?" if chance(rng, 0.85) else f"Is it true that {asked[0]}?"
    layout = LAYOUTS.pick(rng, split)
    in_system = ending and chance(rng, 0.2)
    if ending and not in_system:
        question = f"{question} {ending}"
    text = layout.format(s=" ".join(statements), q=question)
    asking = user(text if chance(rng, 0.8) else varied(rng, text))
    messages = (system(ending), asking) if in_system else (asking,)
    return Example(task="yesno", messages=messages, answer=says(yes if asked is told else no))


MAKERS: dict[str, Make] = {"yesno": yesno}
