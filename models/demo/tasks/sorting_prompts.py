"""How somebody may ask to sort a text under one of several labels: the demo's own wording and many others."""

import random
from collections.abc import Sequence

from examples import Message, Split, held_out, system, user

from tasks.packages import chance

DEMO_SYSTEM = "You sort texts. Reply with one word."
DEMO_SHARE = 0.35

_SYSTEMS = held_out(
    (
        "You sort texts.",
        "You are a classifier. Answer with the label only.",
        "Reply with exactly one label.",
        "You are a helpful assistant.",
        "You label texts. Give the label and nothing else.",
        "Answer with one word.",
        "You are a text classification tool.",
        "Classify what the user sends. Output one of the allowed labels, nothing more.",
        "Pick the best label.",
        "Only answer with a label from the list.",
        "You sort documents into groups.",
        "Reply with one of the given options.",
        "You are a careful annotator. One label per text.",
        "Be brief.",
    )
)
_LISTS = held_out(
    (
        "Answer with one of: {comma}.",
        "Answer with one of: {comma}",
        "Labels: {comma}",
        "Choose from: {comma}.",
        "Options: {bar}",
        "({slash})",
        "Pick one: {comma}.",
        "Possible answers: {quoted}.",
        "Allowed labels:\n{bullets}",
        "Choose exactly one of these:\n{bullets}",
        "One of {slash}?",
        "Reply with one of [{comma}].",
        "Reply with one of the following: {comma}.",
        "Select one label: {bar}.",
        "It is one of {or_}.",
        "Is it {or_}?",
        "Valid answers are {or_}.",
        "Labels:\n{lines}",
        "Use only these labels: {quoted}",
        "Categories: {comma}.",
    )
)
_FRAMES = held_out(
    (
        "{ask} {labels}\n\nText:\n{text}",
        "{ask} {labels}\n\n{text}",
        "{ask}\n{labels}\n\nText: {text}",
        "Text:\n{text}\n\n{ask} {labels}",
        "{ask} {labels}\n\n<text>\n{text}\n</text>",
        "{ask}\n\n```\n{text}\n```\n\n{labels}",
        "{text}\n\n{ask} {labels}",
        "{labels}\n{ask}\n\nText:\n{text}",
        '{ask} {labels}\n\n"""\n{text}\n"""',
        "{ask} {labels}\n---\n{text}\n---",
        "<document>{text}</document>\n\n{ask} {labels}",
        "{ask} {labels}\n\nInput:\n{text}\n\nLabel:",
        "{ask} {labels}\n```\n{text}\n```",
    )
)
_TEXT_FRAMES = ("{text}", "Text:\n{text}", "Text: {text}", "<text>{text}</text>", "```\n{text}\n```")


def write_list(form: str, labels: Sequence[str]) -> str:
    """Fill one of the label list wordings."""
    return form.format(
        comma=", ".join(labels),
        bar=" | ".join(labels),
        slash="/".join(labels),
        quoted=", ".join(f'"{label}"' for label in labels),
        bullets="\n".join(f"- {label}" for label in labels),
        lines="\n".join(labels),
        or_=", ".join(labels[:-1]) + " or " + labels[-1],
    )


def demo_prompt(question: str, labels: Sequence[str], text: str) -> tuple[Message, ...]:
    """Ask exactly as the demo asks."""
    return system(DEMO_SYSTEM), user(f"{question} Answer with one of: {', '.join(labels)}.\n\nText:\n{text}")


def ask(
    rng: random.Random, split: Split, questions: Sequence[str], labels: Sequence[str], text: str
) -> tuple[Message, ...]:
    """Ask in one of many ways: list in the system prompt or beside the text, text before or after, quoted or fenced."""
    side = int(split == "held_out")
    question = rng.choice(questions)
    listed = write_list(rng.choice(_LISTS[side]), labels)
    if chance(rng, 0.2):
        return system(f"{question} {listed}"), user(rng.choice(_TEXT_FRAMES).replace("{text}", text))
    frame = rng.choice(_FRAMES[side])
    content = frame.replace("{ask}", question).replace("{labels}", listed).replace("{text}", text)
    if chance(rng, 0.4):
        return (user(content),)
    return system(rng.choice((DEMO_SYSTEM, *_SYSTEMS[side]))), user(content)


def some_labels(rng: random.Random, true: str, labels: Sequence[str]) -> list[str]:
    """Draw a subset with the true label in it, in random order; all of them now and then."""
    if chance(rng, 0.35):
        return rng.sample(labels, len(labels))
    others = [label for label in labels if label != true]
    drawn = [true, *rng.sample(others, rng.randint(1, len(others)))]
    rng.shuffle(drawn)
    return drawn
