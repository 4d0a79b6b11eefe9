"""A transport that sends the head of an answer together with its body: one packet, one system call, one wakeup."""

import asyncio
from typing import Any

HELD_BYTES_MAX = 16 * 1024
"""More than this is sent at once: nothing is gained by waiting for what follows."""


class JoiningTransport:
    """Holds something small that is written until more is, at the latest until the next turn of the loop."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        """Wrap a transport, inside the running loop."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send, or hold until more comes."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.writelines((held, data))
        elif len(data) > HELD_BYTES_MAX:
            self._transport.write(data)
        else:
            self._held = data
            self._loop.call_soon(self._let_go)

    def write_eof(self) -> None:
        """Send what is held, and no more."""
        self._let_go()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held and close."""
        self._let_go()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any attribute
        """Do whatever else the transport can do."""
        return getattr(self._transport, name)

    def _let_go(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
