"""The demo's PDF holds the licence; a request that is lost or a document that does not arrive ends the demo."""

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pypdfium2
import pytest

from support.source import ROOT

LICENSE = (ROOT / "LICENSE").read_text("utf-8")


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the questions as the demo does it."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import document as module  # noqa: PLC0415  # a program's module, not on the path before

    yield module
    for name in ("document", "jobs", "local_server", "pdf", "screen", "spent", "texts"):
        sys.modules.pop(name, None)


def words_of(data: bytes) -> list[list[str]]:
    """Read each page's words as the server's reader does it."""
    with pypdfium2.PdfDocument(data) as pdf:
        return [page.get_textpage().get_text_bounded().split() for page in pdf]


def test_the_pdf_has_every_word_of_the_licence_on_pages_that_are_seen(document: ModuleType) -> None:
    """Several pages; nothing is lost between them, drawn outside of them, or changed by an escape."""
    pages = document.pages_of(LICENSE)
    read = words_of(document.pdf_of(pages))
    assert len(read) == len(pages) > 1
    assert [word for page in read for word in page] == LICENSE.split()
    assert words_of(document.pdf_of(pages[:1])) == read[:1]


def test_signs_that_mean_something_to_a_pdf_are_text_in_it(document: ModuleType) -> None:
    """Parentheses end a string and backslashes escape; an empty page is a page, too."""
    line = r"a(b))c \ \( (( é € end"
    assert words_of(document.pdf_of([[line], []])) == [line.split(), []]


def test_every_truth_stands_on_the_page_that_is_asked_about(document: ModuleType) -> None:
    """The fields are copied from it; the other answers are choices that their questions name."""
    page = " ".join(" ".join(document.pages_of(LICENSE)[0]).split())
    for question in document.QUESTIONS:
        if isinstance(question.truth, str):
            assert question.truth in question.asked
        else:
            assert all(value in page for value in question.truth.values())


def line_of(name: str, **result: Any) -> Any:
    return SimpleNamespace(custom_id=name, result=SimpleNamespace(**result), to_json=lambda **_: f"the line of {name}")


def test_a_question_without_an_answer_ends_the_demo(document: ModuleType) -> None:
    """A wrong answer is shown, a missing one is a failure, and its line is quoted."""
    for ending in ("errored", "expired", "canceled"):
        with pytest.raises(document.DemoError, match="the line of kind"):
            document._answer(line_of("kind", type=ending))


@pytest.mark.parametrize("came", [["a"], ["a", "b", "b"], ["a", "c"]])
def test_a_result_that_is_missing_double_or_of_somebody_else_ends_the_demo(
    document: ModuleType, came: list[str]
) -> None:
    """Exactly one for each request."""
    ended = SimpleNamespace(id="msgbatch_1", processing_status="ended")
    batches = SimpleNamespace(create=lambda **_: ended, results=lambda _: [line_of(name) for name in came])
    client = SimpleNamespace(messages=SimpleNamespace(batches=batches))
    with pytest.raises(document.DemoError, match="not those of the requests"):
        document._run(client, [{"custom_id": "a"}, {"custom_id": "b"}])


def test_a_prompt_shorter_than_the_page_ends_the_demo(document: ModuleType) -> None:
    """Whatever the model says: so short a prompt cannot have held the document."""
    counted = SimpleNamespace(count_tokens=lambda **_: SimpleNamespace(input_tokens=600))
    client = SimpleNamespace(messages=counted)

    def answers(*tokens: tuple[int, int | None]) -> list[Any]:
        return [
            SimpleNamespace(usage=SimpleNamespace(input_tokens=fresh, cache_read_input_tokens=cached))
            for fresh, cached in tokens
        ]

    assert document._read(client, "m", ["page"], answers((700, None), (20, 640))) == (660, 600)
    with pytest.raises(document.DemoError, match="did not reach the model: a prompt had 42 tokens"):
        document._read(client, "m", ["page"], answers((700, None), (42, 0)))


def test_only_a_prompt_that_is_too_long_may_be_refused(document: ModuleType) -> None:
    """A reader learns from the refusal; anything else that happens to the whole licence is a bug to be seen."""

    def refused(message: str) -> Any:
        return line_of("whole", type="errored", error=SimpleNamespace(error=SimpleNamespace(message=message)))

    told = "prompt is too long: 4620 tokens > 2048 maximum"
    assert told in document._about_the_whole(refused(told))
    for line in (refused("Internal server error"), line_of("whole", type="expired")):
        with pytest.raises(document.DemoError, match="otherwise than expected"):
            document._about_the_whole(line)
