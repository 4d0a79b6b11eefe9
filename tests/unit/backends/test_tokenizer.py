"""Counting with a model's own tokenizer: one of words, so that every number can be counted by hand."""

import sys
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends.tokenizer import MESSAGE_TOKENS, tokenizer_of
from slackwater.wire.filling import IMAGE_TOKENS
from support.tokenizer import word_tokenizer

PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


def asking(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def document(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **more}


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        (asking("one two three"), 3 + MESSAGE_TOKENS),
        (asking("one", system="be brief"), 3 + 2 * MESSAGE_TOKENS),
        (asking([{"type": "text", "text": "one"}], system=[{"type": "text", "text": "a b"}]), 3 + 2 * MESSAGE_TOKENS),
        (
            {"messages": [{"role": role, "content": "a b"} for role in ("user", "assistant", "user")]},
            3 * (2 + MESSAGE_TOKENS),
        ),
        (asking([PIXEL, {"type": "text", "text": "what"}]), 1 + IMAGE_TOKENS + MESSAGE_TOKENS),
        (asking([document({"type": "text", "data": "a b c"}, title="T", context="C D")]), 6 + MESSAGE_TOKENS),
        (
            asking([document({"type": "content", "content": [{"type": "text", "text": "a b"}, PIXEL]})]),
            2 + IMAGE_TOKENS + MESSAGE_TOKENS,
        ),
        (asking([document({"type": "content", "content": "a b"})]), 2 + MESSAGE_TOKENS),
        (
            asking(
                [{"type": "search_result", "title": "T", "source": "s", "content": [{"type": "text", "text": "a"}]}]
            ),
            3 + MESSAGE_TOKENS,
        ),
        (
            asking([{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "a"}, PIXEL]}]),
            1 + IMAGE_TOKENS + MESSAGE_TOKENS,
        ),
        (asking([{"type": "tool_result", "tool_use_id": "x"}]), MESSAGE_TOKENS),
        (asking([{"type": "thinking", "thinking": "a b", "signature": "c d e"}]), 2 + MESSAGE_TOKENS),
    ],
)
def test_every_text_counts_and_each_message_and_image_as_much_as_is_usual(
    tmp_path: Path, params: dict[str, Any], tokens: int
) -> None:
    """Contract §7.2: as exact as it can be without the model's template."""
    assert tokenizer_of(word_tokenizer(tmp_path / "tokenizer.json"))(params) == tokens


def test_tools_and_their_calls_count_as_the_json_they_are(tmp_path: Path) -> None:
    """Names, descriptions and schemas are read by the model; ids are not."""
    count = tokenizer_of(word_tokenizer(tmp_path / "tokenizer.json"))
    plain = count(asking("a"))
    tool = {"name": "look", "description": "looks around", "input_schema": {"type": "object"}}
    assert count(asking("a", tools=[tool])) == count(asking("a", tools=[tool | {"cache_control": {"type": "x"}}]))
    assert count(asking("a", tools=[tool])) > plain + 5
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sky"}}
    assert count(asking([use])) == count(asking([use | {"id": "another one altogether"}]))
    assert count(asking([use])) > count(asking([use | {"input": {}}]))


def test_a_long_text_is_counted_to_its_end(tmp_path: Path) -> None:
    """Tokenizer files say how their model was trained: cut to a length, or padded to one."""
    count = tokenizer_of(word_tokenizer(tmp_path / "tokenizer.json", longest=8))
    assert count(asking("word " * 1_000)) == 1_000 + MESSAGE_TOKENS
    assert count(asking("word")) == 1 + MESSAGE_TOKENS


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff\xfe", b'{"model": {"type": "Unknown"}}', b"GGUF\x03\x00\x00\x00"]
)
def test_a_file_that_is_no_tokenizer_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """It names the file and what was expected."""
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be used as a tokenizer") as error:
        tokenizer_of(path)
    told = str(error.value)
    assert told.startswith(str(path))
    assert "\n" not in told
    assert len(told) < 500


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    path = word_tokenizer(tmp_path / "tokenizer.json")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"pip install 'slackwater\[tokenizers\]'"):
        tokenizer_of(path)
