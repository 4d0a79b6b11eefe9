"""Catalog: which models a client may name."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from slackwater.domain.errors import AttemptFailedError, BackendAwayError, NotFoundError, WireError
from slackwater.domain.model import Route, Routes
from slackwater.ports import Backend, Clock

OFFERED_FOR = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """A model as `/v1/models` shows it (contract §7.3)."""

    id: str
    display_name: str
    created_at: datetime
    max_input_tokens: int | None
    max_tokens: int | None
    vision: bool


class Catalog:
    """The configured models, and behind globs those that the backends offer."""

    def __init__(self, *, routes: Routes, backends: Mapping[str, Backend], clock: Clock, since: datetime) -> None:
        self._routes = routes
        self._backends = backends
        self._clock = clock
        self._since = since
        self._offered: dict[str, tuple[datetime, list[str]]] = {}

    async def models(self) -> list[ModelInfo]:
        """List every model that can be named, configured ones first, each once."""
        found: dict[str, ModelInfo] = {}
        for route in self._routes.routes:
            for name in await self._names(route):
                found.setdefault(name, self._info(name, route))
        return list(found.values())

    async def model(self, name: str) -> ModelInfo:
        """Return one. Raises NotFoundError when nothing serves it."""
        route = self._routes.find(name)
        if route is None:
            raise NotFoundError(f"model: {name}")
        return self._info(name, route)

    async def _names(self, route: Route) -> list[str]:
        if not route.is_glob:
            return [route.id]
        return [name for name in await self._offers(route.backend) if fnmatchcase(name, route.id)]

    async def _offers(self, backend: str) -> list[str]:
        now = self._clock.now()
        at, names = self._offered.get(backend, (None, []))
        if at is None or now - at > OFFERED_FOR:
            try:
                names = await self._backends[backend].models()
            except (BackendAwayError, AttemptFailedError, WireError):
                names = []
            self._offered[backend] = (now, names)
        return names

    def _info(self, name: str, route: Route) -> ModelInfo:
        return ModelInfo(
            id=name,
            display_name=route.display_name or name,
            created_at=self._since,
            max_input_tokens=route.max_input_tokens,
            max_tokens=route.max_tokens,
            vision=route.vision,
        )
