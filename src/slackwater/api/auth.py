"""Who calls, under which terms: credentials, API version, betas, workspace (contract §1)."""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache

import structlog

from slackwater.api.context import Answer, Context
from slackwater.domain.batch import Terms
from slackwater.domain.errors import AuthenticationError, InvalidRequestError, PermissionDeniedError
from slackwater.domain.workspace import APIKey
from slackwater.flow.interactive import Caller

VERSIONS = frozenset({"2023-06-01", "2026-10-21"})
CLASSIC_VERSION = "2023-06-01"
BETAS = frozenset(
    {
        "extended-cache-ttl-2025-04-11",
        "files-api-2025-04-14",
        "message-batches-2024-09-24",
        "output-300k-2026-03-24",
        "pdfs-2024-09-25",
        "prompt-caching-2024-07-31",
        "token-counting-2024-11-01",
        "webhooks-2026-10-07",
    }
)
"""Values that older SDKs send for what has long been ordinary, and the two that change something (contract §1.5)."""

_BEARER = re.compile(r"bearer[ ]+(\S.*)", re.IGNORECASE)
_PROFILE_ID = re.compile(r"[\x21-\x7e]{1,256}")

_log = structlog.get_logger(__name__)


def guarded(handle: Callable[[Context, Caller], Awaitable[Answer]]) -> Callable[[Context], Awaitable[Answer]]:
    """Make an endpoint of a handler that needs to know who calls."""

    async def authenticated(context: Context) -> Answer:
        return await handle(context, await caller(context))

    return authenticated


async def caller(context: Context) -> Caller:
    """Identify the caller. Raises AuthenticationError, PermissionDeniedError or InvalidRequestError."""
    headers = context.headers
    key = await _key(context)
    context.workspace_id = key.workspace_id
    named = headers.get("anthropic-workspace-id")
    if named is not None and named != key.workspace_id:
        message = "Your API key does not have access to the workspace in anthropic-workspace-id."
        raise PermissionDeniedError(message)
    services = context.services
    agreed = terms(
        headers.get("anthropic-version", ""),
        headers.get("anthropic-beta", ""),
        headers.get("anthropic-user-profile-id"),
        strict_version=services.strict_version,
        strict_betas=services.strict_betas,
    )
    return Caller(workspace_id=key.workspace_id, key_id=key.id, terms=agreed)


async def _key(context: Context) -> APIKey:
    secret, refusal = credential(context.headers)
    key = await context.services.keys.authenticate(secret) if secret.isascii() else None
    if key is None:
        raise AuthenticationError(refusal)
    return key


def credential(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the secret and what to say if it is wrong; `x-api-key` wins over a bearer token (contract §1.3).

    Raises AuthenticationError when there is neither.
    """
    if secret := headers.get("x-api-key", "").strip():
        return secret, "invalid x-api-key"
    authorization = headers.get("authorization", "").strip()
    if not authorization:
        raise AuthenticationError
    bearer = _BEARER.fullmatch(authorization)
    if bearer is None:
        message = "Invalid bearer token"
        raise AuthenticationError(message)
    return bearer[1], "Invalid bearer token"


@lru_cache(maxsize=256)  # a client sends the same ones with every call
def terms(
    version: str,
    betas: str,
    user_profile_id: str | None,
    *,
    strict_version: bool,
    strict_betas: bool,
) -> Terms:
    """Read the headers that say under which terms a call is made. Raises InvalidRequestError."""
    return Terms(
        version=_version(version.strip(), strict=strict_version),
        betas=_betas(betas, strict=strict_betas),
        user_profile_id=_profile(user_profile_id),
    )


def _version(given: str, *, strict: bool) -> str:
    """Return the API version (contract §1.1). A header sent twice is refused like an unknown value."""
    if given in VERSIONS:
        return given
    if not strict:
        return CLASSIC_VERSION
    if not given:
        message = "anthropic-version: header is required"
        raise InvalidRequestError(message)
    message = f'anthropic-version: "{given}" is not a valid version'
    raise InvalidRequestError(message)


def _betas(listed: str, *, strict: bool) -> tuple[str, ...]:
    """Return the beta values, repeated headers and comma lists alike, each once, in the order given (contract §1.5)."""
    values = map(str.strip, listed.split(","))
    given = tuple(dict.fromkeys(value for value in values if value))
    unknown = [value for value in given if value not in BETAS]
    if unknown and strict:
        quoted = ", ".join(f"`{value}`" for value in unknown)
        message = f"Unexpected value(s) {quoted} for the `anthropic-beta` header"
        raise InvalidRequestError(message)
    if unknown:
        _log.debug("unknown anthropic-beta values", values=unknown)
    return given


def _profile(given: str | None) -> str | None:
    if given is not None and not _PROFILE_ID.fullmatch(given):
        message = "anthropic-user-profile-id: String should match pattern '^[!-~]{1,256}$'"
        raise InvalidRequestError(message)
    return given
