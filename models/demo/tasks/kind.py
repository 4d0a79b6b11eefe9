"""What kind of text is this: code, scripts, headers, JSON, licenses, descriptions, documentation or logs."""

import random
from collections.abc import Callable, Mapping

from examples import Example, Make, Split, held_out, says, system, user

from tasks import kind_code, kind_logs, kind_prose
from tasks.descriptions import description
from tasks.packages import chance, cut
from tasks.sorting_prompts import DEMO_SHARE, ask, demo_prompt, some_labels

DEMO_QUESTION = "What kind of text is this?"
DEMO_LABELS = (
    "python code",
    "shell script",
    "c header",
    "json",
    "license",
    "package description",
    "documentation",
    "log",
)
TEXT_BYTES_MAX = 600

_WRITERS: Mapping[str, Callable[[random.Random, Split], str]] = {
    "python code": kind_code.python,
    "shell script": kind_code.shell,
    "c header": kind_code.header,
    "json": lambda rng, _: kind_code.json_text(rng),
    "license": kind_prose.legal,
    "package description": lambda rng, _: description(rng),
    "documentation": kind_prose.documentation,
    "log": lambda rng, _: kind_logs.log(rng),
}
_OTHER_WORDS = {
    "python code": ("python", "py", "Python", "Python source"),
    "shell script": ("shell", "bash", "sh", "Shell", "script"),
    "c header": ("C header", "c", "header", "C", "header file"),
    "json": ("JSON", "json data", "json file"),
    "license": ("licence", "legal", "legal text", "LICENSE", "terms"),
    "package description": ("description", "package info", "package", "package summary"),
    "documentation": ("docs", "manual", "doc", "Documentation", "guide"),
    "log": ("log file", "logs", "Log", "logfile"),
}
_QUESTIONS = held_out(
    (
        DEMO_QUESTION,
        "What is this?",
        "Classify the text by its kind.",
        "Which kind of file is this from?",
        "Sort this text by type.",
        "What type of text is it?",
        "Say what kind of document the text below is.",
        "Which of these is it?",
        "Determine the file type.",
        "Label the snippet.",
        "Classify this snippet.",
        "What sort of content is this?",
        "Name the kind of text.",
        "Which category does the text belong to?",
        "Identify the format.",
        "Tell me what this file is.",
        "Guess the type of this file.",
        "Where would this text be found?",
        "What am I looking at?",
    )
)
_ALL_GROUPS: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "code": ("python code", "shell script", "c header"),
        "prose": ("license", "package description", "documentation"),
    },
    {
        "code": ("python code", "shell script", "c header"),
        "text": ("license", "package description", "documentation"),
        "data": ("json",),
    },
    {"program": ("python code", "shell script", "c header"), "log": ("log",)},
    {"legal": ("license",), "technical": ("documentation", "package description")},
    {"json": ("json",), "not json": ("log", "python code", "license", "documentation", "c header")},
    {"log": ("log",), "other": ("json", "license", "documentation", "package description", "shell script")},
    {
        "source code": ("python code", "shell script", "c header"),
        "log": ("log",),
        "prose": ("license", "package description", "documentation"),
    },
    {"script": ("shell script", "python code"), "data": ("json",), "log": ("log",)},
    {
        "config or data": ("json",),
        "code": ("python code", "shell script", "c header"),
        "writing": ("license", "package description", "documentation"),
    },
    {"legal": ("license",), "code": ("python code", "shell script", "c header"), "log": ("log",)},
    {
        "python": ("python code",),
        "not python": ("shell script", "c header", "json", "log", "documentation", "license"),
    },
    {
        "text": ("license", "package description", "documentation"),
        "code": ("python code", "shell script", "c header"),
        "log": ("log",),
        "data": ("json",),
    },
)
_GROUPS = held_out(_ALL_GROUPS)
_YES_NO = (
    ("Is this python code?", "python code"),
    ("Is this a log file?", "log"),
    ("Is the following text a license?", "license"),
    ("Is this JSON?", "json"),
    ("Is this a shell script?", "shell script"),
    ("Is the text below from a C header?", "c header"),
    ("Is this documentation?", "documentation"),
)


def text_of(rng: random.Random, kind: str, split: Split) -> str:
    """Write a text of one kind, cut as the demo cuts it or shorter."""
    text = _WRITERS[kind](rng, split).strip("\n")
    lines = text.split("\n")
    count = rng.randint(5, 25) if chance(rng, 0.8) else rng.randint(1, 6)
    if len(lines) > count and not chance(rng, 0.3):
        start = rng.randint(0, len(lines) - count)
        text = "\n".join(lines[start : start + count])
    return cut(text, rng.choice([250, 400, 500, TEXT_BYTES_MAX, TEXT_BYTES_MAX])).strip("\n").rstrip()


def _grouped(rng: random.Random, split: Split) -> Example:
    group = rng.choice(_GROUPS[split == "held_out"])
    label = rng.choice(list(group))
    labels = rng.sample(list(group), len(group))
    messages = ask(rng, split, _QUESTIONS[split == "held_out"], labels, text_of(rng, rng.choice(group[label]), split))
    return Example(task="kind", messages=messages, answer=says(label))


def _yes_no(rng: random.Random, split: Split) -> Example:
    question, kind = rng.choice(_YES_NO)
    true = kind if chance(rng, 0.5) else rng.choice(DEMO_LABELS)
    text = text_of(rng, true, split)
    labels = rng.choice((("yes", "no"), ("yes", "no"), ("no", "yes"), ("Yes", "No")))
    right = next(label for label in labels if (label.lower() == "yes") == (true == kind))
    if chance(rng, 0.5):
        return Example(task="kind", messages=ask(rng, split, (question,), labels, text), answer=says(right))
    content = f"{question} Answer {labels[0]} or {labels[1]}.\n\n{text}"
    return Example(task="kind", messages=(system("Answer with one word."), user(content)), answer=says(right))


def make_kind(rng: random.Random, split: Split) -> Example:
    """Ask for the kind of a text among all or some kinds, under the demo's names or other words."""
    kind = rng.choice(DEMO_LABELS)
    if chance(rng, DEMO_SHARE):
        messages = demo_prompt(DEMO_QUESTION, DEMO_LABELS, text_of(rng, kind, split))
        return Example(task="kind", messages=messages, answer=says(kind))
    if chance(rng, 0.18):
        return (_yes_no if chance(rng, 0.3) else _grouped)(rng, split)
    names = {one: one if chance(rng, 0.4) else rng.choice(_OTHER_WORDS[one]) for one in DEMO_LABELS}
    if chance(rng, 0.4):
        names = {one: one for one in DEMO_LABELS}
    labels = some_labels(rng, names[kind], list(names.values()))
    messages = ask(rng, split, _QUESTIONS[split == "held_out"], labels, text_of(rng, kind, split))
    return Example(task="kind", messages=messages, answer=says(names[kind]))


MAKERS: dict[str, Make] = {"kind": make_kind}
