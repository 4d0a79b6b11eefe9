"""Copy the fields that the prompt names out of running text or records into one JSON object."""

import random
import re
from json import dumps

from examples import Example, Make, Message, Split, says, system, user

from tasks.lists import Pool, chance, pools, sections
from tasks.values import DRAWS, Value, coined
from tasks.wording import joined, polite, wrapped

LISTS = pools("extract")
FIELDS: dict[str, tuple[str, str, tuple[str, ...]]] = {}
"""By slot: how its value is drawn, its field name, other field names."""
for entry in sections("extract")["fields"]:
    slot_name, drawn, plain, others = entry.split("=")
    FIELDS[slot_name] = (drawn, plain, tuple(filter(None, others.split(","))))
SCENES = {
    title.removeprefix("scene "): Pool(lines)
    for title, lines in sections("extract").items()
    if title.startswith("scene ")
}
SLOT = re.compile(r"\{(\w+)\}")
NUMBERS = frozenset({"small", "large", "price", "age", "year"})
FIELDS_MAX = 6
ABSENT: tuple[str, ...] = (
    "shoe size",
    "blood type",
    "license",
    "weight",
    "height",
    "nickname",
    "website",
    "tax_id",
    "passport",
    "hobby",
    "pet",
)
ABSENT += (
    "salary",
    "zip",
    "vat",
    "middle_name",
    "latitude",
    "ISBN",
    "fax",
    "gate",
    "discount",
    "rating",
    "comment",
    "checksum",
)
MISSING = (
    " Use null for what is missing.",
    " Missing fields are null.",
    " null if unknown.",
    " If a field is not there, use null.",
    "",
    "",
)


def drawn_value(rng: random.Random, split: Split, kind: str) -> Value:
    """Draw a value of a kind; "any" is one of all kinds, where no text looks like a number."""
    if kind != "any":
        return DRAWS[kind](rng, split)
    value = DRAWS[rng.choice(tuple(DRAWS))](rng, split)
    while isinstance(value, str) and value.replace(".", "", 1).isdigit():
        value = DRAWS["word"](rng, split)
    return value


def running(rng: random.Random, split: Split, scene: str) -> tuple[str, dict[str, Value]]:
    """Write one to three sentences of a scene; values by slot."""
    template = SCENES[scene].pick(rng, split)
    values = {slot: drawn_value(rng, split, FIELDS[slot][0]) for slot in SLOT.findall(template)}
    text = SLOT.sub(lambda found: str(values[found[1]]), template)
    if chance(rng, 0.2):
        text = f"{LISTS['filler'].pick(rng, split)} {text}"
    if chance(rng, 0.2):
        text = f"{text} {LISTS['filler'].pick(rng, split)}"
    return text, values


def scene_fields(rng: random.Random, split: Split) -> tuple[str, dict[str, Value]]:
    """Write a text of a scene and name its fields."""
    text, values = running(rng, split, rng.choice(tuple(SCENES)))
    named: dict[str, Value] = {}
    for slot, value in values.items():
        _, plain, others = FIELDS[slot]
        title = rng.choice(others) if others and chance(rng, 0.35) else plain
        named[title if title not in named else slot] = value
    return text, named


def made_name(rng: random.Random, split: Split) -> str:
    """Make a field name of one or two words."""
    parts = [
        LISTS["part"].pick(rng, split) if chance(rng, 0.75) else coined(rng, 2) for _ in range(rng.choice((1, 1, 2)))
    ]
    return rng.choice(("_", "_", " ", "-")).join(parts)


def generic_fields(rng: random.Random, split: Split) -> tuple[str, dict[str, Value]]:
    """Write sentences that name their fields, as in "The batch code is X7"."""
    named: dict[str, Value] = {}
    for _ in range(rng.randint(2, 6)):
        named[made_name(rng, split)] = drawn_value(rng, split, "any")
    parts = []
    for key, value in named.items():
        template = LISTS["generic"].pick(rng, split)
        template = template if template.startswith("{v}") else template[:1].upper() + template[1:]
        parts.append(template.format(k=key.replace("_", " ").replace("-", " "), v=value))
    return rng.choice((" ", " ", "\n")).join(parts), named


def record_fields(rng: random.Random, split: Split) -> tuple[str, dict[str, Value]]:
    """Write a record: lines of key and value, a table of two rows, a line of pairs."""
    named: dict[str, Value] = {}
    slots = rng.sample(tuple(FIELDS), rng.randint(2, 7))
    for slot in slots:
        drawn, plain, _ = FIELDS[slot]
        named[plain if chance(rng, 0.7) else made_name(rng, split)] = drawn_value(rng, split, drawn)
    look = rng.randrange(8)
    shown = {key: (key.capitalize() if look in {0, 1} else key, str(value)) for key, value in named.items()}
    if look == 2:  # noqa: PLR2004  # one of eight looks
        mark = rng.choice((",", ";", "\t", " | "))
        return f"{mark.join(named)}\n{mark.join(value for _, value in shown.values())}", named
    if look == 3:  # noqa: PLR2004
        return dumps(named, ensure_ascii=False, indent=rng.choice((None, 1, 2))), named
    if look == 4:  # noqa: PLR2004
        return "".join(f"<{key}>{value}</{key}>" for key, value in shown.values()), named
    mark = rng.choice((": ", ": ", " = ", "=", " - ", ":"))
    end = rng.choice(("\n", "\n", "\n", "; ", ", ", " | "))
    return end.join(f"{key}{mark}{value}" for key, value in shown.values()), named


def asked_as_schema(rng: random.Random, wanted: dict[str, Value | None]) -> str:
    """Ask by a JSON schema."""
    types = {
        key: {
            "type": ("integer" if isinstance(value, int) else "number") if isinstance(value, (int, float)) else "string"
        }
        for key, value in wanted.items()
    }
    schema: dict[str, object] = {"type": "object", "properties": types}
    if chance(rng, 0.6):
        schema["required"] = list(wanted)
    if chance(rng, 0.3):
        schema["additionalProperties"] = False
    return dumps(schema, ensure_ascii=False, indent=2 if chance(rng, 0.15) else None)


def typed(rng: random.Random, wanted: dict[str, Value | None]) -> str:
    """Name the fields with their types, as a list or as a form to be filled in."""
    number, text = rng.choice((("number", "string"), ("int", "str"), ("a number", "text"), ("number", "text")))
    types = {key: number if isinstance(value, (int, float)) else text for key, value in wanted.items()}
    style = rng.randrange(4)
    if style == 0:
        return dumps(types, ensure_ascii=False)
    if style == 1:
        return "{" + ", ".join(f'"{key}": ...' for key in types) + "}"
    mark, end = (" (", ")") if style <= 2 else (": ", "")  # noqa: PLR2004  # four looks
    return ", ".join(f"{key}{mark}{kind}{end}" for key, kind in types.items())


def keys_named(rng: random.Random, keys: list[str]) -> str:
    """Name the fields that are asked for."""
    style = rng.randrange(9)
    if style <= 3 and len(keys) > 1:  # noqa: PLR2004  # nine ways of naming
        return f"{', '.join(keys[:-1])} and {keys[-1]}"
    if style == 4:  # noqa: PLR2004
        return ", ".join(f'"{key}"' for key in keys)
    if style == 5:  # noqa: PLR2004
        return dumps(keys, ensure_ascii=False)
    if style == 6:  # noqa: PLR2004
        return "\n" + "\n".join(f"- {key}" for key in keys)
    if style == 7:  # noqa: PLR2004
        return " | ".join(keys)
    return ", ".join(keys)


def recased(rng: random.Random, wanted: dict[str, Value | None]) -> dict[str, Value | None]:
    """Ask in another spelling of the names: camelCase, capitals, underscores."""
    style = rng.random()
    if style < 0.75:  # noqa: PLR2004  # shares of the ways
        return wanted
    if style < 0.87:  # noqa: PLR2004
        return {re.sub(r"[_ -](\w)", lambda found: found[1].upper(), key): value for key, value in wanted.items()}
    if style < 0.93:  # noqa: PLR2004
        return {re.sub(r"[ -]", "_", key): value for key, value in wanted.items()}
    return {key.capitalize(): value for key, value in wanted.items()}


def laid_out(rng: random.Random, split: Split, wanted: dict[str, Value | None], text: str) -> tuple[Message, ...]:
    """Put request and text into one or two messages."""
    keys = list(wanted)
    if chance(rng, 0.2):
        ask = LISTS["schema"].pick(rng, split).replace("{s}", asked_as_schema(rng, wanted))
    else:
        ask = (
            LISTS["ask"]
            .pick(rng, split)
            .replace("{k}", keys_named(rng, keys) if chance(rng, 0.8) else typed(rng, wanted))
        )
    if None in wanted.values():
        ask += rng.choice(MISSING)
    ask = polite(rng, split, ask)
    style = rng.randrange(8)
    if style == 0:
        return system(ask), user(text)
    if style == 1:
        return system(ask), user(wrapped(rng, split, text))
    parts = [wrapped(rng, split, text), ask] if style == 2 else [ask, wrapped(rng, split, text)]  # noqa: PLR2004
    asking = user(joined(rng, parts))
    return (system(LISTS["system"].pick(rng, split)), asking) if chance(rng, 0.35) else (asking,)


def with_missing(rng: random.Random, fields: dict[str, Value | None], text: str) -> dict[str, Value | None]:
    """Ask for a field, too, that the text does not have: its value is null."""
    lacking = [name for name in ABSENT if name not in fields and name not in text]
    keys = [*fields, rng.choice(lacking)]
    rng.shuffle(keys)
    return {key: fields.get(key) for key in keys}


def extract(rng: random.Random, split: Split) -> Example:
    """Ask for some of the fields of a text, in an order of its own."""
    style = rng.random()
    make = scene_fields if style < 0.55 else generic_fields if style < 0.75 else record_fields  # noqa: PLR2004  # shares
    text, named = make(rng, split)
    keys = rng.sample(list(named), rng.randint(min(2, len(named)), min(FIELDS_MAX, len(named))))
    if chance(rng, 0.06):
        keys = keys[:1]
    fields: dict[str, Value | None] = {key: named[key] for key in keys}
    if make is scene_fields and chance(rng, 0.12):
        fields = with_missing(rng, fields, text)
    wanted = recased(rng, fields)
    messages = laid_out(rng, split, wanted, text)
    return Example(task="extract", messages=messages, answer=says(dumps(wanted, ensure_ascii=False)), check="json")


MAKERS: dict[str, Make] = {"extract": extract}
