"""`/v1/models`: what clients may name (contract §7.3)."""

from slackwater.api.context import Answer, Context
from slackwater.api.query import Cursor, cursor
from slackwater.api.responses import json
from slackwater.domain.errors import InvalidRequestError
from slackwater.flow.catalog import ModelInfo
from slackwater.flow.interactive import Caller
from slackwater.wire.objects import CapabilitySupport, Model, ModelCapabilities, instant, list_page

LIFECYCLES = ("active", "deprecated", "retired")


async def page(context: Context, _caller: Caller) -> Answer:
    """`GET /v1/models`."""
    asked, lifecycles = cursor(context), _lifecycles(context)
    models = [_model(info) for info in await context.services.catalog.models()]
    chosen, has_more = _cut([model for model in models if model.lifecycle in lifecycles], asked)
    return json(list_page(chosen, has_more=has_more))


async def retrieve(context: Context, _caller: Caller) -> Answer:
    """`GET /v1/models/{model_id}`; ids of local backends hold slashes, which arrive as `%2F`."""
    return json(_model(await context.services.catalog.model(context.parameters["model_id"])))


def _cut(models: list[Model], asked: Cursor) -> tuple[list[Model], bool]:
    """Return one page and whether more follows in the direction walked. Raises InvalidRequestError."""
    positions = {model.id: position for position, model in enumerate(models)}
    for name, cursor_id in (("after_id", asked.after_id), ("before_id", asked.before_id)):
        if cursor_id is not None and cursor_id not in positions:
            message = f"{name}: `{cursor_id}` is not a known id"
            raise InvalidRequestError(message)
    if asked.before_id is not None:
        stop = positions[asked.before_id]
        start = max(0, stop - asked.limit)
        return models[start:stop], start > 0
    start = 0 if asked.after_id is None else positions[asked.after_id] + 1
    stop = start + asked.limit
    return models[start:stop], stop < len(models)


def _lifecycles(context: Context) -> frozenset[str]:
    query = context.http.query_params
    given = query.getlist("lifecycle[]") + query.getlist("lifecycle")
    for value in given:
        if value not in LIFECYCLES:
            message = "lifecycle.0: Input should be 'active', 'deprecated' or 'retired'"
            raise InvalidRequestError(message)
    return frozenset(given or LIFECYCLES)


def _model(info: ModelInfo) -> Model:
    return Model(
        id=info.id,
        display_name=info.display_name,
        created_at=instant(info.created_at),
        max_input_tokens=info.max_input_tokens,
        max_tokens=info.max_tokens,
        capabilities=ModelCapabilities(
            batch=CapabilitySupport(supported=True), image_input=CapabilitySupport(supported=info.vision)
        ),
    )
