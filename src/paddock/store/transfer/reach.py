"""Which addresses may be connected to: a server on the internet must not send this machine to its own network.

A name is checked as the addresses that it leads to, and those very addresses are connected to, so that a name whose
address changes in between gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiohttp.abc import AbstractResolver, ResolveResult

from paddock.errors import RemoteFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = (ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10"))
"""Link-local: where clouds tell a machine its secrets."""

_IPV6_PUBLIC = ipaddress.ip_network("2000::/3")
"""All that is given out of IPv6. Python calls more than that global: site-local addresses, for one."""


@dataclass(frozen=True)
class Reach:
    """What may be connected to besides public addresses."""

    trusted_hosts: frozenset[str] = frozenset()
    """Lower-case names or addresses that the user has named: the server's own, and proxies'."""
    allows_private: bool = False
    """Whether the server may point to addresses of a local network: it is at one itself."""
    allows_loopback: bool = False
    """Whether it may point to this machine: it is on it."""
    peer: str = "The Hub"
    """What messages call the server."""

    def allows(self, host: str, address: Address) -> bool:
        """Whether `host`, whose address this is, may be connected to."""
        real = _embedded(address)
        if any(real in network for network in _METADATA):
            return False
        if host.lower() in self.trusted_hosts:
            return True
        if real.is_multicast or real.is_unspecified:
            return False
        return _is_public(real) or (self.allows_loopback if real.is_loopback else self.allows_private)

    def check_host(self, host: str) -> None:
        """RemoteFailed if the host of a URL is an address that must not be connected to. Names are checked later."""
        try:
            address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            return
        if not self.allows(host, address):
            raise self.refused(host)

    def refused(self, host: str) -> RemoteFailed:
        """The error for an address that must not be connected to."""
        return RemoteFailed(f"{self.peer} points to {host[:100]}, which is not a public address: that is refused.")


def _is_public(address: Address) -> bool:
    return address.is_global and (isinstance(address, ipaddress.IPv4Address) or address in _IPV6_PUBLIC)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


async def reach_of(endpoint: str, proxies: Mapping[str, str] | None = None, peer: str = "The Hub") -> Reach:
    """Where a server at this endpoint, which the user has named, may send us to: only to addresses of the kind that its
    own are, and to public ones."""
    host = urlsplit(endpoint).hostname or ""
    found = getproxies() if proxies is None else proxies
    hosts = [host, *(urlsplit(proxy).hostname or "" for proxy in found.values())]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        infos = []
    own = [_embedded(ipaddress.ip_address(str(info[4][0]).partition("%")[0])) for info in infos]
    is_private = bool(own) and not any(map(_is_public, own))
    return Reach(
        trusted_hosts=frozenset(filter(None, map(str.lower, hosts))),
        allows_private=is_private and any(not address.is_loopback for address in own),
        allows_loopback=is_private and any(address.is_loopback for address in own),
        peer=peer,
    )


def proxy_for(url: str) -> str | None:
    """The proxy that the environment sets for a URL. The environment's other settings are not asked, as they may hold
    passwords for other hosts."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


class CheckedResolver(AbstractResolver):
    """Resolves names as another resolver does, and refuses those that lead where they must not."""

    def __init__(self, inner: AbstractResolver, reach: Reach) -> None:
        self._inner = inner
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. RemoteFailed if one of them must not be connected to."""
        found = await self._inner.resolve(host, port, family)
        for result in found:
            if not self._reach.allows(host, ipaddress.ip_address(result["host"].partition("%")[0])):
                raise self._reach.refused(host)
        return found

    async def close(self) -> None:
        """Let go of the other resolver."""
        await self._inner.close()
