"""An incremental reader of server-sent events: bytes in, events out, however the bytes were cut."""

import re
from dataclasses import dataclass, field

_END_OF_LINE = re.compile(rb"\r\n|\r|\n")
_LF = 0x0A
_BOM = b"\xef\xbb\xbf"

EVENT_BYTES_MAX = 16 * 1024 * 1024
"""One event carries at most a whole tool input or text in practice; a larger one is a broken or hostile server."""


class BrokenStreamError(ValueError):
    """The stream is not a readable sequence of events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerEvent:
    """One dispatched event."""

    event: str = "message"
    """The `event:` field; `message` when there was none."""
    data: str
    """The `data:` lines, joined by LF."""


@dataclass(kw_only=True, slots=True)
class EventReader:
    """Follows the WHATWG rules for `text/event-stream`; `id` and `retry` are ignored, since nobody here reconnects."""

    event_bytes_max: int = EVENT_BYTES_MAX
    _line: bytearray = field(default_factory=bytearray)
    _event: str = ""
    _data: list[str] = field(default_factory=list)
    _size: int = 0
    """Bytes of the event under way, its unfinished line not counted."""
    _skip_lf: bool = False
    """The last piece ended in CR: a LF at the start of the next one belongs to it."""
    _first: bool = True

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Take the next bytes and return the events they complete.

        Raises BrokenStreamError when an event grows past `event_bytes_max` or is not UTF-8. An event that is still
        open when the stream ends is never returned.
        """
        if self._skip_lf and piece:
            self._skip_lf = False
            if piece[0] == _LF:
                piece = piece[1:]
        events: list[ServerEvent] = []
        start = 0
        for match in _END_OF_LINE.finditer(piece):
            self._line += piece[start : match.start()]
            start = match.end()
            self._end_line(events)
        self._line += piece[start:]
        self._skip_lf = piece.endswith(b"\r") or (self._skip_lf and not piece)
        if self._size + len(self._line) > self.event_bytes_max:
            message = f"an event is larger than {self.event_bytes_max} bytes"
            raise BrokenStreamError(message)
        return events

    def _end_line(self, events: list[ServerEvent]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        self._size += len(line)
        if self._size > self.event_bytes_max:
            message = f"an event is larger than {self.event_bytes_max} bytes"
            raise BrokenStreamError(message)
        self._field(line)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name not in (b"data", b"event"):
            return
        try:
            text = value.removeprefix(b" ").decode()
        except UnicodeDecodeError as error:
            message = "an event is not UTF-8"
            raise BrokenStreamError(message) from error
        if name == b"data":
            self._data.append(text)
        else:
            self._event = text

    def _dispatch(self, events: list[ServerEvent]) -> None:
        if self._data:
            events.append(ServerEvent(event=self._event or "message", data="\n".join(self._data)))
        self._data.clear()
        self._event = ""
        self._size = 0
