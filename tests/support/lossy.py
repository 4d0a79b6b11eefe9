"""A way to a server on which answers get lost: the request arrives, the connection ends before the answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

BYTES_AT_ONCE = 65_536


@dataclass
class LossyWay:
    """Passes every connection on, and loses the answers on as many of the next ones as it is told."""

    target: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    losing: int = 0
    lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def to(cls, port: int) -> Iterator[Self]:
        """Have one to a port of 127.0.0.1."""
        way = cls(port)
        threading.Thread(target=way._serve, daemon=True).start()
        try:
            yield way
        finally:
            way.listener.shutdown(socket.SHUT_RDWR)
            way.listener.close()

    @property
    def port(self) -> int:
        """Where it begins."""
        port: int = self.listener.getsockname()[1]
        return port

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server, suppress(OSError):
            threading.Thread(target=_copy, args=(client, server), daemon=True).start()
            while answer := server.recv(BYTES_AT_ONCE):
                if self._loses():
                    client.shutdown(socket.SHUT_RDWR)  # a close alone would wait for the thread that reads from it
                    return
                client.sendall(answer)

    def _loses(self) -> bool:
        with self._lock:
            loses = self.losing > 0
            self.losing -= loses
            self.lost += loses
            return loses


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BYTES_AT_ONCE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
