"""Citations from quotes between tags: found verbatim or left out, the tags gone, in streams as in whole answers."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.wire.citing import INSTRUCTION, QUOTE_CHARACTERS_MAX, Citable, Citing, Naming, instructed

TEXT = Citable(kind="char_location", index=0, title="Lawn", parts=("The grass is\n  green. The sky is blue.",))
PAGES = Citable(kind="page_location", index=1, title=None, parts=("one two", "three four", "five"), file_id="file_1")
BLOCKS = Citable(kind="content_block_location", index=2, title=None, parts=("alpha", "beta gamma", "delta"))
RESULT = Citable(kind="search_result_location", index=0, title="R", parts=("omega", "psi"), source="https://x")
CITING = Citing(sources=(TEXT, PAGES, BLOCKS, RESULT))


def cited(text: str, citing: Citing = CITING) -> list[dict[str, Any]]:
    """Return the blocks that one text block becomes."""
    content: list[dict[str, Any]] = citing.cited({"content": [{"type": "text", "text": text}]})["content"]
    return content


def streamed(pieces: list[str], citing: Citing = CITING) -> list[dict[str, Any]]:
    """Return the blocks that a client puts together from the events of one text block, between two others."""
    other = {"type": "content_block_start", "content_block": {"type": "thinking", "thinking": ""}}
    stop = {"type": "content_block_stop"}
    start = {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": piece}} for piece in pieces
    ]
    events = [{**other, "index": 0}, {**stop, "index": 0}, start, *deltas, {**stop, "index": 1}]
    events += [{**other, "index": 2}, {**stop, "index": 2}, {"type": "message_stop"}]
    stream = citing.stream()
    blocks: list[dict[str, Any]] = []
    stopped = 0
    for event in [told for one in events for told in stream.feed(one)]:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks) == stopped
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_stop":
            stopped += 1
            assert event["index"] == len(blocks) - 1 == stopped - 1
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            if event["delta"]["type"] == "text_delta":
                blocks[-1]["text"] += event["delta"]["text"]
            else:
                blocks[-1].setdefault("citations", []).append(event["delta"]["citation"])
    assert blocks[0]["type"] == blocks[-1]["type"] == "thinking"
    return blocks[1:-1]


@pytest.mark.parametrize(
    ("quote", "citation"),
    [
        (
            "grass is green.",
            {"type": "char_location", "cited_text": "grass is\n  green.", "document_index": 0, "document_title": "Lawn"}
            | {"file_id": None, "start_char_index": 4, "end_char_index": 21},
        ),
        (
            "two three",
            {"type": "page_location", "cited_text": "two\nthree", "document_index": 1, "document_title": None}
            | {"file_id": "file_1", "start_page_number": 1, "end_page_number": 3},
        ),
        (
            "five",
            {"type": "page_location", "cited_text": "five", "document_index": 1, "document_title": None}
            | {"file_id": "file_1", "start_page_number": 3, "end_page_number": 4},
        ),
        (
            "beta  gamma",
            {"type": "content_block_location", "cited_text": "beta gamma", "document_index": 2, "document_title": None}
            | {"file_id": None, "start_block_index": 1, "end_block_index": 2},
        ),
        (
            "psi",
            {"type": "search_result_location", "cited_text": "psi", "search_result_index": 0, "source": "https://x"}
            | {"title": "R", "start_block_index": 1, "end_block_index": 2},
        ),
    ],
)
def test_a_quote_that_is_found_becomes_a_citation_with_its_place(quote: str, citation: dict[str, Any]) -> None:
    """Contract §12: characters and blocks count from 0, pages from 1, ends are exclusive."""
    before, block, after = cited(f"It says <cite>{quote}</cite>!")
    assert (before["text"], after["text"]) == ("It says ", "!")
    assert block == {"type": "text", "text": quote, "citations": [citation]}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("a <cite>red grass</cite> b", "a red grass b"),
        ("<cite></cite>", ""),
        ("<cite> </cite>x", " x"),
        ("x </cite> y", "x  y"),
        ("cut off <ci", "cut off "),
        ('cut off <cite doc="1', "cut off "),
        ("1 < 2 <b>bold</b> <citation>", "1 < 2 <b>bold</b> <citation>"),
        ("a <", "a <"),
        ("<CITE>e</CITE>", "e"),
        ("<cite>" + "x" * (QUOTE_CHARACTERS_MAX + 9), "x" * (QUOTE_CHARACTERS_MAX + 9)),
    ],
)
def test_what_is_not_found_is_text_like_any_other(answer: str, text: str) -> None:
    """A citation is left out, never made up; the tags never leak; what a model says otherwise stays."""
    assert cited(answer) == streamed([answer]) == [{"type": "text", "text": text}]


def test_a_quote_that_the_length_limit_cut_off_is_still_looked_for() -> None:
    """The words that came are the document's."""
    assert [block.get("citations") is not None for block in cited("It says <cite>The sky is")] == [False, True]


WORDS = [
    "The grass is green.",
    "two three",
    "never said",
    "<cite>",
    "</cite>",
    "<cite>",
    "</cite>",
    "<c",
    "<",
    " ",
    "/c",
]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join), st.data())
def test_a_stream_cut_anywhere_says_what_the_whole_answer_says(answer: str, data: st.DataObject) -> None:
    """Tags may arrive a character at a time."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=20)))
    pieces = [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    whole = cited(answer)
    assert streamed(pieces) == whole
    text = "".join(block["text"] for block in whole)
    assert "<cite>" not in text
    for block in whole:
        for citation in block.get("citations", ()):
            assert citation["cited_text"] in "\n".join(CITING.sources[citation["document_index"]].parts)


@pytest.mark.parametrize("system", [None, "", "Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_the_model_is_asked_to_quote_after_what_the_client_says(system: Any) -> None:
    """The client's system prompt comes first, so that what requests share stays shared."""
    params = {} if system is None else {"system": system}
    said = instructed(params)["system"]
    assert said[-1] == {"type": "text", "text": INSTRUCTION}
    assert [block["text"] for block in said[:-1]] == (["Be brief."] if system else [])


def test_a_backend_s_own_citations_get_the_ids_of_the_files() -> None:
    """Contract §12: it was given bytes, and cannot know; what it says otherwise is passed on as it is."""
    naming = Naming(file_ids=("file_1", None))
    citations = [{"type": "page_location", "document_index": index} for index in (0, 1, 7)]
    named = [{**citations[0], "file_id": "file_1"}, {**citations[1], "file_id": None}, citations[2]]
    content = [{"type": "text", "text": "a", "citations": citations}, {"type": "text", "text": "b", "citations": None}]
    told = naming.cited({"content": content})["content"]
    assert told == [{**content[0], "citations": named}, content[1]]
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": citations[0]}}
    (event,) = naming.stream().feed(delta)
    assert event["delta"]["citation"] == named[0]
    assert naming.feed({"type": "message_stop"}) == [{"type": "message_stop"}]


def test_a_text_of_one_word_over_and_over_does_not_take_for_ever() -> None:
    """C7: the quote begins at each of them and ends at none; what is really there is found all the same."""
    endless = Citing(sources=(Citable(kind="char_location", index=0, title=None, parts=("ha " * 400_000 + "ho",)),))
    started = time.process_time()
    assert endless.find("ha " * 1_000 + "hi") is None
    found = endless.find("ha " * 1_000)
    assert time.process_time() - started < 2
    assert found is not None
    assert (found["start_char_index"], found["end_char_index"]) == (0, 2_999)
    assert endless.find("ha ho") is not None
