"""From the bytes of a create call to its requests, and the order in which they are worked on."""

import mmap
import re
from collections import deque
from collections.abc import Iterable, Iterator

from slackwater.domain.limits import BATCH_REQUESTS_MAX
from slackwater.flow.plan import Planned, plan
from slackwater.flow.split import split
from slackwater.wire.arriving import OtherwiseError, arriving
from slackwater.wire.envelope import Item, are_plainly_fine
from slackwater.wire.prompt import Prompt, glance

_FILE_ID = re.compile(rb'"(file_01[1-9A-HJ-NP-Za-km-z]{22})"')  # as we make them (domain.ids)
_FILE_IDS_MAX = BATCH_REQUESTS_MAX
"""What is looked up when the batch is sealed; files beyond it are found all the same, but deleting them is felt."""


def read(body: mmap.mmap, lengths: Iterable[int]) -> tuple["Found", list[Planned]]:
    """Split and plan a body that is mapped privately; `lengths` tells how much of it has arrived, until all has.

    Raises InvalidRequestError (contract §4.1).
    """
    lengths = iter(lengths)
    try:
        found = Found(body)
        places = plan(found.prompts(arriving(body, lengths)))
        if are_plainly_fine(body, found.items):
            return found, places
    except OtherwiseError:
        deque(lengths, maxlen=0)  # until all of it is there
    found = Found(body)
    return found, plan(found.prompts([(split(memoryview(body)), 0, len(body))]))


class Found:
    """What reading a body finds."""

    def __init__(self, body: mmap.mmap) -> None:
        self.body = body
        """What the items are views into."""
        self.items: list[Item] = []
        """In the order in which they were sent."""
        self.file_ids: set[bytes] = set()
        self.one_line = True
        """No entry has a line break in it."""

    def prompts(self, parts: Iterable[tuple[list[Item], int, int]]) -> Iterator[Prompt | None]:
        """Take parts of the body, entries and where they begin and end, and yield what planning needs of each entry."""
        find = self.body.find
        for items, start, end in parts:
            self.one_line = self.one_line and find(b"\n", start, end) == -1 == find(b"\r", start, end)
            files = find(b'"file_01', start, end)
            if files >= 0:
                self._find_files(files, end)
            self.items += items
            for item in items:
                yield glance(item.params, files=files >= 0)

    def _find_files(self, start: int, end: int) -> None:
        for match in _FILE_ID.finditer(self.body, start, end):
            if len(self.file_ids) == _FILE_IDS_MAX:
                break
            self.file_ids.add(match[1])
