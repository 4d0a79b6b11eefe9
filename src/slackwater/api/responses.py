"""Plain JSON answers."""

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from slackwater.wire.objects import encode

JSON = "application/json"


class JSONAnswer:
    """A whole answer in JSON."""

    def __init__(self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Take the body as it is; the headers come beside its type and its length."""
        self._body = body
        self._status = status
        self._headers = headers or {}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Write it to the client."""
        headers = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(self._body))]
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONAnswer:
    """Write a wire object, or plain JSON values."""
    return JSONAnswer(encode(value), status=status, headers=headers)
