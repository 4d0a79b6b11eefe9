"""Code and data: slices of Python's own modules and headers, and scripts, headers and JSON of our own making.

Only modules and headers whose names start with a to m are read; n to z stay unseen for scoring.
Python's files are under the PSF licence.
"""

import json
import random
import re
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

from examples import Split, held_out

from tasks.packages import chance, package_name, path, person, syllables, version, word
from tasks.phrases import blocks, sentences

_PLACES = sysconfig.get_paths()
_UNSEEN = re.compile(r"[n-z_]")


def _readable(folder: Path, pattern: str) -> list[Path]:
    files = (
        one
        for one in sorted(folder.rglob(pattern))
        if not {"site-packages", "test", "tests", "lib2to3"} & set(one.parts)
    )
    return [one for one in files if not any(_UNSEEN.match(part.lower()) for part in one.relative_to(folder).parts)]


@cache
def _files(place: str, pattern: str, split: Split) -> tuple[tuple[str, ...], ...]:
    """Read the a-m files of a folder of Python once; each as its lines."""
    paths = held_out(_readable(Path(_PLACES[place]), pattern))[split == "held_out"]
    texts = (one.read_text(encoding="utf-8", errors="replace") for one in paths)
    return tuple(tuple(text.split("\n")) for text in texts if text.count("\n") > 12)  # noqa: PLR2004  # shorter files show nothing


@cache
def docstrings(split: Split) -> tuple[str, ...]:
    """Collect the longer docstrings of the a-m modules, without their indentation."""
    code = re.compile(r"def |yield |%|return self|\w\(\)\n")
    texts = ("\n".join(lines) for lines in _files("stdlib", "*.py", split))
    found = (
        one for text in texts for one in re.findall(r'"""(.{150,3000}?)"""', text, re.DOTALL) if not code.search(one)
    )
    return tuple(found)


def _slice(rng: random.Random, lines: tuple[str, ...]) -> str:
    count = min(len(lines), rng.randint(5, 25))
    start = rng.randint(0, len(lines) - count)
    return "\n".join(lines[start : start + count])


def _looks_like_code(text: str) -> bool:
    """Say whether a slice has enough lines of code among its prose to be told apart from documentation."""
    lines = [line for line in text.split("\n") if line.strip()]
    code = sum(
        bool(re.search(r"[=({\[:]\s*$|\w\(|^\s*(#|return|import|from|def|class|if|else|try|except|raise|@)| = ", line))
        for line in lines
    )
    return len(lines) > 3 and code >= 0.2 * len(lines)  # noqa: PLR2004  # a share of lines


def python(rng: random.Random, split: Split) -> str:
    """Cut a slice of a standard library module, or make up a small function or class."""
    if chance(rng, 0.15):
        return "\n\n\n".join(_own(rng, "prose/python", split) for _ in range(rng.randint(1, 3)))
    text = ""
    while not _looks_like_code(text):
        text = _slice(rng, rng.choice(_files("stdlib", "*.py", split)))
    return text


def _own(rng: random.Random, name: str, split: Split) -> str:
    """Fill one of our own blocks: `@a` to `@d` names, `@A` to `@D` in capitals, `@K` a type of C, `@n` a number."""
    text = rng.choice(blocks(name, split))
    for letter in "abcd":
        thing = rng.choice([word(rng), f"{word(rng)}_{word(rng)}", syllables(rng)]).replace("-", "_")
        capital = thing.upper() if name == "prose/header" else thing.title().replace("_", "")
        text = re.sub(rf"@{letter}(?![a-z]{{2}})", thing, text).replace(f"@{letter.upper()}", capital)
    kind = rng.choice(_HEADER_TYPES).replace("@s", syllables(rng))
    return text.replace("@K", kind).replace("@n", str(rng.choice([rng.randint(0, 9), rng.randint(10, 5000)])))


_HEADER_TYPES = (
    "int",
    "void",
    "size_t",
    "char *",
    "const char *",
    "unsigned long",
    "uint32_t",
    "double",
    "struct @s *",
    "bool",
    "static inline int",
    "long long",
)


def header(rng: random.Random, split: Split) -> str:
    """Cut a slice of one of Python's headers, or make up a header."""
    if chance(rng, 0.45):
        text = ""
        while len(text.strip()) < 100 or not re.search(r"[;{#]|\*/|/\*", text):  # noqa: PLR2004  # a few lines
            text = _slice(rng, rng.choice(_files("include", "*.h", split)))
        return text
    guard = f"{rng.choice(['', '_', '__'])}{word(rng)}_{word(rng)}_H{rng.choice(['', '_', '_INCLUDED'])}"
    guard = guard.upper().replace("-", "_")
    parts = [_own(rng, "prose/header", split) for _ in range(rng.randint(3, 8))]
    return "\n".join((f"#ifndef {guard}\n#define {guard}\n", *parts, f"#endif{rng.choice(['', f' /* {guard} */'])}"))


def shell(rng: random.Random, split: Split) -> str:
    """Make up a script, mostly as package maintainers write them."""
    commands = sentences("prose/commands", split)
    forms = blocks("prose/shell", split)
    parts = rng.sample(forms, rng.randint(1, min(5, len(forms))))
    if chance(rng, 0.55):
        parts.insert(
            0,
            rng.choice(
                (
                    "#!/bin/sh\nset -e\n",
                    "#!/bin/sh -e\n",
                    "#!/bin/bash\n",
                    "#!/usr/bin/env bash\n",
                    "#! /bin/sh\n# {x} script for {p}\n\nset -e\n",
                )
            ),
        )
    text = "\n".join(parts)
    if chance(rng, 0.3):
        text = text.replace("    ", rng.choice(["\t", "  "]))
    while "{c}" in text:
        text = text.replace("{c}", rng.choice(commands), 1)
    acts = ("postinst", "prerm", "postrm", "preinst", "configure", "purge", "build", word(rng))
    name = word(rng)
    for slot, value in (
        ("{x}", rng.choice(acts)),
        ("{p}", package_name(rng)),
        ("{w}", name),
        ("{W}", name.upper()),
        ("{d}", path(rng)),
        ("{v}", version(rng)),
        ("{n}", str(rng.randint(1, 99))),
    ):
        text = text.replace(slot, value)
    return text


def _value(rng: random.Random, depth: int) -> Any:  # noqa: ANN401  # JSON is anything
    if depth > 0 and chance(rng, 0.4):
        count = rng.randint(1, 5)
        if chance(rng, 0.35):
            return [_value(rng, depth - 1) for _ in range(count)]
        return {
            rng.choice([word(rng), f"{word(rng)}_{word(rng)}", word(rng) + word(rng).capitalize()]): _value(
                rng, depth - 1
            )
            for _ in range(count)
        }
    plain = (
        rng.randint(0, 9),
        rng.randint(0, 100000),
        round(rng.random() * 100, rng.randint(1, 4)),
        True,
        False,
        None,
        word(rng),
        version(rng),
        person(rng),
        path(rng),
        f"https://{word(rng)}.com/{word(rng)}",
        f"{word(rng)} {word(rng)} {word(rng)}",
        f"{rng.getrandbits(64):016x}",
        "",
        package_name(rng),
        f"{rng.randint(2001, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T00:00:00Z",
        f"^{rng.randint(0, 9)}.{rng.randint(0, 9)}.0",
    )
    return rng.choice(plain)


def _schema(rng: random.Random) -> Any:  # noqa: ANN401  # JSON is anything
    fields = {}
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(("string", "integer", "boolean", "array", "object", "number"))
        fields[word(rng)] = {
            "type": kind,
            "description": f"{word(rng).capitalize()} of the {word(rng)} {word(rng)}.",
        } | rng.choice(
            (
                {},
                {"default": rng.randint(0, 9)},
                {"pattern": "^[A-Z]+$"},
                {"enum": [word(rng), word(rng)]},
                {"items": {"type": "string"}},
            )
        )
    return {
        "title": word(rng).capitalize(),
        "type": "object",
        "properties": fields,
        "required": list(fields)[:1],
        "additionalProperties": False,
    }


def _manifest(rng: random.Random) -> Any:  # noqa: ANN401  # JSON is anything
    tools = {
        f"{word(rng)}-{word(rng)}": f"{rng.choice(['^', '~', ''])}{version(rng)}" for _ in range(rng.randint(1, 6))
    }
    commands = {
        rng.choice(
            ("build", "test", "lint", "start", word(rng))
        ): f"{word(rng)} --{word(rng)} {path(rng)} && {word(rng)} run {word(rng)}"
    }
    return {
        "name": package_name(rng),
        "version": version(rng),
        "description": f"A {word(rng)} for {word(rng)} and {word(rng)}, written by {person(rng)}.",
        "scripts": commands,
        "dependencies": tools,
        "license": "MIT",
        "keywords": [word(rng), word(rng)],
    }


def json_text(rng: random.Random) -> str:
    """Make up a JSON document: an object or an array of objects, a schema or a manifest, indented or not."""
    shape = rng.choices(("object", "rows", "schema", "manifest"), (5, 2, 2, 2))[0]
    thing: Any
    if shape == "rows":
        keys = [word(rng) for _ in range(rng.randint(2, 4))]
        thing = [{key: _value(rng, 1) for key in keys} for _ in range(rng.randint(1, 5))]
    elif shape == "object":
        thing = {word(rng): _value(rng, 3) for _ in range(rng.randint(2, 7))}
    else:
        thing = _schema(rng) if shape == "schema" else _manifest(rng)
    return json.dumps(
        thing, indent=rng.choice([None, 2, 2, 4, 4, 1, "\t"]), sort_keys=chance(rng, 0.3), ensure_ascii=chance(rng, 0.5)
    )
