"""The table of endpoints: it drives the router, the 405s and the OpenAPI document."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

from slackwater.api.context import Answer, Context

_KEPT_MAX = 4096
_KEPT_BYTES_MAX = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """Template: segments in braces are parameters."""
    handle: Callable[[Context], Awaitable[Answer]]
    summary: str
    answers: str
    """Name of the object answered with, in the OpenAPI document, or a media type."""
    query: tuple[str, ...] = ()
    """Names of the query parameters."""
    body: str | None = None
    """Media type of the body it takes."""
    takes: str | None = None
    """Name of that body's schema in the OpenAPI document."""
    streams: bool = False
    """Whether it also answers with an event stream."""
    ranges: bool = False
    """Whether it answers ranges of a body."""
    public: bool = False
    """Whether it is served without a key."""
    rest: bool = False
    """Whether the last parameter takes the rest of the path: SDKs for Python below 1.0 do not escape its slashes."""

    def media_types(self) -> list[tuple[str, str | None]]:
        """Return what a good answer may be: media types, each with its schema's name where it has one."""
        plain = (self.answers, None) if "/" in self.answers else ("application/json", self.answers)
        return [plain, ("text/event-stream", None)] if self.streams else [plain]


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What a path leads to."""

    methods: Mapping[str, Endpoint]
    """By method, HEAD beside GET."""
    path: str
    """The template."""
    parameters: Mapping[str, str]

    @property
    def allow(self) -> str:
        """The `Allow` header."""
        return ", ".join(sorted(self.methods))


class Router:
    """Finds endpoints by the path as it was sent, so that `%2F` in a parameter is not a separator (contract §7.3)."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._paths: dict[tuple[str, ...], dict[str, Endpoint]] = {}
        self._rest: set[tuple[str, ...]] = set()
        self._found: dict[bytes, Match] = {}
        """What clients ask for again and again, by the path as it was sent."""
        for endpoint in endpoints:
            template = tuple(endpoint.path.split("/")[1:])
            methods = self._paths.setdefault(template, {})
            if endpoint.rest:
                self._rest.add(template)
            methods[endpoint.method] = endpoint
            if endpoint.method == "GET":
                methods["HEAD"] = endpoint

    def match(self, scope: Scope) -> Match | None:
        """Return what the path of a request leads to; None for nothing."""
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        known = self._found.get(raw)
        if known is not None:
            return known
        found = self._find(_segments(raw))
        if found is not None and len(raw) <= _KEPT_BYTES_MAX:
            if len(self._found) >= _KEPT_MAX:
                self._found.clear()
            self._found[raw] = found
        return found

    def _find(self, segments: list[str]) -> Match | None:
        """Look through the templates. Literal segments win over parameters."""
        exact = self._paths.get(tuple(segments))
        if exact is not None and not any(map(_is_parameter, segments)):
            return Match(methods=exact, path=_joined(segments), parameters={})
        for template, methods in self._paths.items():
            parameters = _parameters(template, _gathered(template, segments) if template in self._rest else segments)
            if parameters is not None:
                return Match(methods=methods, path=_joined(template), parameters=parameters)
        return None


def _segments(raw: bytes) -> list[str]:
    """Split the path as it was sent and decode each part; one trailing slash is no part of it."""
    parts = [unquote_to_bytes(part).decode("utf-8", "replace") for part in raw.split(b"/")[1:]]
    return parts[:-1] if len(parts) > 1 and not parts[-1] else parts


def _parameters(template: tuple[str, ...], given: list[str]) -> dict[str, str] | None:
    if len(template) != len(given):
        return None
    parameters = {}
    for expected, part in zip(template, given, strict=True):
        if _is_parameter(expected):
            if not part.isprintable() or not part:  # a control character is in no id, and PostgreSQL refuses NUL
                return None
            parameters[expected[1:-1]] = part
        elif expected != part:
            return None
    return parameters


def _gathered(template: tuple[str, ...], given: list[str]) -> list[str]:
    last = len(template) - 1
    return [*given[:last], "/".join(given[last:])]


def _joined(template: Iterable[str]) -> str:
    return "/" + "/".join(template)


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{")
