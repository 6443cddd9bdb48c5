from __future__ import annotations

import ipaddress
import socket

import pytest

from paddock.errors import RemoteFailed
from paddock.store.transfer.reach import CheckedResolver, Reach, proxy_for, reach_of

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "::", "240.0.0.1",
]  # fmt: skip
NEVER = ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "224.0.0.1", "ff02::1", "0.0.0.0", "::"]
PUBLIC = ["18.164.174.23", "2606:4700::1111", "64:ff9b::12a4:ae17"]


@pytest.mark.parametrize("text", PRIVATE + NEVER)
def test_only_public_addresses_are_connected_to(text):
    assert not Reach().allows("some.host", ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are(text):
    assert Reach().allows("some.host", ipaddress.ip_address(text))


@pytest.mark.parametrize("text", NEVER)
def test_a_private_hub_does_not_make_these_right(text):
    assert not Reach(allows_private=True).allows("some.host", ipaddress.ip_address(text))


def test_what_the_user_has_set_is_trusted_by_name():
    reach = Reach(trusted_hosts=frozenset({"hub.lan"}))
    assert reach.allows("Hub.LAN", ipaddress.ip_address("192.168.1.5"))
    assert not reach.allows("other.lan", ipaddress.ip_address("192.168.1.5"))


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("http://127.0.0.1:1", (False, True)), ("http://[::1]:1", (False, True)), ("http://10.0.0.3", (True, False)),
        ("https://18.164.174.23", (False, False)), ("http://no.such.host.invalid", (False, False)),
    ],
)  # fmt: skip
async def test_a_server_may_point_to_addresses_of_the_kind_that_its_own_is(endpoint, allowed):
    reach = await reach_of(endpoint, {})
    assert (reach.allows_private, reach.allows_loopback) == allowed


def test_a_server_of_the_local_network_does_not_lead_into_this_machine():
    reach = Reach(allows_private=True)
    assert reach.allows("some.host", ipaddress.ip_address("192.168.1.1"))
    assert not reach.allows("some.host", ipaddress.ip_address("127.0.0.1"))
    assert not Reach(allows_loopback=True).allows("some.host", ipaddress.ip_address("192.168.1.1"))


@pytest.mark.parametrize("text", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1"])
def test_not_even_whom_the_user_names_is_a_clouds_metadata(text):
    assert not Reach(trusted_hosts=frozenset({"some.host"})).allows("some.host", ipaddress.ip_address(text))


async def test_proxies_are_trusted():
    reach = await reach_of("https://18.164.174.23", {"https": "http://proxy.lan:3128"})
    assert reach.trusted_hosts == {"18.164.174.23", "proxy.lan"}


class Flipping:
    """A resolver whose name is public once, then private."""

    def __init__(self):
        self.addresses = ["18.164.174.23", "127.0.0.1"]

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            {"hostname": host, "host": self.addresses.pop(0), "port": port, "family": family, "proto": 0, "flags": 0}
        ]

    async def close(self):
        pass


async def test_a_name_that_flips_is_checked_as_what_is_connected_to():
    resolver = CheckedResolver(Flipping(), Reach())
    found = await resolver.resolve("evil.example", 443)
    assert [entry["host"] for entry in found] == ["18.164.174.23"]
    with pytest.raises(RemoteFailed, match=r"evil\.example, which is not a public address"):
        await resolver.resolve("evil.example", 443)


def test_a_proxy_is_taken_from_the_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_for("https://huggingface.co/x") is None
    monkeypatch.setenv("https_proxy", "http://proxy.lan:3128")
    monkeypatch.setenv("no_proxy", "hub.lan")
    assert proxy_for("https://huggingface.co/x") == "http://proxy.lan:3128"
    assert proxy_for("https://hub.lan/x") is None
