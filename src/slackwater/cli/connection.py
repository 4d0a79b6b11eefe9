"""Talking to a server: which one, with which key, and what its refusals mean to the person at the keyboard.

The client commands are synchronous: they do one thing at a time, and an event loop would double the time they take to
start.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec

from slackwater.cli.exits import AUTHENTICATION, Failure
from slackwater.cli.output import message

DEFAULT_BASE_URL = "http://127.0.0.1:8321"
API_VERSION = "2023-06-01"
TRIES_MAX = 4
PATIENT_TRIES_MAX = 20
_BACKOFF_SECONDS_MAX = 8.0
_RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504, 529})
_PAUSE_SECONDS_MAX = 60.0
_LOOK_FIRST = "it may have been done: look whether it was before you repeat it"
_OFFICIAL = (".anthropic.com", ".claude.com")
_SECRET_HEADERS = frozenset({"x-api-key", "authorization"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Whom a command talks to."""

    base_url: str
    """Without a trailing slash."""
    key: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer with a status below 400."""

    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  # it is JSON
        """Return the decoded body. Raises Failure when the server is not the API."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            raise Failure("the server's answer is not JSON: is this the address of a slackwater server?") from None


def find_target(base_url: str | None, key_file: Path | None, environ: Mapping[str, str]) -> Target:
    """Choose server and key: options, then `SLACKWATER_*`, then `ANTHROPIC_*`, then this machine.

    Raises Failure where sending the key would hand it to the wrong party.
    """
    named = base_url or environ.get("SLACKWATER_BASE_URL") or environ.get("ANTHROPIC_BASE_URL")
    url = (named or DEFAULT_BASE_URL).rstrip("/").removesuffix("/v1")
    host = urlsplit(url).hostname or ""
    if not host or not url.startswith(("http://", "https://")):
        raise Failure(f"{url} is not a base URL", next_step="give one such as http://127.0.0.1:8321")
    key = _key(key_file, environ)
    if key is not None and key.startswith("sk-ant-") and not named:
        raise Failure(
            f"the key in the environment is one for the Anthropic API (sk-ant-…); it is not sent to {host}, "
            "which nobody named",
            next_step="set SLACKWATER_API_KEY to a slackwater key, or name the server with --base-url",
            code=AUTHENTICATION,
        )
    if key is not None and key.startswith("slw_") and f".{host}".endswith(_OFFICIAL):
        raise Failure(
            f"the key is a slackwater key (slw_…); it is not sent to {host}",
            next_step="name your own server with --base-url or SLACKWATER_BASE_URL",
            code=AUTHENTICATION,
        )
    return Target(base_url=url, key=key)


def _key(key_file: Path | None, environ: Mapping[str, str]) -> str | None:
    if key_file is not None:
        try:
            return key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise Failure(f"the key cannot be read from {key_file}: {problem}") from None
    for variable in ("SLACKWATER_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        if environ.get(variable):
            return environ[variable].strip()
    return None


class API:
    """A client of the Messages, batches, files and models routes."""

    def __init__(self, target: Target, *, debug: bool = False, version: str = API_VERSION) -> None:
        headers = {"anthropic-version": version, "user-agent": "slackwater-cli"}
        if target.key:
            headers["x-api-key"] = target.key
        self.target = target
        self.patient = False
        """Set while waiting for a batch: then a server that is away may be one that restarts."""
        self._debug = debug
        # A redirect is never followed: the key would go with it.
        self._client = httpx2.Client(
            base_url=target.base_url,
            headers=headers,
            timeout=httpx2.Timeout(60.0, connect=10.0),
            follow_redirects=False,
        )
        self._pause = threading.Event()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Send an HTTPRequest and return its answer; what a repetition may cure is repeated.

        Most calls are safe to repeat: the create of a batch carries an Idempotency-Key. One that is not `repeatable`
        is sent again only where the server has answered that it did not do it. Raises Failure.
        """
        tries = 0
        while True:
            tries += 1
            try:
                with self.stream(method, path, params=params, headers=headers, content=content) as response:
                    return Answer(headers=response.headers, body=response.read())
            except Retry as retry:
                if not (repeatable or retry.answered or retry.absent):
                    raise Failure(retry.failure.what, next_step=_LOOK_FIRST) from None
                if tries >= (PATIENT_TRIES_MAX if self.patient else 1 if retry.absent else TRIES_MAX):
                    raise retry.failure from None
                self.pause(
                    retry.after_seconds
                    if retry.after_seconds is not None
                    else min(0.25 * 2**tries, _BACKOFF_SECONDS_MAX)
                )

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        content: Callable[[], Iterator[bytes]] | None = None,
    ) -> Iterator[httpx2.Response]:
        """Send an HTTPRequest and yield the answer while its body is still to come.

        Raises Retry where trying again may help, Failure where it cannot.
        """
        try:
            with self._client.stream(
                method, path, params=params, headers=headers, content=content() if content else None
            ) as response:
                self._log(response)
                if response.status_code >= 300:  # noqa: PLR2004  # redirects are refused too
                    response.read()
                    raise _refusal(response, self.target)
                yield response
        except httpx2.TransportError as problem:
            absent = isinstance(problem, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise Retry(_unreachable(problem, self.target), absent=absent) from None
        except httpx2.InvalidURL:
            raise Failure(f"{self.target.base_url} is not a base URL") from None

    def pause(self, seconds: float) -> None:
        """Wait; Ctrl-C ends it."""
        self._pause.wait(min(max(seconds, 0.0), _PAUSE_SECONDS_MAX))

    def _log(self, response: httpx2.Response) -> None:
        if not self._debug:
            return
        request = response.request
        message(f"> {request.method} {request.url}")
        for name, value in request.headers.items():
            message(f"> {name}: {masked(value) if name.lower() in _SECRET_HEADERS else value}")
        message(f"< {response.status_code} {response.reason_phrase}")
        for name, value in response.headers.items():
            message(f"< {name}: {value}")


class Retry(Exception):  # noqa: N818  # a wish, not an error
    """The server was not reached, or asked for patience."""

    def __init__(
        self, failure: Failure, after_seconds: float | None = None, *, absent: bool = False, answered: bool = False
    ) -> None:
        super().__init__(failure.what)
        self.failure = failure
        """What to say when patience is at its end."""
        self.after_seconds = after_seconds
        self.absent = absent
        """True when nobody listens there."""
        self.answered = answered
        """True when the server said so itself."""


def masked(secret: str) -> str:
    """Return what may be shown of a key."""
    visible = 4
    return f"{secret[:visible]}…{secret[-visible:]}" if len(secret) > 4 * visible else "…"


def _unreachable(problem: httpx2.TransportError, target: Target) -> Failure:
    if isinstance(problem, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Failure(
            f"no server answers at {target.base_url}",
            next_step="start one with `slackwater serve`, or name another with --base-url or SLACKWATER_BASE_URL",
        )
    return Failure(f"the connection to {target.base_url} broke: {problem or type(problem).__name__}")


def _refusal(response: httpx2.Response, target: Target) -> Exception:
    try:
        body = msgspec.json.decode(response.content)
        kind, what = str(body["error"]["type"]), str(body["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        kind, what = "", f"{target.base_url} answered {response.status_code}, and not as the API does"
    status = response.status_code
    failure = Failure(
        f"{what} ({kind})" if kind else what,
        request_id=response.headers.get("request-id"),
        next_step=_next_step(status, target, response.request.url.path),
        code=AUTHENTICATION if status in {401, 403} else 1,
    )
    should_retry = response.headers.get("x-should-retry")
    if should_retry == "false" or (status not in _RETRIED_STATUS and should_retry != "true"):
        return failure
    try:
        after = float(response.headers.get("retry-after", ""))
    except ValueError:
        after = None
    return Retry(failure, after, answered=True)


def _next_step(status: int, target: Target, path: str) -> str | None:
    match status:
        case 401 if target.key is None:
            return "set SLACKWATER_API_KEY; `slackwater keys create --workspace default` makes a key"
        case 401 | 403:
            return f"check SLACKWATER_API_KEY (it is sent to {target.base_url}); `slackwater keys list` shows the keys"
        case 404:
            kind = "files" if "/v1/files" in path else "batches"
            return f"`slackwater {kind} list` shows what this key can see"
        case 429 | 503 | 529:
            return "try again later"
        case code if 300 <= code < 400:  # noqa: PLR2004  # the class of redirects
            return (
                "name the final address with --base-url: a redirect is not followed, so that the key stays where it is"
            )
        case _:
            return None
