"""Browsers: only configured origins, never credentials, so that a page elsewhere can do nothing (G3)."""

from collections.abc import Mapping

from starlette.responses import Response

from slackwater.api.context import Context

_EXPOSED = (
    "request-id, retry-after, retry-after-ms, x-should-retry, anthropic-organization-id, anthropic-workspace-id, "
    "slackwater-token-count, slackwater-stand-in, content-range, etag"
)
_ACCEPTED = (
    "accept, anthropic-beta, anthropic-dangerous-direct-browser-access, anthropic-user-profile-id, anthropic-version, "
    "anthropic-workspace-id, authorization, content-type, content-encoding, idempotency-key, if-range, range, "
    "x-api-key, x-stainless-arch, x-stainless-async, x-stainless-helper, x-stainless-lang, x-stainless-os, "
    "x-stainless-package-version, x-stainless-read-timeout, x-stainless-retry-count, x-stainless-runtime, "
    "x-stainless-runtime-version, x-stainless-timeout"
)
_PREFLIGHT_SECONDS = "600"


def preflight(context: Context) -> Response | None:
    """Answer a browser's question before the request; None where it is not one or not from a configured origin."""
    headers = context.headers
    asked = context.http.method == "OPTIONS" and "access-control-request-method" in headers
    if not asked or origin(headers, context.services.cors_origins) is None:
        return None
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": "GET, HEAD, POST, DELETE",
            "access-control-allow-headers": _ACCEPTED,
            "access-control-max-age": _PREFLIGHT_SECONDS,
        },
    )


def origin(headers: Mapping[str, str], allowed: tuple[str, ...]) -> str | None:
    """Return the caller's origin when it is configured."""
    given = headers.get("origin")
    return given if given is not None and given in allowed else None


def response_headers(headers: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    """Return what every answer carries for browsers where an origin is configured."""
    granted = origin(headers, allowed)
    if granted is None:
        return {"vary": "origin"}
    return {
        "vary": "origin",
        "access-control-allow-origin": granted,
        "access-control-expose-headers": _EXPOSED,
    }
