"""Fields of package records as JSON: stanzas in the manner of `dpkg -s` and other looks of the same facts."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from examples import Example, Make, Message, Split, held_out, says, system, user

from tasks.descriptions import blurb, synopsis
from tasks.packages import ARCHITECTURES, SECTIONS, chance, cut, maintainer, package_name, path, version, word

DEMO_SYSTEM = "You extract fields. Reply with JSON only."
DEMO_QUESTION = "Extract the fields name, version and section from this package record as JSON."
TEXT_BYTES_MAX = 600

Facts = Mapping[str, Any]

_ASKED_AS = {
    "name": ("name", "name", "name", "package", "package_name"),
    "version": ("version", "version", "version", "package_version", "release"),
    "section": ("section", "section", "section", "category"),
    "architecture": ("architecture", "architecture", "arch"),
    "maintainer": ("maintainer", "maintainer", "maintained_by"),
    "priority": ("priority",),
    "size": ("size", "installed_size"),
    "source": ("source", "source_package"),
    "homepage": ("homepage", "url"),
    "summary": ("summary", "synopsis", "short_description"),
}
_SYSTEMS = held_out(
    (
        DEMO_SYSTEM,
        "Reply with JSON only.",
        "You are a helpful assistant.",
        "You turn records into JSON.",
        "Output a JSON object and nothing else.",
        "You extract data. Answer with one line of JSON.",
        "You read package records. Answer in JSON.",
        "Extract what is asked. JSON only, no prose.",
        "Answer with compact JSON.",
        "You are a parser.",
    )
)
_QUESTIONS = held_out(
    (
        "Extract the fields {and_} from this package record as JSON.",
        "Extract {and_} as JSON.",
        "Give me {and_} from this record as JSON.",
        "Return a JSON object with the keys {comma}.",
        "Fields: {comma}. Answer with JSON.",
        "What are the {and_}? Reply as a JSON object.",
        "Read the record and output JSON with {quoted}.",
        "Extract these fields as JSON: {comma}.",
        "Extract as JSON:\n{bullets}",
        "JSON with {and_}, please.",
        "Pick out {and_} and write them as JSON.",
        "Fill in this JSON: {template}",
        "Extract the {and_} of the package. JSON only.",
        "Turn the record into JSON with exactly these keys: {comma}.",
        "Answer in the form {template}.",
        "Schema: {schema}\nExtract the record as JSON.",
        "Extract data that matches this JSON schema:\n{schema}",
        "From the package metadata below, get {and_} as JSON.",
        "keys: {bar}",
    )
)
_FRAMES = held_out(
    (
        "{ask}\n\nText:\n{text}",
        "{ask}\n\n{text}",
        "{text}\n\n{ask}",
        "{ask}\n\nRecord:\n{text}",
        "{ask}\n```\n{text}\n```",
        "Record:\n{text}\n\n{ask}",
        "<record>\n{text}\n</record>\n{ask}",
        "{ask}\n\n<text>\n{text}\n</text>",
        "{ask}\n---\n{text}",
        "Package record:\n\n{text}\n\n{ask}",
    )
)


def _facts(rng: random.Random) -> Facts:
    name = package_name(rng)
    return {
        "name": name,
        "version": version(rng),
        "section": rng.choice(SECTIONS) if chance(rng, 0.8) else word(rng),
        "architecture": rng.choice(ARCHITECTURES),
        "maintainer": maintainer(rng),
        "priority": rng.choice(("optional", "optional", "optional", "required", "important", "standard", "extra")),
        "size": rng.choice((rng.randint(10, 99), rng.randint(100, 9999), rng.randint(10000, 400000))),
        "source": name.removeprefix("lib").split("-")[0] if chance(rng, 0.4) else package_name(rng),
        "homepage": f"https://{rng.choice(['www.', ''])}{word(rng)}.{rng.choice(['org', 'io', 'net'])}/{word(rng)}",
        "summary": synopsis(rng),
    }


def _relations(rng: random.Random) -> str:
    def one() -> str:
        name = package_name(rng)
        return f"{name} ({rng.choice(['>=', '=', '<<', '>='])} {version(rng)})" if chance(rng, 0.6) else name

    return ", ".join(one() for _ in range(rng.choice([1, 1, 2, 3, 4, 6])))


def _stanza(rng: random.Random, facts: Facts) -> tuple[str, Sequence[str]]:
    known = ["name", "version", "section", "architecture", "maintainer", "priority", "size"]
    source = facts["source"] + (f" ({version(rng)})" if chance(rng, 0.35) else "")
    middle = [
        f"Architecture: {facts['architecture']}",
        *(["Multi-Arch: " + rng.choice(["same", "foreign", "allowed"])] if chance(rng, 0.4) else []),
        *([f"Source: {source}"] if chance(rng, 0.45) else []),
        f"Version: {facts['version']}",
    ]
    head = [
        *(
            [f"Status: {rng.choice(['install ok installed', 'deinstall ok config-files', 'hold ok installed'])}"]
            if chance(rng, 0.85)
            else []
        ),
        *(["Essential: yes"] if chance(rng, 0.05) else []),
        f"Priority: {facts['priority']}",
        f"Section: {facts['section']}",
        f"Installed-Size: {facts['size']}",
        f"Maintainer: {facts['maintainer']}",
    ]
    if chance(rng, 0.25):
        body = head + middle
        rng.shuffle(body)
    elif chance(rng, 0.15):
        body = middle[-1:] + middle[:-1] + head
    else:
        body = head + middle
    if any(line.startswith("Source:") for line in body):
        known.append("source")
    names = ("Replaces", "Provides", "Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks", "Conflicts")
    body += [f"{name}: {_relations(rng)}" for name in names if chance(rng, 0.22 + 0.45 * (name == "Depends"))]
    if chance(rng, 0.12):
        body += ["Conffiles:", *(f" {path(rng)} {rng.getrandbits(128):032x}" for _ in range(rng.randint(1, 2)))]
    body += [f"Description: {facts['summary']}", *(f" {line}" for line in blurb(rng).split("\n"))][
        : rng.choice([0, 1, 2, 4, 12, 12])
    ]
    if chance(rng, 0.4):
        body.append(f"Homepage: {facts['homepage']}")
    text = cut(
        "\n".join([f"Package: {facts['name']}", *body]), rng.choice([200, 300, 400, 500, TEXT_BYTES_MAX])
    ).rstrip()
    lines = text.split("\n")
    whole = {"summary": f"Description: {facts['summary']}", "homepage": f"Homepage: {facts['homepage']}"}
    known += [field for field, line in whole.items() if line in lines]
    labels = {"size": "Installed-Size", "name": "Package"}
    return text, [field for field in known if _stands(field, labels.get(field, field.capitalize()), facts, lines)]


def _stands(field: str, label: str, facts: Facts, lines: Sequence[str]) -> bool:
    """Say whether a field's whole line survived the cut."""
    if field in {"summary", "homepage"}:
        return True
    wanted = f"{label}: {facts[field]}"
    return any(
        line == wanted or (field == "source" and line.startswith(wanted + " (") and line.endswith(")"))
        for line in lines
    )


def _metadata(rng: random.Random, facts: Facts) -> tuple[str, Sequence[str]]:
    head = ["Metadata-Version: 2." + str(rng.randint(0, 4))] if chance(rng, 0.7) else []
    author = [f"Author: {maintainer(rng)}"] if chance(rng, 0.5) else []
    rest = [
        f"Summary: {facts['summary']}",
        f"Home-page: {facts['homepage']}",
        *author,
        f"License: {rng.choice(['MIT', 'BSD', 'Apache-2.0', 'GPL-3.0+'])}",
    ]
    body = [*head, f"Name: {facts['name']}", f"Version: {facts['version']}", *rest]
    return "\n".join(body), ("name", "version", "summary", "homepage")


def _pairs(rng: random.Random, facts: Facts) -> tuple[str, Sequence[str]]:
    fields = rng.sample([field for field in facts if field != "summary" or chance(rng, 0.5)], rng.randint(3, 6))
    look = rng.choice(
        ["{k} = {v}", "{k}={v}", "{k}: {v}", "- {k}: {v}", "{k:<14}{v}", "* {k}: {v}", '{k} = "{v}"', "{k}\t{v}"]
    )
    styles: tuple[Callable[[str], str], ...] = (str.lower, str.capitalize, str.upper)
    style = rng.choice(styles)
    lines = [look.format(k=style(field), v=facts[field]) for field in fields]
    if chance(rng, 0.3):
        lines.insert(0, rng.choice(["[package]", "[metadata]", "---", "# package", "package:"]))
    return "\n".join(lines), fields


def _comma_line(rng: random.Random, facts: Facts) -> tuple[str, Sequence[str]]:
    fields = rng.sample([field for field in facts if field not in {"summary", "maintainer"}], rng.randint(3, 5))
    mark = rng.choice([",", ";", "\t", " | "])
    return mark.join(fields) + "\n" + mark.join(str(facts[field]) for field in fields), fields


def _prose(rng: random.Random, facts: Facts) -> tuple[str, Sequence[str]]:
    name, number, section, arch, who = (
        facts[field] for field in ("name", "version", "section", "architecture", "maintainer")
    )
    texts = (
        (f"{name} {number} was uploaded to section {section} by {who}.", ("name", "version", "section", "maintainer")),
        (f"The package {name} (version {number}) is in section {section}.", ("name", "version", "section")),
        (
            f"Get:{rng.randint(1, 40)} http://deb.{word(rng)}.org stable/main {arch} {name} {arch} {number}",
            ("name", "version", "architecture"),
        ),
        (f"{name}/{section} {number} {arch} [installed]", ("name", "version", "section", "architecture")),
        (
            f"{name} takes {facts['size']} kB. Its version is {number}, its architecture {arch}.",
            ("name", "version", "architecture", "size"),
        ),
        (
            f"Section {section} has a new package: {name}, {facts['priority']}, version {number}.",
            ("name", "version", "section", "priority"),
        ),
        (
            f"{name} is maintained by {who}. Version {number}, source {facts['source']}.",
            ("name", "version", "maintainer", "source"),
        ),
    )
    return rng.choice(texts)


_LOOKS: tuple[Callable[[random.Random, Facts], tuple[str, Sequence[str]]], ...] = (
    _stanza,
    _metadata,
    _pairs,
    _comma_line,
    _prose,
)
_LOOK_WEIGHTS = (60, 8, 15, 7, 10)


def _write_question(form: str, kinds: Mapping[str, str]) -> str:
    keys = list(kinds)
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in kinds.items()}, "required": keys}
    for slot, filling in {
        "{and_}": keys[0] if len(keys) == 1 else ", ".join(keys[:-1]) + " and " + keys[-1],
        "{comma}": ", ".join(keys),
        "{quoted}": ", ".join(f'"{key}"' for key in keys),
        "{bullets}": "\n".join(f"- {key} ({kind})" for key, kind in kinds.items()),
        "{template}": json.dumps({key: kinds[key] for key in keys}),
        "{schema}": json.dumps(schema),
        "{bar}": " | ".join(keys),
    }.items():
        form = form.replace(slot, filling)
    return form


def _demo(rng: random.Random, _: Split) -> tuple[tuple[Message, ...], dict[str, Any]]:
    while True:
        facts = _facts(rng)
        text, known = _stanza(rng, facts)
        if {"name", "version", "section"} <= set(known):
            answer = {field: facts[field] for field in ("name", "version", "section")}
            return (system(DEMO_SYSTEM), user(f"{DEMO_QUESTION}\n\nText:\n{text}")), answer


def _other(rng: random.Random, split: Split) -> tuple[tuple[Message, ...], dict[str, Any]]:
    side = int(split == "held_out")
    facts = _facts(rng)
    text, known = rng.choices(_LOOKS, _LOOK_WEIGHTS)[0](rng, facts)
    fields = rng.sample(list(known), min(len(known), rng.choice([1, 2, 2, 3, 3, 3, 4, 5])))
    keys = {field: rng.choice(_ASKED_AS[field]) if chance(rng, 0.5) else field for field in fields}
    kinds = {keys[field]: "integer" if field == "size" else "string" for field in fields}
    question = _write_question(rng.choice(_QUESTIONS[side]), kinds)
    answer = {keys[field]: facts[field] for field in fields}
    if chance(rng, 0.15):
        return (system(question), user(text)), answer
    content = rng.choice(_FRAMES[side]).replace("{ask}", question).replace("{text}", text)
    return ((user(content),) if chance(rng, 0.35) else (system(rng.choice(_SYSTEMS[side])), user(content))), answer


def make_record(rng: random.Random, split: Split) -> Example:
    """Ask for fields of a package record; the demo's exact question in about a third of the examples."""
    messages, answer = (_demo if chance(rng, 0.38) else _other)(rng, split)
    return Example(task="record", messages=messages, answer=says(json.dumps(answer, ensure_ascii=False)), check="json")


MAKERS: dict[str, Make] = {"record": make_record}
