"""How people type: case, final marks, slips, and the many ways to set a text apart from what is asked about it."""

import random

from examples import Split

from tasks.lists import Pool, chance

WRAPS = Pool(
    (
        "^Text:\n{t}",
        "Text: {t}",
        '"{t}"',
        "'{t}'",
        "<text>{t}</text>",
        "<text>\n{t}\n</text>",
        "```\n{t}\n```",
        "---\n{t}\n---",
        "{t}",
        "Input: {t}",
        "Message: {t}",
        "### Text\n{t}",
        "> {t}",
        "“{t}”",
        "Here is the text: {t}",
        "The text:\n\n{t}",
        '"""\n{t}\n"""',
        "TEXT: {t}",
        "[{t}]",
        "<input>{t}</input>",
        "<message>\n{t}\n</message>",
        "Content:\n{t}",
        "text = {t}",
        "### Input:\n{t}",
        "Sentence: {t}",
        "Comment: {t}",
        "The following was written: {t}",
        "<document>{t}</document>",
    )
)


def wrapped(rng: random.Random, split: Split, text: str) -> str:
    """Set a text apart from the instruction."""
    return WRAPS.pick(rng, split).replace("{t}", text)


def slipped(rng: random.Random, text: str) -> str:
    """Swap, drop or double one letter."""
    places = [index for index in range(1, len(text) - 1) if text[index - 1 : index + 2].isalpha()]
    if not places:
        return text
    at = rng.choice(places)
    middle = rng.choice((text[at + 1] + text[at], text[at + 1], text[at] + text[at : at + 2]))
    return text[:at] + middle + text[at + 2 :]


def varied(rng: random.Random, text: str, *, typos: bool = True) -> str:
    """Write a short prompt the way somebody types: case, marks, slips."""
    style = rng.random()
    if style < 0.5:  # noqa: PLR2004  # shares of the ways
        text = text[:1].upper() + text[1:]
    elif style < 0.54:  # noqa: PLR2004
        text = text.lower()
    elif style < 0.56 and typos:  # noqa: PLR2004
        text = text.upper()
    if typos and chance(rng, 0.05):
        text = slipped(rng, text)
    if chance(rng, 0.15) and text.endswith(("?", ".")):
        text = text[:-1]
    elif chance(rng, 0.1) and text[-1:].isalpha():
        text += rng.choice((".", "?", "!", " ?"))
    return text


POLITE = Pool(
    (
        *(
            "Please: ",
            "Hi, ",
            "Hello! ",
            "Hey, ",
            "Task: ",
            "Instruction: ",
            "### Instruction:\n",
            "Your task: ",
            "Now: ",
        ),
        *("Good morning. ", "Here is another one. ", "I need your help. ", "Quick one: ", "Hi there! ", "Next one. "),
        *("Thanks for your help so far. ", "Read carefully. ", "One more: ", "This is important. ", "Let's start. "),
        *("User: ", "Dear assistant, ", "OK. "),
    )
)
THANKED = Pool(
    (" Thanks!", " Thank you.", " Please.", " please", " Be precise.", " Be quick.", " It is for a report.", " ok?")
)


def polite(rng: random.Random, split: Split, text: str) -> str:
    """Put a few words around an instruction, as people do."""
    if text and chance(rng, 0.15):
        text = POLITE.pick(rng, split) + text
    if text and chance(rng, 0.05):
        text += THANKED.pick(rng, split)
    return text


def joined(rng: random.Random, parts: list[str]) -> str:
    """Join the parts of a prompt with line breaks or spaces."""
    return rng.choice(("\n\n", "\n\n", "\n", "\n", " ")).join(part for part in parts if part)
