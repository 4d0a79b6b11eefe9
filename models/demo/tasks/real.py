"""Real texts of this machine with their truth: for scoring only, never for training.

Debian's translated questions tell the language, files tell their kind, and the package database holds records.
Python's modules and headers count only from n to z: training saw a to m. Whatever is missing on a machine is left out.
"""

import json
import random
import re
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

from examples import Example, says, system, user

from tasks import kind, language, record
from tasks.packages import cut
from tasks.sorting_prompts import demo_prompt

_INFO = Path("/var/lib/dpkg/info")
_STATUS = Path("/var/lib/dpkg/status")
_FILES_MAX = 400
_SHORT = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl", "cs", "tr", "ru", "ja", "ko", "zh")
_CODES = dict(zip(_SHORT, language.DEMO_LABELS, strict=True))
_QUESTION = re.compile(r"^Description(?:-([a-z]{2})(?:_[A-Z]{2})?\.UTF-8)?: (.+(?:\n .*)*)", re.MULTILINE)


def _read(place: Path) -> str:
    return place.read_text(encoding="utf-8", errors="replace")


@cache
def _translations() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {label: [] for label in language.DEMO_LABELS}
    for place in sorted(_INFO.glob("*.templates")):
        for code, text in _QUESTION.findall(_read(place)):
            label = _CODES.get(code or "en")
            if label and sum(letter.isalpha() for letter in text) >= (
                8 if label in {"Japanese", "Korean", "Chinese"} else 25
            ):
                found[label].append(re.sub(r"\n \.?", "\n", text))
    return {label: sorted(set(texts)) for label, texts in found.items() if texts}


def _slice(rng: random.Random, text: str) -> str:
    lines = text.rstrip().split("\n")
    count = min(len(lines), rng.randint(5, 25))
    start = rng.randint(0, len(lines) - count)
    return cut("\n".join(lines[start : start + count]).strip("\n"), kind.TEXT_BYTES_MAX).rstrip()


def _places(roots: Sequence[str], pattern: str) -> list[Path]:
    """Find readable files of a sensible size below some folders."""
    found = (one for root in roots for one in Path(root).rglob(pattern) if one.is_file() and not one.is_symlink())
    return [one for one in islice(found, _FILES_MAX) if 200 < one.stat().st_size < 400_000]  # noqa: PLR2004  # bytes


@cache
def _kinds() -> dict[str, list[str]]:
    library, include = sysconfig.get_path("stdlib"), sysconfig.get_path("include")
    late = re.compile(r"[n-z]")
    names = {
        "python code": [one for one in Path(library).glob("*.py") if late.match(one.name)],
        "shell script": [
            one
            for end in ("postinst", "prerm", "postrm", "preinst")
            for one in sorted(_INFO.glob(f"*.{end}"))[:_FILES_MAX]
        ],
        "c header": [one for one in _places([include], "*.h") if late.match(one.name)],
        "json": _places(["/usr/share", "/usr/lib", library], "*.json"),
        "license": [
            *_places(["/usr/share/common-licenses"], "*"),
            *_places([library], "LICENSE*"),
            *_places([library], "COPYING*"),
        ],
        "documentation": [
            *_places(["/usr/share/doc", library], "README*"),
            *_places([library], "*.rst"),
            *_places([library], "*.md"),
        ],
        "log": [*_places(["/var/log"], "*.log")],
    }
    texts = {
        label: [_read(one) for one in places if one.suffix not in {".gz", ".xz"} and "examples" not in one.parts]
        for label, places in names.items()
    }
    blobs = [text for text in texts["shell script"] if re.match(r"#! ?/bin/(ba|da)?sh", text)]
    texts["shell script"] = blobs
    texts["documentation"] += list(_topics())
    texts["package description"] = (
        re.findall(r"^Description: (.+(?:\n .*)+)", _read(_STATUS), re.MULTILINE) if _STATUS.exists() else []
    )
    return {label: found for label, found in texts.items() if found}


def _topics() -> Iterator[str]:
    from pydoc_data import topics  # noqa: PLC0415  # large, and only here

    yield from topics.topics.values()


@cache
def _records() -> list[str]:
    return [one for one in _read(_STATUS).split("\n\n") if one.startswith("Package:")] if _STATUS.exists() else []


def _real_language(rng: random.Random) -> Example:
    texts = _translations()
    label = rng.choice(list(texts))
    text = cut(rng.choice(texts[label]), language.TEXT_BYTES_MAX).rstrip()
    return Example(
        task="real-language",
        messages=demo_prompt(language.DEMO_QUESTION, language.DEMO_LABELS, text),
        answer=says(label),
    )


def _real_kind(rng: random.Random) -> Example:
    texts = _kinds()
    label = rng.choice(list(texts))
    text = ""
    while sum(letter.isalpha() for letter in text) < 40:  # noqa: PLR2004  # less tells nothing
        text = _slice(rng, rng.choice(texts[label]))
    return Example(
        task="real-kind", messages=demo_prompt(kind.DEMO_QUESTION, kind.DEMO_LABELS, text), answer=says(label)
    )


def _real_record(rng: random.Random) -> Example:
    stanza = rng.choice(_records())
    whole_lines = cut(stanza, record.TEXT_BYTES_MAX).rpartition("\n")[0]
    fields = dict(re.findall(r"^(Package|Version|Section): (.+)$", whole_lines, re.MULTILINE))
    if len(fields) < 3:  # noqa: PLR2004  # the three that are asked
        return _real_record(rng)
    answer = {"name": fields["Package"], "version": fields["Version"], "section": fields["Section"]}
    text = cut(stanza, record.TEXT_BYTES_MAX).rstrip()
    messages = (system(record.DEMO_SYSTEM), user(f"{record.DEMO_QUESTION}\n\nText:\n{text}"))
    return Example(
        task="real-record", messages=messages, answer=says(json.dumps(answer, ensure_ascii=False)), check="json"
    )


def real_examples(rng: random.Random) -> Iterator[Example]:
    """Draw without end from the three real jobs in turn; a job whose texts this machine lacks is left out."""
    jobs = [
        make
        for make, there in ((_real_language, _translations()), (_real_kind, _kinds()), (_real_record, _records()))
        if there
    ]
    while jobs:
        for make in jobs:
            yield make(rng)
