"""Requests that a Hub, or whoever poses as one, must not be able to make of us."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from paddock.errors import RemoteFailed
from paddock.store.transfer.reach import Reach
from tests.store.hub.pulling import stored_bytes


@asynccontextmanager
async def canary():
    """A listener that counts who connects, and its port."""
    met: list[object] = []

    async def meet(reader, writer):
        met.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield met, server.sockets[0].getsockname()[1]


def as_if_public(puller, hub):
    """A puller to which the fake Hub is one on the internet: reached by its name, which the user trusts."""
    return puller.with_settings(endpoint=hub.endpoint.replace("127.0.0.1", "localhost"), token=hub.token)


PUBLIC = Reach(trusted_hosts=frozenset({"localhost"}), allows_private=False)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/x", "http://127.1:{port}/x", "http://0x7f.1:{port}/x", "http://2130706433:{port}/x",
        "http://[::ffff:127.0.0.1]:{port}/x", "http://0.0.0.0:{port}/x", "http://127.0.0.1.:{port}/x",
    ],
)  # fmt: skip
async def test_a_redirect_into_this_machine_connects_to_nothing(hub, puller, target):
    async with canary() as (met, port):
        hub.faults.redirect = lambda request: target.format(port=port)
        with pytest.raises(RemoteFailed) as error:
            await as_if_public(puller, hub)(reach=PUBLIC)
        assert not met
    assert "Hub" in error.value.message


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://[fe80::1]/x", "http://224.0.0.1/x"])
async def test_even_a_hub_on_the_own_network_leads_to_no_metadata_of_a_cloud(hub, puller, target):
    hub.faults.redirect = lambda request: target
    with pytest.raises(RemoteFailed, match="not a public address"):
        await puller()


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "gopher://127.0.0.1/x", "ftp://127.0.0.1/x", "http://me:pw@127.0.0.1/x"]
)
async def test_a_redirect_to_what_is_no_plain_web_address_is_refused(hub, puller, target):
    hub.faults.redirect = lambda request: target
    with pytest.raises(RemoteFailed, match="The Hub points to an address"):
        await puller()


async def test_redirects_are_followed_within_the_hub_and_then_to_a_cdn(hub, puller):
    def once_more(request):
        return f"{request.rel_url.path}?again=1" if "again" not in request.rel_url.query else None

    hub.faults.redirect = once_more
    model = await puller.with_settings(token=hub.token)()
    assert stored_bytes(puller.library, model)
    again = [seen for seen in hub.seen if "again=1" in seen.path]
    assert again
    assert all("Authorization" in seen.headers for seen in again)
    assert not [seen for seen in hub.seen if seen.where == "cdn" and "Authorization" in seen.headers]


async def test_redirects_without_end_are_given_up(hub, puller):
    hub.faults.redirect = lambda request: request.rel_url.path
    with pytest.raises(RemoteFailed, match="more than 5 times"):
        await puller()


async def test_another_port_of_the_hub_is_another_origin(hub, puller):
    """No credential, cookie or key goes there."""
    await puller.with_settings(token=hub.token)()
    for seen in hub.seen:
        if seen.where == "cdn":
            assert seen.headers.keys() <= {"Host", "User-Agent", "Accept", "Accept-Encoding", "Range"}


@pytest.mark.parametrize("endpoint", ["file:///etc", "huggingface.co", "http://", ""])
async def test_an_endpoint_that_is_no_web_address_is_refused(puller, endpoint):
    with pytest.raises(RemoteFailed, match="HF_ENDPOINT must be a web address"):
        await puller.with_settings(endpoint=endpoint)()
