"""Greetings, small talk, counting, and the one honest answer to everything else."""

import random
import re

from examples import Example, Make, Message, Split, says, system, user

from tasks.lists import Pool, chance, pools
from tasks.values import DRAWS, coined, digits
from tasks.values import word as any_word
from tasks.wording import varied

HONEST = (
    "I am a tiny demo model with about 3 million parameters. "
    "I can sort short texts, pick out fields and call simple tools, but I cannot answer that."
)
WHO = (
    "I am a tiny demo model with about 3 million parameters. "
    "I can sort short texts, pick out fields and call simple tools."
)
ANSWERS = {
    "hello": "Hello! How can I help you?",
    "morning": "Good morning! How can I help you?",
    "evening": "Good evening! How can I help you?",
    "how": "I am fine, thank you. How can I help you?",
    "thanks": "You are welcome!",
    "bye": "Goodbye!",
    "who": WHO,
    "nice": "Thank you!",
    "sorry": "No problem.",
    "ok": "How can I help you?",
}
"""One answer a kind, so that an answer can be scored as right or wrong."""

CHAT = pools("chat")
OTHER = pools("fallback")
SLOTS = ("language", "program", "body", "title", "adjective", "noun")
KINDS = ("fact", "math", "translate", "write", "code", "opinion", "medical", "ask")
SLOT = re.compile(r"\{(\w+)\}")
OPENERS = Pool(
    ("",) * 6
    + (
        "Please ",
        "Hi, ",
        "Hello! ",
        "Hey, ",
        "Quick question: ",
        "I have a question. ",
        "Question: ",
        "Q: ",
        "Tell me, ",
    )
    + (
        "So, ",
        "I wonder, ",
        "Can you help me? ",
        "Just curious: ",
        "Good morning, ",
        "Dear assistant, ",
        "OK, ",
        "Now ",
    )
    + (
        "I need to know: ",
        "Help! ",
        "One more thing: ",
        "My question is: ",
        "Do me a favor. ",
        "For school: ",
        "User: ",
    )
)
CLOSERS = Pool(
    ("",) * 8
    + (" Thanks.", " Please answer quickly.", " Be brief.", " Explain in detail.", " Thank you!", " In one sentence.")
    + (" Answer honestly.", " Think step by step.", " It is important.", " I need it for work.", " Give examples.")
)


def filled(rng: random.Random, split: Split, template: str) -> str:
    """Fill the slots of an out-of-scope prompt."""

    def slot(found: re.Match[str]) -> str:
        title = found[1]
        if title in {"a", "b"}:
            return str(rng.choice((rng.randint(2, 12), rng.randint(2, 99), rng.randint(100, 9999))))
        if title == "phrase":
            return phrase(rng, split)
        if title in SLOTS:
            return coined(rng) if title == "noun" and chance(rng, 0.05) else OTHER[title].pick(rng, split)
        return str(DRAWS[title](rng, split))

    return SLOT.sub(slot, template)


def phrase(rng: random.Random, split: Split) -> str:
    """Make a sentence about nothing in particular."""
    return filled(rng, split, OTHER["statement"].pick(rng, split))


def small_talk(rng: random.Random, split: Split) -> Example:
    """Greet, thank, say goodbye, ask who is there; sometimes two of these, where the second one counts."""
    kind = rng.choice(("hello", "hello", "hello", "how", "how", "who", "who", *ANSWERS))
    text = CHAT[kind].pick(rng, split)
    if kind in {"how", "who"} and chance(rng, 0.45):
        greeting = CHAT[rng.choice(("hello", "hello", "morning", "evening"))].pick(rng, split).rstrip("?.!")
        text = greeting + rng.choice((", ", "! ", ". ", " ", " - ")) + text
    elif kind not in {"how", "who"} and chance(rng, 0.6):
        text = text.rstrip(".") + CHAT["address"].pick(rng, split)
    elif kind == "hello" and chance(rng, 0.3):
        text = f"{text}, I am {DRAWS['first'](rng, split)}"
    return Example(task="chat", messages=(user(varied(rng, text)),), answer=says(ANSWERS[kind]))


def counting(rng: random.Random, split: Split) -> Example:
    """Count up to a small number, or from one number to another."""
    first = 1
    count = rng.randint(2, 20)
    title = "count to"
    if chance(rng, 0.3):
        title, first = "count range", rng.randint(2, 60)
        count = rng.randint(2, 10)
    last = first + count - 1
    text = CHAT[title].pick(rng, split).format(n=last, a=first)
    numbers = ", ".join(str(number) for number in range(first, last + 1))
    return Example(task="count", messages=(user(varied(rng, text)),), answer=says(numbers))


def word_count(rng: random.Random, split: Split) -> Example:
    """Count the words of a short text."""
    count = rng.randint(1, 8)
    words = phrase(rng, split).rstrip(".?").replace(",", "").split()
    while len(words) < count:
        words += phrase(rng, split).rstrip(".?").replace(",", "").split()
    if chance(rng, 0.4):
        words = [any_word(rng, split) for _ in range(count)]
    text = " ".join(words[:count])
    prompt = CHAT["count words"].pick(rng, split).format(t=text)
    return Example(task="count-words", messages=(user(varied(rng, prompt, typos=False)),), answer=says(str(count)))


def repeat(rng: random.Random, split: Split) -> Example:
    """Say a short text again: the plainest exercise in copying."""
    style = rng.randrange(4)
    if style == 0:
        text = phrase(rng, split)
    elif style == 1:
        text = " ".join(any_word(rng, split) for _ in range(rng.randint(1, 6)))
    else:
        kinds = rng.choices(tuple(DRAWS), k=rng.randint(1, 3))
        text = " ".join(str(DRAWS[kind](rng, split)) for kind in kinds)
    prompt = CHAT["repeat"].pick(rng, split).format(t=text)
    return Example(task="repeat", messages=(user(prompt),), answer=says(text))


def gibberish(rng: random.Random, split: Split) -> str:
    """Make what is no question at all: keys hit at random, odd words, numbers, another language."""
    style = rng.randrange(6)
    if style == 0:
        return "".join(rng.choices("asdfghjklqwertyuiopzxcvbnm  ;,", k=rng.randint(4, 40)))
    if style == 1:
        return " ".join(coined(rng) for _ in range(rng.randint(1, 8)))
    if style == 2:  # noqa: PLR2004  # one of six styles
        return " ".join(str(DRAWS[kind](rng, split)) for kind in rng.choices(tuple(DRAWS), k=rng.randint(1, 4)))
    if style == 3:  # noqa: PLR2004
        return digits(rng, rng.randint(1, 12))
    return " ".join(OTHER["foreign"].pick(rng, split) for _ in range(rng.randint(1, 2)))


def out_of_scope(rng: random.Random, split: Split) -> str:
    """Make a prompt that asks for what a tiny model cannot do."""
    style = rng.random()
    if style < 0.1:  # noqa: PLR2004  # shares of the kinds
        return gibberish(rng, split)
    if style < 0.3:  # noqa: PLR2004
        text = " ".join(phrase(rng, split) for _ in range(rng.randint(1, 6)))
        return f"{text} {OTHER['long end'].pick(rng, split)}" if chance(rng, 0.5) else text
    question = filled(rng, split, OTHER[rng.choice(KINDS)].pick(rng, split))
    if style < 0.6:  # noqa: PLR2004
        question = OPENERS.pick(rng, split) + question
    if style > 0.8:  # noqa: PLR2004
        question += CLOSERS.pick(rng, split)
    if style > 0.9:  # noqa: PLR2004
        question = f"{phrase(rng, split)} {question}"
    return varied(rng, question)


def fallback(rng: random.Random, split: Split) -> Example:
    """Ask for anything else: the answer says honestly what this model is."""
    return Example(task="fallback", messages=(user(out_of_scope(rng, split)),), answer=says(HONEST))


def unrelated_system(rng: random.Random, split: Split) -> Message:
    """Make a system prompt that changes nothing."""
    return system(CHAT["system"].pick(rng, split))


MAKERS: dict[str, Make] = {
    "chat": small_talk,
    "count": counting,
    "count-words": word_count,
    "repeat": repeat,
    "fallback": fallback,
}
