"""Which addresses a URL source may be fetched from: the public ones, and what the configuration allows (E2 to E4).

What is judged is the address that is about to be dialled, never the text of a URL: `127.1`, `0x7f.1` and `①②⑦.⓪.⓪.①`
are all 127.0.0.1 to a resolver.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS: Final[dict[str, int]] = {"http": 80, "https": 443}

_V4_REFUSED: Final = tuple(
    map(IPv4Network, ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "240.0.0.0/4"))
)
"""Beside what Python knows; the one with its own line in it is the virtual machine's host at a large cloud."""
_V6_GLOBAL: Final = IPv6Network("2000::/3")
_V6_REFUSED: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_V6_WITH_V4: Final = tuple(map(IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))
"""An IPv4 address in other clothes: the last 32 bits decide."""


def is_public(address: Address) -> bool:
    """Return whether anybody on the Internet may be there. Python's own `is_global` alone says yes too often."""
    if isinstance(address, IPv6Address):
        if any(address in network for network in _V6_WITH_V4):
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        return address in _V6_GLOBAL and not any(address in network for network in _V6_REFUSED)
    if address.is_multicast or any(address in network for network in _V4_REFUSED):
        return False
    return address.is_global


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a URL points."""

    scheme: str
    host: str
    """Lower case, ASCII, without brackets and a final dot."""
    port: int


class AllowList:
    """The configuration's exceptions: `host`, `*.host`, `10.0.0.0/8`, `http://host:port`. Raises ValueError for others.

    A host or network may be reached on every port, an origin on its own one. `*.host` does not mean `host` itself.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._hosts: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[Network] = []
        self._origins: set[Target] = set()
        for entry in entries:
            self._add(entry)

    def names(self, target: Target) -> bool:
        """Return whether the host, or the origin, is allowed whatever its address."""
        return target in self._origins or target.host in self._hosts or target.host.endswith(tuple(self._suffixes))

    def holds(self, address: Address) -> bool:
        """Return whether the address lies in a network that is allowed."""
        return any(address in network for network in self._networks)

    def _add(self, entry: str) -> None:
        text = entry.strip().lower().rstrip(".")
        if "://" in text:
            self._origins.add(_origin(entry))
            return
        try:
            self._networks.append(ip_network(text.strip("[]")))
        except ValueError:
            host = text.removeprefix("*.")
            if not host or not set(host) <= _HOST_CHARACTERS:
                raise ValueError(f"{entry!r} is no host, *.host, network or http://host:port") from None
            if text.startswith("*."):
                self._suffixes.append(f".{host}")
            else:
                self._hosts.add(host)


_HOST_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def _origin(entry: str) -> Target:
    parts = urlsplit(entry.strip().lower())
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or "@" in parts.netloc:
        raise ValueError(f"{entry!r} is no http://host:port")
    return Target(scheme=parts.scheme, host=parts.hostname.rstrip("."), port=parts.port or PORTS[parts.scheme])


def parsed(text: str) -> Address:
    """Return an address as a resolver gives it, without its zone."""
    return ip_address(text.split("%", 1)[0])
