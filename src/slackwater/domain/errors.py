"""Every error a client can meet, typed once: wire type, status, and whether a retry can help (contract §2.2).

The first line of a class's docstring is its default message. Nothing here knows HTTP beyond the status number.
"""

from copy import copy
from typing import ClassVar


class WireError(Exception):
    """Internal server error."""

    type: ClassVar[str] = "api_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = True
    """What the official SDKs do with this status by themselves."""

    def __init__(
        self,
        message: str | None = None,
        *,
        error_code: str | None = None,
        details: dict[str, object] | None = None,
        retry_after_seconds: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        self.message = message if message is not None else (type(self).__doc__ or "").split("\n", 1)[0]
        self.error_code = error_code
        self.details = {"error_code": error_code, **(details or {})} if error_code else details
        """The optional `error.details` object of the envelope."""
        self.retry_after_seconds = retry_after_seconds
        """Becomes the `retry-after` header when given."""
        self.should_retry = should_retry
        """Becomes the `x-should-retry` header when given; in the SDKs it wins over the status (contract §9)."""
        super().__init__(self.message)


class InvalidRequestError(WireError):
    """The request is not valid."""

    type = "invalid_request_error"
    status = 400
    retryable = False


class MethodNotAllowedError(InvalidRequestError):
    """Method Not Allowed"""  # noqa: D400  # the wire's text has no full stop

    status = 405


class AuthenticationError(WireError):
    """x-api-key header is required"""  # noqa: D400  # the wire's text

    type = "authentication_error"
    status = 401
    retryable = False


class BillingError(WireError):
    """There is a problem with billing."""

    type = "billing_error"
    status = 402
    retryable = False


class PermissionDeniedError(WireError):
    """Your API key does not have permission to use this resource."""

    type = "permission_error"
    status = 403
    retryable = False


class NotFoundError(WireError):
    """Not found"""  # noqa: D400  # the wire's text

    type = "not_found_error"
    status = 404
    retryable = False


class RequestTooLargeError(WireError):
    """Request exceeds the maximum size"""  # noqa: D400  # the wire's text

    type = "request_too_large"
    status = 413
    retryable = False


class RateLimitError(WireError):
    """This request would exceed a rate limit."""

    type = "rate_limit_error"
    status = 429


class APIError(WireError):
    """Internal server error"""  # noqa: D400  # the wire's text


class WireTimeoutError(WireError):
    """Request timed out"""  # noqa: D400  # the wire's text

    type = "timeout_error"
    status = 504


class OverloadedError(WireError):
    """Overloaded"""  # noqa: D400  # the wire's text

    type = "overloaded_error"
    status = 529


BY_TYPE: dict[str, type[WireError]] = {
    cls.type: cls
    for cls in (
        InvalidRequestError,
        AuthenticationError,
        BillingError,
        PermissionDeniedError,
        NotFoundError,
        RequestTooLargeError,
        RateLimitError,
        APIError,
        WireTimeoutError,
        OverloadedError,
    )
}


class BackendAwayError(Exception):
    """The backend is away or full: connection refused, 429, 503, 529 (X7). It costs the request nothing.

    The backend's circuit opens and the work waits for it.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None, full: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        """For logs and operators; never shown to a client of ours."""
        self.retry_after_seconds = retry_after_seconds
        self.full = full
        """True when the backend answered that it has too much to do (429, 529): a sign to send less at once."""


class AttemptFailedError(Exception):
    """One attempt failed in a way the request itself may have caused: 500, timeout, a cut or wrong-shaped answer (X7).

    Tried again a bounded number of times; then `error` becomes the request's result.
    """

    def __init__(self, reason: str, error: WireError, *, parks: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self._error = error
        self.parks = parks
        """False where others need not be held up until it is tried again: somebody else's server is away."""

    @property
    def error(self) -> WireError:
        """Return what it becomes: a new one, so that raising it from this closes no circle that keeps the answer."""
        return copy(self._error)


class StoreUnavailableError(Exception):
    """The store cannot be written: the disk is full, failing, or the database is away."""
