"""How a prompt names the labels that may be answered, and where it puts them, the instruction and the text."""

import random
from collections.abc import Mapping, Sequence
from json import dumps

from examples import Message, Split, system, user

from tasks.lists import Pool, chance
from tasks.values import LETTERS, LISTS, coined, digits
from tasks.wording import joined, wrapped

FORMATS = Pool(
    (
        "^Answer with one of: {commas}.",
        "^Answer with one of: {commas}",
        "one of: {commas}",
        "^Labels: {commas}",
        "Labels: {bars}",
        "({slashes})",
        "Options: {bars}",
        "^Options:\n{bullets}",
        "Choose one of these labels:\n{bullets}",
        "Categories:\n{bullets}",
        "Possible answers: {commas}.",
        "Reply with exactly one of {or}.",
        "Answer {or}.",
        "^Is it {or}?",
        "^Reply with one word: {or}",
        "Choose from [{commas}].",
        "Choices: {json}",
        "labels = {json}",
        "Classes: {slashes}",
        "Pick one label out of {commas}.",
        "The answer must be {or}.",
        "Only answer with {or}, nothing else.",
        "Allowed values: {json}.",
        "Valid labels are {quoted}.",
        "Use one of the labels {quoted}.",
        "Select: {bars}",
        "Which one fits best: {or}?",
        "{slashes}?",
        "Your options are {or}",
        "Categories:\n{numbered}",
        "<labels>{commas}</labels>",
        "Say {or}.",
        "Output one of {quoted}.",
        "{bars}",
        "Respond with a single label ({commas}).",
        "Answer with a single word from this list: {commas}.",
        "Choose {or}",
        "Your answer is one of the following.\n{bullets}",
        "choose between {and}",
        "Sort it into {and}.",
        "Classify as {or}:",
        "Is the following {or}?",
        "Label it as {slashes}:",
        "Tag with {bars}:",
        "({or})",
        "Give exactly one of these words: {commas}",
        "You may only say {or}.",
        "The labels are: {bullets}",
        "The classes are {and}.",
        "Decide between {and}:",
        "Mark as {or}",
        "Is this {or}?",
    )
)
MEANINGS = Pool(
    (
        "{label} = {meaning}",
        "{label}: {meaning}",
        "- {label}: {meaning}",
        "- {label} ({meaning})",
        "answer {label} if the text is {meaning}",
        "{label} means {meaning}",
        "{meaning} -> {label}",
        "If it is {meaning}, say {label}.",
        "use {label} for {meaning}",
        '"{label}": {meaning}',
        "{label} when it is {meaning}",
        "* {label} - {meaning}",
        "reply {label} when the message is {meaning}",
        "{meaning}: {label}",
    )
)
ENDINGS = Pool(
    ("",) * 24
    + ("Answer:", "Label:", "Reply with the label only.", "One word only.", "No explanation.", "Answer with the label.")
    + ("Category:", "Do not explain.", "Your answer:", "Just the label, please.", "Nothing else.", "Output:")
)
SYSTEMS = Pool(
    (
        "^You sort texts. Reply with one word.",
        "You are a classifier.",
        "You classify texts.",
        "You label data. Answer with the label only.",
        "You are a careful annotator.",
        "Classify what the user sends.",
        "Reply with one label.",
        "You are a text classification system.",
        "You answer with exactly one label.",
        "You are a labelling machine. No explanations.",
        "Sort the text. One word.",
        "Your job is to pick the right label.",
        "You read texts and choose a category.",
        "You are a helpful assistant.",
        "You are an expert in reading texts.",
        "Answer with one word.",
    )
)


PLAIN_SHARE = 0.3
"""How often a question is one line, followed by the bare text."""


def synthetic(rng: random.Random, split: Split, count: int) -> list[str]:
    """Make labels that mean nothing: codes, colours, letters, made-up words."""
    style = rng.randrange(8)
    start = rng.randint(0, 9)
    letter = rng.choice(LETTERS)
    word = LISTS["word"].pick(rng, split) if chance(rng, 0.5) else coined(rng, 2)
    if style <= 1:
        before = letter if style == 0 else f"{word}-"
        return [f"{before}{number + start}" for number in range(count)]
    if style == 2:  # noqa: PLR2004  # one of eight styles
        return rng.sample(LETTERS, count)
    if style == 3:  # noqa: PLR2004
        return [f"{word}{rng.choice('_-')}{other}" for other in dict.fromkeys(coined(rng, 1) for _ in range(99))][
            :count
        ]
    if style == 4:  # noqa: PLR2004
        return [f"{letter}{digits(rng, 1)}{rng.choice(LETTERS)}{number}" for number in range(count)]
    colours = LISTS["colour"].of(split)
    if style <= 6:  # noqa: PLR2004
        return rng.sample(colours if count <= len(colours) and chance(rng, 0.5) else LISTS["word"].of(split), count)
    made: dict[str, None] = {}
    while len(made) < count:
        made[coined(rng, 2)] = None
    return list(made)


def recased(rng: random.Random, labels: Sequence[str]) -> list[str]:
    """Write all labels small, with a capital, or in capitals."""
    style = rng.random()
    if style < 0.72:  # noqa: PLR2004  # shares of the ways
        return list(labels)
    if style < 0.9:  # noqa: PLR2004
        return [label[:1].upper() + label[1:] for label in labels]
    if style < 0.96:  # noqa: PLR2004
        return [label.upper() for label in labels]
    return [label.replace(" ", "_") for label in labels]


def either(labels: Sequence[str], last: str) -> str:
    """Write `a, b or c`."""
    return f"{', '.join(labels[:-1])} {last} {labels[-1]}"


def named(rng: random.Random, split: Split, labels: Sequence[str]) -> str:
    """Name the labels in one of many formats."""
    quote = rng.choice(('"', "'", "`"))
    mark = rng.choice(("- ", "* ", "• ", "-> "))
    return FORMATS.pick(rng, split).format(
        commas=", ".join(labels),
        bars=rng.choice((" | ", "|")).join(labels),
        slashes=rng.choice((" / ", "/")).join(labels),
        bullets="\n".join(mark + label for label in labels),
        numbered="\n".join(f"{number}. {label}" for number, label in enumerate(labels, 1)),
        quoted=", ".join(f"{quote}{label}{quote}" for label in labels),
        json=dumps(list(labels), ensure_ascii=False),
        **{"or": either(labels, "or"), "and": either(labels, "and")},
    )


def explained(rng: random.Random, split: Split, meanings: Mapping[str, str]) -> str:
    """Say what each label means."""
    template = MEANINGS.pick(rng, split)
    lines = [template.format(label=label, meaning=meaning) for label, meaning in meanings.items()]
    return rng.choice(("\n", "\n", "\n", ", ", "; ")).join(lines)


def laid_out(rng: random.Random, split: Split, instruction: str, labels: str, text: str) -> tuple[Message, ...]:
    """Put instruction, labels and text into a system prompt and a user's turn, in one of many orders."""
    if chance(rng, PLAIN_SHARE):
        return (user(joined(rng, [f"{instruction} {labels}".strip(), text])),)
    ending = ENDINGS.pick(rng, split)
    style = rng.randrange(10) if instruction and labels else 9
    if style == 0:
        return system(joined(rng, [instruction, labels, ending])), user(text)
    if style == 1:
        return system(f"{instruction} {labels}".strip()), user(wrapped(rng, split, text))
    if style == 2:  # noqa: PLR2004  # one of ten layouts
        return system(labels), user(joined(rng, [instruction, wrapped(rng, split, text), ending]))
    parts = [instruction, labels, wrapped(rng, split, text), ending]
    if style in {3, 4}:
        parts = [wrapped(rng, split, text), instruction, labels, ending]
    elif style == 5:  # noqa: PLR2004
        parts = [instruction, wrapped(rng, split, text), labels, ending]
    elif style in {6, 7}:
        parts = [f"{instruction} {labels}".strip(), wrapped(rng, split, text), ending]
    asked = user(joined(rng, parts))
    return (system(SYSTEMS.pick(rng, split)), asked) if chance(rng, 0.25) else (asked,)
