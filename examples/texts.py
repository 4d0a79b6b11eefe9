"""Real texts with known answers, found on this machine: every Debian and every Python installation carries some.

Which language: the translated questions of Debian's installer name theirs in the field (`Description-de.UTF-8`),
message catalogs in their path. Which kind of text: a function of the standard library is Python code, a `postinst` is a
shell script, and so on. Which fields: a package record says them itself. Nothing is written down here; what a machine
does not have is left out. The same machine gives the same texts in the same order every time.
"""

import ast
import gettext
import gzip
import hashlib
import importlib.metadata
import json
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

TEXT_BYTES_MAX = 600
FILES_MAX = 150
"""Of one kind: reading every header of a large machine would take longer than asking about them."""
FILE_BYTES_MAX = 2_000_000

LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "sv": "Swedish",
    "da": "Danish",
    "pl": "Polish",
    "cs": "Czech",
    "tr": "Turkish",
    "ru": "Russian",
    "ja": "Japanese",
    "ko": "Korean",
    "zh": "Chinese",
}
_WITHOUT_SPACES = {"Japanese", "Korean", "Chinese"}
RECORD_FIELDS = {"name": "Package", "version": "Version", "section": "Section"}
METADATA_FIELDS = {"name": "Name", "version": "Version"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where to look. Tests point these at small trees."""

    dpkg: Path = Path("/var/lib/dpkg")
    share: Path = Path("/usr/share")
    logs: Path = Path("/var/log")
    stdlib: Path = Path(sysconfig.get_path("stdlib"))
    include: Path = Path(sysconfig.get_path("include"))
    site: Path = Path(sysconfig.get_path("purelib"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text and what is right about it."""

    text: str
    """At most `TEXT_BYTES_MAX` bytes."""
    truth: str | Mapping[str, str]
    """The label, or the fields of a record."""
    source: str
    """Where it is from, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """What was found, balanced: at most so many texts per label."""

    languages: list[Text] = field(default_factory=list)
    kinds: list[Text] = field(default_factory=list)
    records: list[Text] = field(default_factory=list)

    def missing(self) -> list[str]:
        """Name what this machine has no texts for."""
        there = {str(text.truth) for text in (*self.languages, *self.kinds)}
        labels = (*LANGUAGES.values(), *KINDS) if self.languages else ("translations", *KINDS)
        return [label for label in labels if label not in there] + ["package records"] * (not self.records)

    def sources(self) -> dict[str, int]:
        """Count the texts by source, the largest first."""
        counts: dict[str, int] = {}
        for text in (*self.languages, *self.kinds, *self.records):
            counts[text.source] = counts.get(text.source, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))


def collect(places: Places, *, per_language: int, per_kind: int, records: int) -> Collection:
    """Gather the texts."""
    languages: list[Text] = []
    found = _by_label(debconf(places))
    for label in LANGUAGES.values():
        texts = _sample(found.get(label, ()), per_language)
        if len(texts) < per_language:
            code = next(code for code, name in LANGUAGES.items() if name == label)
            texts += _sample(catalogs(places, code), per_language - len(texts))
        languages += texts
    if len({text.truth for text in languages}) < 2:
        languages = []  # one language alone is no question
    kinds = [text for read in KINDS.values() for text in _sample(read(places), per_kind)]
    stanzas = _sample(dpkg_records(places), records) or _sample(python_records(places), records)
    return Collection(languages=languages, kinds=kinds, records=stanzas)


def cut(text: str) -> str:
    """Keep what fits into `TEXT_BYTES_MAX` bytes, never half a character."""
    return text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore").strip("\n").rstrip()


def _by_label(texts: Iterable[Text]) -> dict[str, list[Text]]:
    found: dict[str, list[Text]] = {}
    for text in texts:
        found.setdefault(str(text.truth), []).append(text)
    return found


def _sample(texts: Iterable[Text], count: int) -> list[Text]:
    """Draw the same ones every time, from everywhere: in the order of their digests."""
    different = {text.text: text for text in texts}
    return [different[key] for key in sorted(different, key=_digest)[:count]]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _files(folder: Path, *patterns: str) -> list[Path]:
    """Find readable files of a moderate size, the same `FILES_MAX` every time."""
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    chosen = (path for path in sorted(found, key=lambda path: _digest(path.name)) if path.is_file())
    return list(islice((path for path in chosen if 0 < path.stat().st_size <= FILE_BYTES_MAX), FILES_MAX))


def _read(path: Path) -> str:
    """Return a file's text, unpacked; nothing where it cannot be read or is not text."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return ""


# Which language ------------------------------------------------------------------------------------------------------


def debconf(places: Places) -> Iterator[Text]:
    """Read the paragraphs of the installer's questions, in every language they are translated into."""
    for path in _files(places.dpkg, "info/*.templates"):
        content = _read(path)
        plain = {part for code, part in _paragraphs(content) if not code}
        for code, part in _paragraphs(content):
            label = LANGUAGES.get(re.split(r"[_.@]", code)[0] or "en")
            untranslated = label != "English" and part in plain
            if label is not None and not untranslated and _is_sentence(part, label):
                yield Text(text=cut(part), truth=label, source="translated installer questions")


def _paragraphs(content: str) -> Iterator[tuple[str, str]]:
    """Yield (language code or nothing, paragraph) of every long description in a templates file."""
    for entry in re.finditer(r"^Description(?:-([\w@.-]+))?:.*\n((?:[ \t].*\n?)*)", content, re.MULTILINE):
        unfolded = [line[1:] for line in entry[2].splitlines()]
        for part in re.split(r"\n\.?[ \t]*\n|^\.\n", "\n".join(unfolded) + "\n"):
            # What is indented once more is a list or a table.
            if not re.search(r"^\s", part, re.MULTILINE):
                yield entry[1] or "", " ".join(part.split())


def catalogs(places: Places, code: str) -> Iterator[Text]:
    """Read the sentences of installed programs' message catalogs in one language."""
    if code == "en":
        return
    for path in _files(places.share / "locale", f"{code}/LC_MESSAGES/*.mo", f"{code}_*/LC_MESSAGES/*.mo")[:40]:
        try:
            with path.open("rb") as stream:
                # There is no public way to list them.
                messages: dict[Any, str] = vars(gettext.GNUTranslations(stream))["_catalog"]
        except (OSError, ValueError, UnicodeDecodeError):
            continue
        for original, message in messages.items():
            if isinstance(original, str) and message != original and not re.search(r"[%{<&\n$]", message):
                part = " ".join(message.split())
                if _is_sentence(part, LANGUAGES[code]):
                    yield Text(text=cut(part), truth=LANGUAGES[code], source="message catalogs of installed programs")


def _is_sentence(text: str, label: str) -> bool:
    enough = len(text) >= 20 if label in _WITHOUT_SPACES else len(text.split()) >= 8
    return enough and text.rstrip('"»”)').endswith((".", "?", "!", "。", "\N{FULLWIDTH QUESTION MARK}"))


# Which kind of text --------------------------------------------------------------------------------------------------


def python_code(places: Places) -> Iterator[Text]:
    """Read functions of the standard library."""
    for path in _files(places.stdlib, "[n-z]*.py", "[n-z]*/*.py"):
        if "site-packages" in path.parts or "test" in path.parent.name:
            continue
        source = _read(path)
        try:
            functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
        except (SyntaxError, ValueError):
            continue
        lines = source.splitlines()
        for node in functions:
            told = len((ast.get_docstring(node) or "").splitlines())
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if 5 <= length <= 25 and told < length / 3:
                part = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                yield Text(text=cut(part), truth="python code", source="Python's standard library")


def shell_script(places: Places) -> Iterator[Text]:
    """Read parts of the scripts that run when packages are installed."""
    packaged = _files(places.dpkg, *(f"info/*.{step}" for step in ("postinst", "preinst", "postrm", "prerm", "config")))
    for path in [*packaged, *_files(places.stdlib, "venv/scripts/common/activate", "venv/scripts/posix/activate")]:
        content = _read(path)
        if re.match(r"#!\s?/bin/(ba|da)?sh|# This file must be used with", content):
            yield from _slices(content, "shell script", "installation scripts")


def c_header(places: Places) -> Iterator[Text]:
    """Read parts of the C headers of Python."""
    for path in _files(places.include, "*.h", "cpython/*.h", "internal/*.h"):
        for part in _slices(_read(path), "c header", "C headers of Python"):
            if len(re.findall(r";|^ *#", part.text, re.MULTILINE)) >= 3:  # not a comment alone
                yield part


def json_text(places: Places) -> Iterator[Text]:
    """Read parts of JSON files; the metadata of installed packages is also told as JSON."""
    for path in _files(places.share, "*/*.json", "*/*/*.json") + _files(places.site, "*/*.json", "*/*/*.json"):
        yield from _slices(_read(path), "json", "JSON files")
    for package in importlib.metadata.distributions(path=[str(places.site)]):
        told: dict[str, Any] = dict(package.metadata.json)
        told.pop("description", None)
        yield from _slices(json.dumps(told, indent=2), "json", "metadata of Python packages")


def license_text(places: Places) -> Iterator[Text]:
    """Read paragraphs of licences."""
    packaged = _files(places.site, "*.dist-info/LICEN[CS]E*", "*.dist-info/licenses/LICEN[CS]E*")
    for path in [*_files(places.share, "common-licenses/*"), *packaged, *_files(places.stdlib, "LICENSE*")]:
        yield from _prose(_read(path), "license", "licenses")


def package_description(places: Places) -> Iterator[Text]:
    """Read what Debian packages say about themselves."""
    for record in _stanzas(places):
        told = re.search(r"^Description: (.*\n(?: .*\n)+)", record + "\n", re.MULTILINE)
        if told is not None:
            part = re.sub(r"^ \.?", "", told[1], flags=re.MULTILINE)
            yield Text(text=cut(part), truth="package description", source="Debian's package records")


def documentation(places: Places) -> Iterator[Text]:
    """Read paragraphs of the Python reference manual and of README files."""
    for topics in _files(places.stdlib, "pydoc_data/topics.py"):
        for node in ast.walk(ast.parse(_read(topics))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from _prose(node.value, "documentation", "the Python reference manual")
    for path in _files(places.share, "doc/*/README", "doc/*/README.gz", "doc/*/README.md*", "doc/*/README.rst*"):
        yield from _prose(_read(path), "documentation", "README files")


def log(places: Places) -> Iterator[Text]:
    """Read parts of the logs of package installations."""
    for path in _files(places.logs, "dpkg.log*", "apt/history.log*", "alternatives.log*", "bootstrap.log"):
        yield from _slices(_read(path), "log", "logs of package installations")


KINDS: dict[str, Callable[[Places], Iterator[Text]]] = {
    "python code": python_code,
    "shell script": shell_script,
    "c header": c_header,
    "json": json_text,
    "license": license_text,
    "package description": package_description,
    "documentation": documentation,
    "log": log,
}


def _slices(content: str, label: str, source: str) -> Iterator[Text]:
    """Cut a file into runs of 5 to 25 lines; from a long one a few."""
    lines = content.splitlines()
    starts, start = [], 0
    while start < len(lines):
        starts.append(start)
        start += 5 + len(lines[start]) % 21
    for first, last in list(zip(starts, [*starts[1:], len(lines)], strict=True))[:: max(1, len(starts) // 20)]:
        part = cut("\n".join(lines[first:last]))
        if len(part.splitlines()) >= 5:
            yield Text(text=part, truth=label, source=source)


def _prose(content: str, label: str, source: str) -> Iterator[Text]:
    """Cut a document into paragraphs of prose."""
    for part in re.split(r"\n\s*\n", content):
        if len(part) >= 160 and sum(map(str.isalpha, part)) > 0.7 * len(part):
            yield Text(text=cut(part), truth=label, source=source)


# Which fields --------------------------------------------------------------------------------------------------------


def _stanzas(places: Places) -> list[str]:
    return [part for part in _read_large(places.dpkg / "status").split("\n\n") if part.startswith("Package:")]


def _read_large(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def dpkg_records(places: Places) -> Iterator[Text]:
    """Read the records of installed Debian packages."""
    for record in _stanzas(places):
        yield from _record(record, RECORD_FIELDS, "Debian's package records")


def python_records(places: Places) -> Iterator[Text]:
    """Read the records of installed Python packages: for machines without Debian's."""
    for path in _files(places.site, "*.dist-info/METADATA"):
        yield from _record(_read(path).split("\n\n")[0], METADATA_FIELDS, "metadata of Python packages")


def _record(record: str, names: Mapping[str, str], source: str) -> Iterator[Text]:
    text = cut(record)
    # A line that was cut off says nothing for certain.
    whole = text.splitlines() if text == record.strip() else text.splitlines()[:-1]
    said = dict(line.split(": ", 1) for line in whole if re.match(r"[A-Z][\w-]*: \S", line))
    if all(name in said for name in names.values()):
        yield Text(text=text, truth={field: said[name] for field, name in names.items()}, source=source)


if __name__ == "__main__":
    found = collect(Places(), per_language=2, per_kind=2, records=2)
    for texts in (found.languages, found.kinds, found.records):
        for one in texts:
            print(f"--- {one.truth} ({one.source})\n{one.text}", file=sys.stdout)
