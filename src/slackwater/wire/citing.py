"""Citations for models that have none of their own: they quote between tags, and what is found becomes a citation.

What stands between the tags stays in the answer, whether it is found or not; the tags never do. A quote is looked for
verbatim, apart from white space, in every document that may be cited; one that is nowhere to be found is text like any
other: a citation is left out, never made up (contract §12).
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Block = dict[str, Any]
Event = dict[str, Any]
Piece = tuple[Literal["text", "quote"], str]
Location = Literal["char_location", "page_location", "content_block_location", "search_result_location"]

INSTRUCTION = (
    "Answer from the documents. Wherever you use something that a document says, copy its exact words and put them "
    "between <cite> and </cite>. For example: The report says that <cite>exact words copied from the document</cite>. "
    "Copy at most a few sentences at a time, change nothing in them, and write no other tags."
)
"""Short, with one example: models of a few billion parameters follow it."""

QUOTE_CHARACTERS_MAX = 4_000
"""A tag that is not closed after so many characters was not meant as one."""
QUOTE_CHARACTERS_MIN = 2
QUOTES_MAX = 200
"""So many quotes of one answer are looked for; each look may go over megabytes."""
STEPS_MAX = 1_000_000
"""So many words are compared for one quote and document: in a text of one word over and over it begins everywhere."""
HEAD_WORDS = 4
"""A quote is looked for by its first words."""
LONG_CHARACTERS = 200_000
BETWEEN_PARTS = "\n"

_OPEN = re.compile(r"<cite(?:\s[^<>]{0,200})?>", re.IGNORECASE)
_CLOSE = re.compile(r"</cite\s{0,8}>", re.IGNORECASE)
_ANY = re.compile(rf"{_OPEN.pattern}|{_CLOSE.pattern}", re.IGNORECASE)
_BEGUN = re.compile(r"<(?:c(?:i(?:t(?:e(?:\s[^<>]{0,200})?)?)?)?|/(?:c(?:i(?:t(?:e\s{0,8})?)?)?)?)?\Z", re.IGNORECASE)


def instructed(params: dict[str, Any]) -> dict[str, Any]:
    """Return a body that asks the model to quote."""
    system = params.get("system") or []
    before: list[Block] = [{"type": "text", "text": system}] if isinstance(system, str) else system
    return {**params, "system": [*before, {"type": "text", "text": INSTRUCTION}]}


class Quote:
    """Words to look for, whatever white space is between them."""

    def __init__(self, words: Sequence[str]) -> None:
        self._head, self._whole = _spaced(words[:HEAD_WORDS]), _spaced(words)
        self._places_max = max(1, STEPS_MAX // len(words))

    def search(self, text: str) -> re.Match[str] | None:
        """Return where they stand; None also where there are too many places at which they may begin."""
        at = 0
        for _ in range(self._places_max):
            begun = self._head.search(text, at)
            if begun is None:
                return None
            found = self._whole.match(text, begun.start())
            if found is not None:
                return found
            at = begun.start() + 1
        return None


def _spaced(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile(r"\s+".join(map(re.escape, words)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Citable:
    """A document or search result whose words may be quoted."""

    kind: Location
    index: int
    """Its place among the documents, or the search results, of the request, from 0."""
    title: str | None
    parts: tuple[str, ...]
    """A text, the texts of pages, or those of blocks."""
    file_id: str | None = None
    source: str = ""
    """What a search result says about where it comes from."""

    def location(self, quote: Quote) -> dict[str, Any] | None:
        """Return where the quote stands, as a citation; None when it stands nowhere here."""
        text = self.parts[0] if len(self.parts) == 1 else BETWEEN_PARTS.join(self.parts)
        match = quote.search(text)
        if match is None:
            return None
        said: dict[str, Any] = {"type": self.kind, "cited_text": match.group()}
        if self.kind == "search_result_location":
            said |= {"search_result_index": self.index, "source": self.source, "title": self.title}
        else:
            said |= {"document_index": self.index, "document_title": self.title, "file_id": self.file_id}
        return said | self._span(*match.span())

    def _span(self, start: int, end: int) -> dict[str, int]:
        """Return the ends, exclusive, in the document's own units: characters and blocks from 0, pages from 1."""
        if self.kind == "char_location":
            return {"start_char_index": start, "end_char_index": end}
        starts, at = [], 0
        for part in self.parts:
            starts.append(at)
            at += len(part) + len(BETWEEN_PARTS)
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
        if self.kind == "page_location":
            return {"start_page_number": first + 1, "end_page_number": last + 2}
        return {"start_block_index": first, "end_block_index": last + 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Citing:
    """What an answer may be traced to."""

    sources: tuple[Citable, ...]

    @property
    def long(self) -> bool:
        """Whether looking for a quote takes time."""
        return sum(len(part) for source in self.sources for part in source.parts) > LONG_CHARACTERS

    def find(self, quote: str) -> dict[str, Any] | None:
        """Return the citation for a quote, or None."""
        words = quote.split()
        if sum(map(len, words)) < QUOTE_CHARACTERS_MIN:
            return None
        wanted = Quote(words)
        found = (source.location(wanted) for source in self.sources)
        return next((location for location in found if location is not None), None)

    def cited(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message whose text is split where something is cited. Not for the event loop."""
        budget = Budget(self.find)
        content: list[Block] = []
        for block in message["content"]:
            if block.get("type") == "text":
                content += _split(block, budget)
            else:
                content.append(block)
        return {**message, "content": content}

    def stream(self) -> "CitedStream":
        """Return what translates one answer's events."""
        return CitedStream(Budget(self.find))


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """Puts back the ids of files into citations of a backend that was given their bytes (contract §12)."""

    file_ids: tuple[str | None, ...]
    """By the documents' places in the request."""
    long: bool = False
    """Looking up an id takes no time."""

    def cited(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message with the ids in its citations."""
        return {**message, "content": [self._block(block) for block in message["content"]]}

    def stream(self) -> "Naming":
        """Return what translates one answer's events."""
        return self

    def feed(self, event: Event) -> Sequence[Event]:
        """Return the events to send in place of one."""
        delta = event.get("delta")
        if event["type"] != "content_block_delta" or not isinstance(delta, dict) or "citation" not in delta:
            return [event]
        return [{**event, "delta": {**delta, "citation": self._named(delta["citation"])}}]

    def _block(self, block: Block) -> Block:
        citations = block.get("citations")
        return block if not citations else {**block, "citations": [self._named(one) for one in citations]}

    def _named(self, citation: Any) -> Any:  # noqa: ANN401  # whatever the backend says
        index = citation.get("document_index") if isinstance(citation, dict) else None
        if not isinstance(index, int) or not 0 <= index < len(self.file_ids):
            return citation
        return {**citation, "file_id": self.file_ids[index]}


class Budget:
    """Finds so many quotes of one answer, and no more."""

    def __init__(self, find: Callable[[str], dict[str, Any] | None]) -> None:
        self._find = find
        self._left = QUOTES_MAX

    def __call__(self, quote: str) -> dict[str, Any] | None:
        """Return the citation for a quote, or None."""
        self._left -= 1
        return self._find(quote) if self._left >= 0 else None


@dataclass(slots=True)
class Tags:
    """Takes tags out of text that comes in pieces, and holds back what may be the beginning of one."""

    _held: str = ""
    _quoting: bool = False

    def feed(self, text: str) -> Iterator[Piece]:
        """Yield what is certain."""
        self._held += text
        while self._held:
            if self._quoting:
                if not (yield from self._quote()):
                    return
            elif (match := _ANY.search(self._held)) is not None:
                yield "text", self._held[: match.start()]
                self._held = self._held[match.end() :]
                self._quoting = _CLOSE.fullmatch(match.group()) is None
            else:
                begun = _BEGUN.search(self._held)
                certain = len(self._held) if begun is None else begun.start()
                yield "text", self._held[:certain]
                self._held = self._held[certain:]
                return

    def _quote(self) -> Generator[Piece, None, bool]:
        """Yield what a quote turns out to be, and return whether to go on: False while its end is not there."""
        match = _ANY.search(self._held)
        if match is None:
            if len(self._held) <= QUOTE_CHARACTERS_MAX:
                return False
            kind: Literal["text", "quote"] = "text"
            begun = _BEGUN.search(self._held)
            end = after = len(self._held) if begun is None else begun.start()
        else:
            kind, end, after = "quote", match.start(), match.end()
        yield kind, self._held[:end]
        # A second opening tag closes the first one, too.
        self._quoting = match is not None and _CLOSE.fullmatch(match.group()) is None
        self._held = self._held[after:]
        return True

    def end(self) -> Iterator[Piece]:
        """Yield the rest of a text that has ended, in the middle of a quote perhaps."""
        rest, self._held = _ANY.sub("", self._held), ""
        begun = _BEGUN.search(rest)
        if begun is not None and len(begun.group()) > 1:
            rest = rest[: begun.start()]
        if rest:
            yield ("quote" if self._quoting else "text"), rest
        self._quoting = False


def _split(block: Block, find: Callable[[str], dict[str, Any] | None]) -> list[Block]:
    """Return a text block as blocks: each quote that was found has one of its own."""
    tags = Tags()
    blocks: list[Block] = []
    plain = ""
    for kind, text in [*tags.feed(block["text"]), *tags.end()]:
        citation = find(text) if kind == "quote" else None
        if citation is None:
            plain += text
            continue
        if plain:
            blocks.append({**block, "text": plain})
        blocks.append({**block, "text": text, "citations": [citation]})
        plain = ""
    if plain or not blocks:
        blocks.append({**block, "text": plain})
    return blocks


@dataclass(slots=True)
class CitedStream:
    """Translates the events of one answer: blocks are split as they come, and numbered anew."""

    find: Callable[[str], dict[str, Any] | None]
    _tags: Tags = field(default_factory=Tags)
    _next: int = 0
    """The number of the next block."""
    _start: Event | None = None
    """How the text block in hand began."""
    _open: bool = False
    """Whether a block of it is open."""
    _empty: bool = True
    """Whether none of it was opened yet."""

    def feed(self, event: Event) -> Sequence[Event]:
        """Return the events to send in place of one. Not for the event loop where documents are long."""
        match event["type"]:
            case "content_block_start" if event["content_block"].get("type") == "text":
                self._start, self._empty, self._tags = event, True, Tags()
                return self._pieces(self._tags.feed(event["content_block"].get("text") or ""))
            case "content_block_start":
                self._next += 1
                return [{**event, "index": self._next - 1}]
            case "content_block_delta" if self._start is not None and event["delta"]["type"] == "text_delta":
                return self._pieces(self._tags.feed(event["delta"]["text"]))
            case "content_block_stop" if self._start is not None:
                events = [*self._pieces(self._tags.end())]
                if self._empty:
                    events += self._opened()
                events += self._closed()
                self._start = None
                return events
            case "content_block_delta" | "content_block_stop":
                return [{**event, "index": self._next - 1}]
            case _:
                return [event]

    def _pieces(self, pieces: Iterator[Piece]) -> list[Event]:
        events: list[Event] = []
        for kind, text in pieces:
            if not text:
                continue
            citation = self.find(text) if kind == "quote" else None
            if citation is not None:
                events += self._closed()
            events += self._opened()
            events.append(self._delta({"type": "text_delta", "text": text}))
            if citation is not None:
                events.append(self._delta({"type": "citations_delta", "citation": citation}))
                events += self._closed()
        return events

    def _opened(self) -> list[Event]:
        if self._open or self._start is None:
            return []
        self._open, self._empty = True, False
        self._next += 1
        block = {**self._start["content_block"], "text": ""}
        return [{**self._start, "index": self._next - 1, "content_block": block}]

    def _closed(self) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        return [{"type": "content_block_stop", "index": self._next - 1}]

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": self._next - 1, "delta": delta}
