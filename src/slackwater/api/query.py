"""Reading the query of a list call, with the API's own words for what is wrong (contract §3)."""

import re
from dataclasses import dataclass

from slackwater.api.context import Context
from slackwater.domain.errors import InvalidRequestError

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
CURSOR_LENGTH_MAX = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """Where a page of cursor family A begins and how long it is."""

    limit: int
    """1…1000."""
    after_id: str | None
    """The page holds what follows this id in list order: older things."""
    before_id: str | None
    """The page holds what directly precedes this id: newer things, still newest first."""


def cursor(context: Context) -> Cursor:
    """Read `limit`, `after_id` and `before_id`. Raises InvalidRequestError."""
    after_id, before_id = _id(context, "after_id"), _id(context, "before_id")
    if after_id is not None and before_id is not None:
        message = "before_id: Only one of `after_id` and `before_id` may be given"
        raise InvalidRequestError(message)
    return Cursor(limit=_limit(context), after_id=after_id, before_id=before_id)


def integer(name: str, text: str) -> int:
    """Read a number that came as text. Raises InvalidRequestError."""
    if not _INTEGER.fullmatch(text.strip()):
        message = f"{name}: Input should be a valid integer, unable to parse string as an integer"
        raise InvalidRequestError(message)
    return int(text)


def _limit(context: Context) -> int:
    largest = context.services.limits.page_limit_max
    given = context.http.query_params.get("limit")
    if given is None:
        return context.services.limits.page_limit_default
    limit = integer("limit", given)
    if limit < 1:
        message = "limit: Input should be greater than or equal to 1"
        raise InvalidRequestError(message)
    if limit > largest:
        message = f"limit: Input should be less than or equal to {largest}"
        raise InvalidRequestError(message)
    return limit


def _id(context: Context, name: str) -> str | None:
    given = context.http.query_params.get(name)
    if not given:
        return None
    if len(given) > CURSOR_LENGTH_MAX or not given.isprintable():
        message = f"{name}: Input should be an id from an earlier page"
        raise InvalidRequestError(message)
    return given
