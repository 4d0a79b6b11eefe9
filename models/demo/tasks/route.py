"""Send a message to one of the departments, teams or queues that the prompt names, described or not."""

import random
import re
from json import dumps

from examples import Example, Make, Split, says

from tasks.labels import either, laid_out, synthetic
from tasks.lists import Pool, chance, pools, sections
from tasks.values import DRAWS, coined
from tasks.wording import polite, slipped, varied

LISTS = pools("route")
ENTRIES = [line.split("=") for line in sections("route")["departments"]]
NAMES = {key: (key, *names.split(";")) for key, names, _ in ENTRIES}
ABOUT = {key: Pool(about.split(";")) for key, _, about in ENTRIES}
THINGS = Pool(
    tuple(
        sections("topics")[title][index]
        for title in ("food", "music", "cars", "gardening", "animals", "art", "games", "travel")
        for index in range(14)
    )
)
SLOT = re.compile(r"\{(\w+)\}")
DEPARTMENTS_MAX = 9


def filled(rng: random.Random, split: Split, template: str) -> str:
    """Fill a template with values."""
    return SLOT.sub(lambda found: str(DRAWS[found[1]](rng, split)), template)


def letter(rng: random.Random, split: Split, core: str) -> str:
    """Put what is wanted into a message: greeting, closing, slips."""
    text = varied(rng, core)
    if chance(rng, 0.35):
        text = f"{LISTS['greeting'].pick(rng, split)}{rng.choice((' ', ' ', chr(10)))}{text}"
    if chance(rng, 0.35):
        mark = "" if text[-1] in "?.!" else "."
        text += f"{mark}{rng.choice((' ', ' ', chr(10)))}{filled(rng, split, LISTS['closing'].pick(rng, split))}"
    return slipped(rng, text) if chance(rng, 0.05) else text


def listed(rng: random.Random, split: Split, labels: list[str]) -> str:
    """Name the departments."""
    mark = rng.choice(("- ", "* ", "• ", ""))
    return (
        LISTS["list"]
        .pick(rng, split)
        .format(
            commas=", ".join(labels),
            bars=" | ".join(labels),
            slashes=rng.choice(("/", " / ")).join(labels),
            bullets="\n".join(mark + label for label in labels),
            quoted=", ".join(f'"{label}"' for label in labels),
            json=dumps(labels, ensure_ascii=False),
            **{"or": either(labels, "or"), "and": either(labels, "and")},
        )
    )


def described(rng: random.Random, split: Split, meanings: dict[str, str]) -> str:
    """Name the departments and say what each is for."""
    template = LISTS["describe"].pick(rng, split)
    lines = [template.format(label=label, meaning=meaning) for label, meaning in meanings.items()]
    head = rng.choice(("", "", "Departments:\n", "Queues:\n", "Teams:\n"))
    return head + rng.choice(("\n", "\n", "\n", "; ")).join(lines)


def real(rng: random.Random, split: Split, count: int) -> tuple[dict[str, str], str, str]:
    """Draw departments as companies have them: descriptions by name, the right name, the message."""
    kinds = rng.sample(tuple(NAMES), count)
    names = [rng.choice(NAMES[kind]) for kind in kinds]
    if chance(rng, 0.4):
        names = list(kinds)
    elif chance(rng, 0.3):
        names = [name.lower().replace(" ", rng.choice("_-")) for name in names]
    elif chance(rng, 0.2):
        names = synthetic(rng, split, count)
    meanings = {name: ABOUT[kind].pick(rng, split) for name, kind in zip(names, kinds, strict=True)}
    at = rng.randrange(count)
    return meanings, names[at], filled(rng, split, LISTS[kinds[at]].pick(rng, split))


def made_up(rng: random.Random, split: Split, count: int) -> tuple[dict[str, str], str, str]:
    """Draw queues that mean nothing by themselves: only a word shared by description and message tells."""
    names = synthetic(rng, split, count)
    words = rng.sample(THINGS.of(split), count * 2) if count * 2 <= len(THINGS.of(split)) else []
    words = words or list(dict.fromkeys(coined(rng) for _ in range(count * 3)))[: count * 2]
    if chance(rng, 0.3):
        words = [word if chance(rng, 0.5) else coined(rng) for word in words]
    pairs = [words[2 * index : 2 * index + 2] for index in range(count)]
    meanings = {name: rng.choice((" and ", ", ")).join(pair) for name, pair in zip(names, pairs, strict=True)}
    at = rng.randrange(count)
    core = filled(rng, split, LISTS["made"].pick(rng, split).replace("{a}", rng.choice(pairs[at])))
    return meanings, names[at], core


def route(rng: random.Random, split: Split) -> Example:
    """Ask for the department that should get a message."""
    count = rng.choice((2, 3, 3, 4, 4, 5, rng.randint(2, DEPARTMENTS_MAX)))
    made = chance(rng, 0.25)
    meanings, truth, core = (made_up if made else real)(rng, split, count)
    plain = {name for names in NAMES.values() for name in names}
    told = (
        made or chance(rng, 0.35) or not (truth in plain or truth.replace("_", "-").replace("-", " ").lower() in PLAIN)
    )
    names = described(rng, split, meanings) if told else listed(rng, split, list(meanings))
    ask = LISTS["ask"].pick(rng, split).format(noun=LISTS["noun"].pick(rng, split))
    messages = laid_out(rng, split, polite(rng, split, varied(rng, ask)), names, letter(rng, split, core))
    return Example(task="route", messages=messages, answer=says(truth))


PLAIN = frozenset(name.lower() for names in NAMES.values() for name in names)
MAKERS: dict[str, Make] = {"route": route}
