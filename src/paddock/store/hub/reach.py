"""Which addresses a pull may connect to: a server on the internet must not send this machine to its own network.

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


@dataclass(frozen=True)
class Reach:
    """What may be connected to besides public addresses."""

    trusted_hosts: frozenset[str] = frozenset()
    """Lower-case names or addresses that the user has set: the Hub's own, and proxies'."""
    allows_private: bool = False
    """Whether private addresses may be named by others as well: the Hub itself is at one."""

    def allows(self, host: str, address: Address) -> bool:
        """Whether `host`, whose address this is, may be connected to."""
        if host.lower() in self.trusted_hosts:
            return True
        real = _embedded(address)
        if real.is_multicast or real.is_unspecified or any(real in network for network in _METADATA):
            return False
        return real.is_global or self.allows_private

    def check_host(self, host: str) -> None:
        """RemoteFailed if the host of a URL is an address that must not be connected to. Names are checked later."""
        try:
            address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            return
        if not self.allows(host, address):
            raise refused(host)


def refused(host: str) -> RemoteFailed:
    """The error for an address that must not be connected to."""
    return RemoteFailed(f"The Hub points to {host[:100]}, which is not a public address: that is refused.")


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


async def reach_of(endpoint: str, proxies: Mapping[str, str] | None = None) -> Reach:
    """What a Hub at this endpoint may send us to: as private addresses as its own is."""
    host = urlsplit(endpoint).hostname or ""
    found = getproxies() if proxies is None else proxies
    hosts = [host, *(urlsplit(proxy).hostname or "" for proxy in found.values())]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        infos = []
    own = [_embedded(ipaddress.ip_address(str(info[4][0]).partition("%")[0])) for info in infos]
    is_private = bool(own) and all(not address.is_global for address in own)
    return Reach(frozenset(filter(None, map(str.lower, hosts))), is_private)


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
                raise refused(host)
        return found

    async def close(self) -> None:
        """Let go of the other resolver."""
        await self._inner.close()
