"""One connection to a backend: an exchange at a time, nothing ever sent twice.

A kept connection may have been closed by the other side at any instant. Its socket is asked directly before it is used
again: the loop would tell only in a turn or two, and nobody knows what becomes of bytes that are written until then.
"""

import asyncio
import select
import socket
from typing import cast

from slackwater.backends.answers import AnswerReader, UnreadableAnswerError

UNREAD_BYTES_MAX = 256 * 1024
"""What is held of a body that is read piece by piece before the other side has to wait."""


class Connection(asyncio.Protocol):
    """An open connection."""

    def __init__(self) -> None:
        """Begin to exist, inside the running loop; the transport follows."""
        self.closed = False
        """Nothing can be sent any more."""
        self.idle_since = 0.0
        """Loop seconds at the end of the last exchange."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._socket = select.poll()
        self._reader: AnswerReader | None = None
        self._piecemeal = False
        self._paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Fires at `_fires_at`; it outlives its exchange, because setting one for each would cost more than a look."""
        self._fires_at = 0.0
        self._ends_at: float | None = None
        self._patience: float | None = None
        self._heard_at = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether at this instant the other side has neither sent nor closed anything."""
        return not self.closed and not self._socket.poll(0)

    def send(self, head: bytes, body: bytes, reader: AnswerReader) -> None:
        """Send a request; `reader` gets the answer."""
        self._reader = reader
        self._transport.writelines((head, body))

    def limit(self, seconds: float, *, silence: bool) -> None:
        """Have the exchange fail with TimeoutError after so long, with `silence` after so long a silence."""
        self._heard_at = self._loop.time()
        self._patience = seconds if silence else None
        self._ends_at = self._heard_at + seconds
        if self._timer is None or self._fires_at > self._ends_at:
            self._set_timer(self._ends_at)

    async def heard(self, reader: AnswerReader, *, piecemeal: bool = False) -> None:
        """Wait until the answer in `reader` is whole or over its limit; with `piecemeal` until there is more of it.

        Raises TimeoutError, OSError when the connection ends before the answer does, or UnreadableAnswerError.
        """
        self._piecemeal = piecemeal
        if reader.whole or reader.over or (piecemeal and reader.body):
            return
        if self._error is not None:
            raise self._error
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._waiter = self._loop.create_future()
        await self._waiter

    def finish(self) -> bool:
        """End the exchange, and the connection too unless another exchange may follow: tell whether it may."""
        reader, self._reader = self._reader, None
        self._ends_at = None
        # An error holds the frames that it went through, these what they read of the answer, and us: a circle.
        self._error = self._waiter = None
        if reader is not None:
            reader.close()
        if self.closed or reader is None or not reader.reusable or self._transport.get_write_buffer_size():
            self.close()
            return False
        self.idle_since = self._loop.time()
        return True

    def close(self) -> None:
        """Close at once, whatever is on its way."""
        self._fail(ConnectionAbortedError("closed on this side"))

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        own: socket.socket = transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.register(own.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; what nobody asked for ends the connection."""
        reader = self._reader
        if reader is None:
            self.close()
            return
        if self._patience is not None:
            self._heard_at = self._loop.time()
        try:
            reader.feed(data)
        except UnreadableAnswerError as error:
            self._fail(error)
            return
        if reader.whole or reader.over:
            self._wake()
        elif self._piecemeal and reader.begun:
            self._wake()
            if len(reader.body) > UNREAD_BYTES_MAX and not self._paused:
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        """Hear that the other side sends no more: a body that has no other end is whole then."""
        if self._reader is not None and self._reader.end():
            self._wake()
        self._fail(ConnectionResetError("the other side closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that the connection is gone."""
        self._fail(exc or ConnectionResetError("the connection is gone"))

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = at
        self._timer = self._loop.call_at(at, self._out_of_time)

    def _out_of_time(self) -> None:
        self._timer = None
        if self._ends_at is None:
            return
        now = self._loop.time()
        if self._patience is not None:
            self._ends_at = (now if self._paused else self._heard_at) + self._patience
        if self._ends_at > now:
            self._set_timer(self._ends_at)
        else:
            self._fail(TimeoutError())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.closed:
            self._error = error
            self.closed = True
            self._transport.abort()
            if self._timer is not None:
                self._timer.cancel()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
