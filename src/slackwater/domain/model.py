"""Which backend and upstream name serve the model name that a client sends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from slackwater.domain.pricing import FREE, Price

_FOUND_MAX: Final = 1_024


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A configured model."""

    id: str
    """What the client sends; may be a glob, `*` is the fallback."""
    backend: str
    upstream: str | None = None
    """The name the backend knows; None: the client's own."""
    display_name: str | None = None
    """What people read in a list of models; None: the name itself."""
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    """Largest `max_tokens` accepted; None: not limited by us."""
    vision: bool = True
    page_images: bool = False
    """Pages of PDFs are drawn for it: the configuration says outright that the model sees."""
    pass_urls: bool = False
    """The operator lets this backend fetch URL sources itself; otherwise we fetch them."""
    allow_sampling: bool = False
    """Accept `temperature`, `top_p` and `top_k` under version 2026-10-21 too (contract §1.2, our extension)."""
    tokenizer: Callable[[Mapping[str, Any]], int] | None = None
    """Counts the tokens of a Messages body where the backend does not."""
    price: Price = FREE
    stand_in: bool = False
    """A toy answers, because nothing was configured; every answer says so."""

    @property
    def is_glob(self) -> bool:
        """True when the id matches more than itself."""
        return any(character in self.id for character in "*?[")

    def upstream_for(self, model: str) -> str:
        """Return the name to send to the backend."""
        return self.upstream if self.upstream is not None else model


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    """All configured models, looked up by exact id first, then by glob in the order of the configuration."""

    routes: tuple[Route, ...]
    _found: dict[str, Route | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was looked up before: requests by the hundred thousand name the same few."""

    def find(self, model: str) -> Route | None:
        """Return the route for a model name, or None when nothing serves it."""
        try:
            return self._found[model]
        except KeyError:
            if len(self._found) >= _FOUND_MAX:
                self._found.clear()
            route = self._found[model] = self._search(model)
            return route

    def _search(self, model: str) -> Route | None:
        for route in self.routes:
            if route.id == model:
                return route
        for route in self.routes:
            if route.is_glob and fnmatchcase(model, route.id):
                return route
        return None
