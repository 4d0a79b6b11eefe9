"""The life of a batch is a table in one file; its drawing in the docs must say the same."""

import re
from pathlib import Path
from typing import Final

from slackwater.domain.lifecycle import TABLE, TERMINAL

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "lifecycle.md"
ROW: Final = re.compile(r"^\|\s*`(\w+)`\s*\|\s*`?(\w+)`?\s*\|\s*`?(\w+)`?\s*\|", re.MULTILINE)


def test_the_table_in_the_docs_is_the_table_in_the_code() -> None:
    """Each row of docs/lifecycle.md reads: state, trigger, next state."""
    drawn = {(state, trigger): following for state, trigger, following in ROW.findall(PAGE.read_text("utf-8"))}
    assert drawn == TABLE


def test_a_batch_ends_once_and_for_all() -> None:
    """Stated again, because a table cannot be its own oracle: nothing leads back from `ended` (S3, contract §5)."""
    assert frozenset({"ended"}) == TERMINAL
    assert {following for (state, _), following in TABLE.items() if state == "ended"} == {"ended", "gone"}
    assert {trigger for (state, trigger) in TABLE if state == "in_progress"} == {"cancel", "finish"}
    assert TABLE["in_progress", "cancel"] == "canceling"
    assert TABLE["canceling", "finish"] == "ended"
