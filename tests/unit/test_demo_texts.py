"""The demo's texts are real, their answers are known, and a machine that lacks some of them is no trouble."""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.source import ROOT

LETTER = "Bitte wählen Sie das geographische Gebiet aus, in dem Sie leben und arbeiten."
TEMPLATES = f"""\
Template: tzdata/Areas
Type: select
Choices: Africa, America
Description: Geographic area:
 Please select the geographic area in which you live.
 Subsequent questions will narrow this down for you.
 .
 A second paragraph of the very same question stands here.
 .
   * a list, not a sentence that anybody wrote in words.
Description-de.UTF-8: Geographisches Gebiet:
 {LETTER}
 .
 A second paragraph of the very same question stands here.
Description-pt_BR.UTF-8: Área geográfica:
 Por favor, selecione a área geográfica na qual você vive agora.
Description-xx.UTF-8: Something
 A language that nobody asks about in any question here.
Default:
"""
RECORD = """\
Package: {name}
Status: install ok installed
Priority: optional
Section: libs
Maintainer: Somebody <somebody@example.org>
Architecture: amd64
Version: 1.{number}-2
Description: library number {number}
 It does what library {number} does.
 .
 And nothing else.
"""


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the collector as the demo does it."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import texts as module  # noqa: PLC0415  # a program's module, not on the path before

    yield module
    for name in ("texts", "jobs"):
        sys.modules.pop(name, None)


@pytest.fixture
def places(texts: ModuleType, tmp_path: Path) -> Any:
    """Make a small Debian with a small Python."""
    tree = {
        "dpkg/info/tzdata.templates": TEMPLATES,
        "dpkg/info/a.postinst": "#!/bin/sh\nset -e\n\nif true; then\n    echo a\nfi\nexit 0\n",
        "dpkg/info/b.postinst": "#!/usr/bin/perl\nuse strict;\nprint 1;\nprint 2;\nprint 3;\nprint 4;\n",
        "dpkg/status": "\n".join(RECORD.format(name=f"lib{number}", number=number) for number in range(9)),
        "share/common-licenses/GPL-9": "You may copy and distribute the program in whatever form you please. " * 4,
        "share/thing/thing.json": json.dumps({"one": 1, "two": [1, 2, 3]}, indent=2),
        "logs/dpkg.log": "2026-01-01 00:00:00 status installed libc6:amd64 2.36\n" * 9,
        "stdlib/zebra.py": "def stripes(count):\n    total = 0\n    for one in range(count):\n        total += one\n"
        "    return total\n",
        "include/Python.h": "#ifndef A\n#define A\nint a(void);\nint b(void);\nint c(void);\n#endif\n",
        "site/thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nSummary: Thing\n\nLong",
    }
    for path, content in tree.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="utf-8")
    readme = tmp_path / "share/doc/thing/README.gz"
    readme.parent.mkdir(parents=True)
    readme.write_bytes(gzip.compress(b"This program does a thing and does it well, as its readers will find out. " * 3))
    names = ("dpkg", "share", "logs", "stdlib", "include", "site")
    return texts.Places(**{name: tmp_path / name for name in names})


def test_a_translation_is_labeled_by_its_field(texts: ModuleType, places: Any) -> None:
    """Paragraphs are unfolded; what is not translated, a list, or in another language is left out."""
    assert {(text.truth, text.text) for text in texts.debconf(places)} == {
        (
            "English",
            "Please select the geographic area in which you live. Subsequent questions will narrow this down for you.",
        ),
        ("English", "A second paragraph of the very same question stands here."),
        ("German", LETTER),
        ("Portuguese", "Por favor, selecione a área geográfica na qual você vive agora."),
    }


def test_each_kind_of_text_is_found_where_it_is_by_construction(texts: ModuleType, places: Any) -> None:
    """One source per kind is enough; a Perl script is no shell script."""
    found = texts.collect(places, per_language=5, per_kind=5, records=5).kinds
    assert {text.truth for text in found} == set(texts.KINDS)
    assert not [text for text in found if "use strict" in text.text]


def test_a_record_is_asked_about_only_when_its_fields_survive_the_cut(texts: ModuleType, places: Any) -> None:
    """The truth is what the record says; one whose version is cut off is not used."""
    long = RECORD.format(name="liblong", number=1).replace("Architecture: amd64", "Depends: " + "libfar, " * 80)
    (places.dpkg / "status").write_text(f"{long}\n{RECORD.format(name='libnear', number=7)}", encoding="utf-8")
    (found,) = texts.dpkg_records(places)
    assert found.truth == {"name": "libnear", "version": "1.7-2", "section": "libs"}
    assert len(found.text.encode()) <= texts.TEXT_BYTES_MAX


def test_the_sample_is_balanced_and_always_the_same(texts: ModuleType, places: Any) -> None:
    """At most so many per label; the order of files on disk does not matter."""
    first = texts.collect(places, per_language=1, per_kind=1, records=4)
    again = texts.collect(places, per_language=1, per_kind=1, records=4)
    assert first == again
    assert set(Counter(text.truth for text in (*first.languages, *first.kinds)).values()) == {1}
    assert len(first.records) == 4


def test_a_machine_without_debian_has_pythons_own_texts(texts: ModuleType, places: Any, tmp_path: Path) -> None:
    """No dpkg, no logs, no share: Python's code, headers and package records are left, and the jobs that they allow."""
    import jobs  # noqa: PLC0415  # likewise

    bare = texts.Places(
        dpkg=tmp_path / "none",
        share=tmp_path / "none",
        logs=tmp_path / "none",
        stdlib=places.stdlib,
        include=places.include,
        site=places.site,
    )
    found = texts.collect(bare, per_language=5, per_kind=5, records=5)
    assert not found.languages
    assert {text.truth for text in found.kinds} >= {"python code", "c header"}
    assert [text.truth for text in found.records] == [{"name": "thing", "version": "1.0"}]
    assert [job.name for job in jobs.jobs(found)] == ["kind", "record"]
    assert set(found.missing()) >= {"translations", "package description", "log"}


def test_nothing_is_longer_than_the_model_was_trained_for(texts: ModuleType) -> None:
    """This machine's own texts: cut to `TEXT_BYTES_MAX` bytes of whole characters."""
    found = texts.collect(texts.Places(), per_language=2, per_kind=2, records=2)
    everything = [*found.languages, *found.kinds, *found.records]
    assert everything
    assert max(len(text.text.encode()) for text in everything) <= texts.TEXT_BYTES_MAX


def test_a_score_counts_exact_answers_and_names_what_was_confused(texts: ModuleType) -> None:
    """A label must be the label; a record must have exactly the right fields; the commonest truth is the baseline."""
    import jobs  # noqa: PLC0415  # likewise

    languages = [
        texts.Text(text=str(n), truth=truth, source="here") for n, truth in enumerate(["German", "German", "Dutch"])
    ]
    record = texts.Text(text="r", truth={"name": "a", "version": "1"}, source="here")
    found = texts.Collection(languages=languages, kinds=[], records=[record, record, record])
    by_language, by_record = (jobs.Score(job=job) for job in jobs.jobs(found))
    for text, answer in zip(languages, ["German", "Dutch", " Dutch\n"], strict=True):
        by_language.add(text, answer)
    assert (by_language.right, by_language.total, by_language.confusions()) == (2, 3, [("German", "Dutch", 1)])
    assert by_language.baseline == pytest.approx(2 / 3)
    for answer in ('{"version": "1", "name": "a"}', '{"name": "a", "version": "2"}', "not JSON"):
        by_record.add(record, answer)
    assert by_record.right == 1
    assert ("version", "2", 1) in by_record.confusions()
