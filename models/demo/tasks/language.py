"""Which language a text is in: own sentences of sixteen languages, recombined, cropped and wrapped."""

import random
import re
import textwrap

from examples import Example, Make, Split, held_out, says

from tasks.packages import chance, cut, technical
from tasks.phrases import expand, sentences, words
from tasks.sorting_prompts import DEMO_SHARE, ask, demo_prompt, some_labels

DEMO_QUESTION = "Which language is this text written in?"
DEMO_LABELS = (
    "English",
    "German",
    "French",
    "Spanish",
    "Italian",
    "Portuguese",
    "Dutch",
    "Swedish",
    "Danish",
    "Polish",
    "Czech",
    "Turkish",
    "Russian",
    "Japanese",
    "Korean",
    "Chinese",
)
TEXT_BYTES_MAX = 600

_CODES = dict(
    zip(
        DEMO_LABELS,
        (
            "en",
            "de",
            "fr",
            "es",
            "it",
            "pt",
            "nl",
            "sv",
            "da",
            "pl",
            "cs",
            "tr",
            "ru",
            "ja",
            "ko",
            "zh",
        ),
        strict=True,
    )
)
_THREE = dict(
    zip(
        DEMO_LABELS,
        (
            "eng",
            "deu",
            "fra",
            "spa",
            "ita",
            "por",
            "nld",
            "swe",
            "dan",
            "pol",
            "ces",
            "tur",
            "rus",
            "jpn",
            "kor",
            "zho",
        ),
        strict=True,
    )
)
_OWN = dict(
    zip(
        DEMO_LABELS,
        (
            "English",
            "Deutsch",
            "Français",
            "Español",
            "Italiano",
            "Português",
            "Nederlands",
            "Svenska",
            "Dansk",
            "Polski",
            "Čeština",
            "Türkçe",
            "Русский",
            "日本語",
            "한국어",
            "中文",
        ),
        strict=True,
    )
)
_UNSPACED = frozenset({"Japanese", "Chinese"})
_WEIGHTS = dict.fromkeys(DEMO_LABELS, 10) | {
    "Danish": 15,
    "Swedish": 13,
    "Spanish": 15,
    "Portuguese": 15,
    "Italian": 14,
    "Czech": 12,
    "Polish": 12,
    "Dutch": 12,
    "Russian": 6,
    "Japanese": 7,
    "Korean": 5,
    "Chinese": 7,
}
_SCRIPTS = {
    "Japanese": (0x4E00, 0x9000),
    "Chinese": (0x4E00, 0x9FA0),
    "Korean": (0xAC00, 0xD780),
    "Russian": (0x430, 0x44F),
}
_CLOSE = (
    ("Danish", "Swedish"),
    ("Spanish", "Portuguese"),
    ("Spanish", "Italian"),
    ("Portuguese", "Italian"),
    ("Spanish", "Portuguese", "Italian", "French"),
    ("Czech", "Polish"),
    ("Dutch", "German"),
    ("Danish", "Swedish", "Dutch", "German"),
    ("Japanese", "Chinese"),
    ("English", "Dutch", "Danish"),
    ("Polish", "Czech", "Russian"),
    ("Turkish", "English", "German"),
)
_QUESTIONS = held_out(
    (
        DEMO_QUESTION,
        "What language is this?",
        "Name the language of the text.",
        "Identify the language.",
        "Which language is it?",
        "Detect the language.",
        "Classify the text by language.",
        "In which language did the user write?",
        "Language?",
        "Say which language the following is in.",
        "What is the language of this text?",
        "Tell me the language of the message.",
        "Sort the message by its language.",
        "Determine the language of the sentence.",
        "Label this with its language.",
        "Which language does the writer use?",
        "Language identification:",
        "Guess the language.",
        "The text below is in which language?",
    )
)


def _joiner(language: str) -> str:
    return "" if language in _UNSPACED else " "


def _split_words(language: str, text: str) -> list[str]:
    return re.findall(r"[ -~]+|.", text) if language in _UNSPACED else text.split()


def _prose(rng: random.Random, language: str, split: Split) -> str:
    forms = sentences(f"languages/{language.lower()}", split)
    return _joiner(language).join(expand(rng, rng.choice(forms)) for _ in range(rng.choice([1, 1, 2, 3, 4, 6, 8])))


def _made_up(rng: random.Random, language: str) -> str:
    """Join letters of the script at random: no list of words shows all of them."""
    first, last = _SCRIPTS[language]
    return "".join(
        chr(rng.randint(first, last)) for _ in range(rng.choice((1, 2, 2, 3)) * (2 if language == "Russian" else 1))
    )


def _salad(rng: random.Random, language: str) -> str:
    """Join words of the language without sense: each of them counts, and no sentence is learned by heart."""
    pool = words(f"languages/{language.lower()}")
    if language in _SCRIPTS and chance(rng, 0.5):
        pool = (*pool[:60], *(_made_up(rng, language) for _ in range(40)))
    return _joiner(language).join(rng.choice(pool) for _ in range(rng.randint(4, 45)))


def _crop(rng: random.Random, language: str, text: str) -> str:
    parts = _split_words(language, text)
    count = rng.randint(min(5, len(parts)), len(parts))
    start = rng.randint(0, len(parts) - count)
    return _joiner(language).join(parts[start : start + count])


def _sprinkle(rng: random.Random, language: str, text: str) -> str:
    parts = _split_words(language, text)
    for _ in range(rng.randint(1, 1 + len(parts) // 8)):
        parts.insert(
            rng.randint(0, len(parts)),
            rng.choice(["{}", "{}", '"{}"', "({})", "«{}»", "'{}'", "{},", "`{}`", "{}."]).format(technical(rng)),
        )
    return _joiner(language).join(parts)


def _layout(rng: random.Random, language: str, split: Split, text: str) -> str:
    forms = sentences(f"languages/{language.lower()}", split)
    title, *items = (expand(rng, rng.choice(forms)) for _ in range(rng.randint(2, 4)))
    mark = rng.choice(["* ", " - ", "- ", "  * ", "1. "])
    looks = (
        text,
        textwrap.fill(text, rng.randint(30, 76)),
        f"{title}\n {text}",
        f"{title}\n\n{text}",
        f"{text}\n .\n {title}",
        "\n".join(mark + line for line in (title, *items)),
        f" {text}\n",
    )
    return rng.choices(looks, (6, 1, 1, 1, 1, 1, 1))[0]


def passage(rng: random.Random, language: str, split: Split) -> str:
    """Write a text in one of the demo's languages, at most `TEXT_BYTES_MAX` long, often much shorter."""
    while True:
        text = _salad(rng, language) if chance(rng, 0.2) else _prose(rng, language, split)
        if chance(rng, 0.3):
            more = _salad(rng, language) if chance(rng, 0.3) else _prose(rng, language, split)
            text = f"{text}{_joiner(language)}{more}"
        if chance(rng, 0.4):
            text = _crop(rng, language, text)
        if chance(rng, 0.35):
            text = _sprinkle(rng, language, text)
        text = _layout(rng, language, split, text)
        if chance(rng, 0.04):
            text = text.upper()
        elif chance(rng, 0.06):
            text = text.lower()
        text = cut(text, rng.choice([120, 200, 300, 400, TEXT_BYTES_MAX, TEXT_BYTES_MAX])).rstrip()
        if sum(letter.isalpha() for letter in text) >= (5 if language in _UNSPACED else 12):
            return text


def make_language(rng: random.Random, split: Split) -> Example:
    """Ask for the language among all sixteen, a few, or close relatives, by English name, own name or code."""
    language = rng.choices(DEMO_LABELS, [_WEIGHTS[one] for one in DEMO_LABELS])[0]
    text = passage(rng, language, split)
    if chance(rng, DEMO_SHARE):
        return Example(task="language", messages=demo_prompt(DEMO_QUESTION, DEMO_LABELS, text), answer=says(language))
    lower = {one: one.lower() for one in DEMO_LABELS}
    upper = {one: code.upper() for one, code in _CODES.items()}
    names = rng.choices(
        [dict(zip(DEMO_LABELS, DEMO_LABELS, strict=True)), lower, _CODES, upper, _THREE, _OWN], [50, 15, 14, 5, 5, 11]
    )[0]
    close = [group for group in _CLOSE if language in group]
    labels = some_labels(rng, names[language], list(names.values()))
    if close and chance(rng, 0.25):
        group = rng.choice(close)
        labels = [names[one] for one in rng.sample(group, len(group))]
    messages = ask(rng, split, _QUESTIONS[split == "held_out"], labels, text)
    return Example(task="language", messages=messages, answer=says(names[language]))


MAKERS: dict[str, Make] = {"language": make_language}
