"""What a client meets before the application does: our envelope where uvicorn would answer in plain text."""

from collections.abc import Callable
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from slackwater.domain.errors import InvalidRequestError, WireError
from slackwater.domain.ids import REQUEST
from slackwater.wire.errors import encode_error


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection with the error envelope."""

    new_id: ClassVar[Callable[[str], str]]

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP and close."""
        self.refuse(InvalidRequestError(msg))

    def refuse(self, error: WireError, status: int | None = None) -> None:
        """Answer with an envelope and close."""
        request_id = type(self).new_id(REQUEST)
        body = encode_error(error, request_id)
        head = [
            STATUS_LINE[status or error.status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"request-id: %s\r\n" % request_id.encode(),
            b"x-should-retry: false\r\n",
            b"connection: close\r\n\r\n",
        ]
        self.transport.write(b"".join([*head, body]))
        self.transport.close()


def connection_class(new_id: Callable[[str], str]) -> type[Connection]:
    """Return the class uvicorn builds connections from, with ids of ours."""
    return type("Connection", (Connection,), {"new_id": staticmethod(new_id)})
