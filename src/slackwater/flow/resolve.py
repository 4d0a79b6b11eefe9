"""Resolve: from the stored bytes of a request to what a backend gets, or why it gets nothing (contract §4.1).

Everything that depends on the request alone is decided here: its validity under the terms of its batch, the model's
route and limits. What its sources stand for is found out later. The same step serves `/v1/messages`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from slackwater.domain.batch import Terms
from slackwater.domain.errors import InvalidRequestError, NotFoundError, RequestTooLargeError
from slackwater.domain.limits import MESSAGE_BODY_BYTES_MAX
from slackwater.domain.model import Route, Routes
from slackwater.wire.carriers import carriers
from slackwater.wire.params import Checked, ParamsError, check_count_tokens, check_messages


class Resolved(msgspec.Struct, frozen=True):
    """A request ready to be sent."""

    checked: Checked
    route: Route


def resolve(body: bytes | memoryview, *, terms: Terms, routes: Routes, batch: bool) -> Resolved:
    """Check a Messages body and find its route.

    Raises InvalidRequestError, NotFoundError for an unknown model, or RequestTooLargeError: a batch's request
    may be as large as a synchronous one (contract §12, believed). In a batch each is the request's own result (S8).
    """
    if len(body) > MESSAGE_BODY_BYTES_MAX:
        raise RequestTooLargeError
    checked, route = _check(body, terms=terms, routes=routes, batch=batch)
    if route.max_tokens is not None and checked.max_tokens > route.max_tokens:
        message = (
            f"max_tokens: {checked.max_tokens} > {route.max_tokens}, "
            f"which is the maximum allowed number of output tokens for {checked.model}"
        )
        raise InvalidRequestError(message)
    _check_profile(checked.params, terms)
    _check_images(checked, route)
    return Resolved(checked, route)


def resolve_count(body: bytes, *, terms: Terms, routes: Routes) -> Resolved:
    """Check a token-counting body and find its route; raises as `resolve` does."""
    try:
        checked = check_count_tokens(body, version=terms.version, betas=terms.betas)
    except ParamsError as error:
        raise InvalidRequestError(error.message, details=error.details) from None
    route = _route(checked.model, routes)
    _check_images(checked, route)
    return Resolved(checked, route)


def _check(body: bytes | memoryview, *, terms: Terms, routes: Routes, batch: bool) -> tuple[Checked, Route]:
    try:
        checked = check_messages(body, version=terms.version, betas=terms.betas, batch=batch, allow_sampling=True)
        route = _route(checked.model, routes)
        if checked.samples and not route.allow_sampling:
            check_messages(body, version=terms.version, betas=terms.betas, batch=batch)
    except ParamsError as error:
        raise InvalidRequestError(error.message, details=error.details) from None
    return checked, route


def _route(model: str, routes: Routes) -> Route:
    route = routes.find(model)
    if route is None:
        raise NotFoundError(f"model: {model}")
    return route


def _check_profile(params: Mapping[str, Any], terms: Terms) -> None:
    if terms.user_profile_id is not None and params.get("user_profile_id") not in (None, terms.user_profile_id):
        message = "user_profile_id: does not agree with the anthropic-user-profile-id header of the call"
        raise InvalidRequestError(message)


def _check_images(checked: Checked, route: Route) -> None:
    """Refuse images where the model cannot see (invariant 10)."""
    if checked.material and not route.vision:
        for carrier in carriers(checked.params):
            if carrier.kind == "image":
                raise InvalidRequestError(f"{carrier.path}: {checked.model} does not accept images")
