"""Where an exception becomes an error envelope: typed errors as they are, anything else as a bare 500 (B11)."""

import errno
import math
from collections.abc import Mapping

import structlog

from slackwater.api.context import Context
from slackwater.api.responses import JSONAnswer
from slackwater.domain.errors import (
    APIError,
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    OverloadedError,
    StoreUnavailableError,
    WireError,
)
from slackwater.wire.errors import encode_error

_log = structlog.get_logger(__name__)

STORE_RETRY_SECONDS = 5.0  # P1: an outage of the store of up to a minute is survived by clients that come back


class RangeNotSatisfiableError(InvalidRequestError):
    """Requested range not satisfiable"""  # noqa: D400  # HTTP's own words

    status = 416


class MisdirectedHostError(InvalidRequestError):
    """host: exactly one Host header is required"""  # noqa: D400  # reads like the other field errors


def typed(error: Exception) -> WireError:
    """Translate any exception; one that is not typed tells the client nothing but its request id."""
    match error:
        case WireError():
            return error
        case AttemptFailedError():
            return error.error
        case BackendAwayError():
            return OverloadedError(retry_after_seconds=error.retry_after_seconds)
        case OSError() if is_disk_full(error):
            return storage_full()
        case StoreUnavailableError():
            return OverloadedError(retry_after_seconds=STORE_RETRY_SECONDS)
        case _:
            return APIError()


def is_disk_full(error: OSError) -> bool:
    """Tell whether a write found no room."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def storage_full() -> OverloadedError:
    """Build the answer to what would take room on a full disk; an SDK would send all of it again (P4)."""
    return OverloadedError("Storage is full", should_retry=False)


def failure(error: WireError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONAnswer:
    """Write a typed error with its headers (contract §9)."""
    own = {**_headers(error), **(headers or {})}
    return JSONAnswer(encode_error(error, request_id), status=error.status, headers=own)


def _headers(error: WireError) -> dict[str, str]:
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    should_retry = error.should_retry
    if should_retry is None and error.status == InvalidRequestError.status:
        should_retry = False  # the real API says so on its 400s, for clients that retry by themselves
    if should_retry is not None:
        headers["x-should-retry"] = "true" if should_retry else "false"
    return headers


def report(error: Exception, context: Context) -> None:
    """Log what is ours to fix; typed errors are the client's business and were told to it."""
    if isinstance(error, OSError) and is_disk_full(error):
        _log.error("request refused: no space left on the disk", request_id=context.request_id, path=context.path)
    elif not isinstance(error, WireError | AttemptFailedError | BackendAwayError):
        _log.error("request failed", request_id=context.request_id, path=context.path, exc_info=error)
