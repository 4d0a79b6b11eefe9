"""The base of absolute URLs. Clients send their key there, so it must be ours (contract §4.6 rule 8, E9)."""

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from slackwater.api.context import Context, HTTPRequest

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def base_url(context: Context) -> str:
    """Return the base without a trailing slash.

    The configured one; else what a trusted proxy forwarded; else the `Host` the client named, if it is a loopback name
    or the address it is connected to; else that address. An unknown `Host` is never used.
    """
    services, http, headers = context.services, context.http, context.headers
    if services.public_url:
        return services.public_url.rstrip("/")
    if _from_proxy(http, services.trusted_proxies):
        forwarded = _forwarded(headers, http.scope["scheme"])
        if forwarded is not None:
            return forwarded
    own_host, own_port = http.scope.get("server") or ("localhost", None)
    own_name = f"[{own_host}]" if ":" in own_host else own_host
    named = _HOST.fullmatch(headers.get("host", ""))
    if named is not None and ((name := named[1].lower()) in _LOOPBACK or name == own_name):
        return f"{http.scope['scheme']}://{named[0]}"
    if own_port is None:
        return "http://localhost"
    return f"{http.scope['scheme']}://{own_name}:{own_port}"


def _forwarded(headers: Mapping[str, str], scheme: str) -> str | None:
    """Read what the nearest proxy says about the address the client used; None when it is not a plain one."""
    proto = _last(headers.get("x-forwarded-proto", scheme)).lower()
    host = _last(headers.get("x-forwarded-host", headers.get("host", "")))
    prefix = _last(headers.get("x-forwarded-prefix", "")).rstrip("/")
    if proto not in {"http", "https"} or not _HOST.fullmatch(host) or not _PREFIX.fullmatch(prefix):
        return None
    return f"{proto}://{host}{prefix}"


def _last(value: str) -> str:
    """Return the entry the nearest proxy wrote; the ones before it may be the client's invention."""
    return value.rpartition(",")[2].strip()


def _from_proxy(http: HTTPRequest, trusted: tuple[str, ...]) -> bool:
    if not trusted or http.client is None:
        return False
    try:
        peer = ip_address(http.client.host)
    except ValueError:
        return False
    return any(peer in network for network in networks(trusted))


@lru_cache(maxsize=8)
def networks(trusted: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read addresses and networks. Raises ValueError for what is neither."""
    return tuple(ip_network(entry, strict=False) for entry in trusted)
