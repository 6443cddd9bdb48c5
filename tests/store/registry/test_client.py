"""Requests that a registry, or whoever poses as one, must not be able to make of us; and being let in."""

from __future__ import annotations

import asyncio
import re
import resource
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from paddock.errors import NoAccess, RemoteFailed
from paddock.store.transfer.reach import Reach
from tests.store.registry.pulling import stored_blobs, weights_of

PASSWORD = "p:ss wörd"


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


class AsIfPublic:
    """Pulls as if the fake registry were one on the internet: only the very name it has leads to this machine."""

    reach = Reach(trusted_hosts=frozenset({"localhost"}), peer="The registry localhost")


@pytest.fixture
def public(client, registry):
    registry.url = registry.url.replace("127.0.0.1", "localhost")
    return client


TARGETS = [
    "http://127.0.0.1:{port}/x", "http://127.1:{port}/x", "http://0x7f.1:{port}/x", "http://2130706433:{port}/x",
    "http://[::ffff:127.0.0.1]:{port}/x", "http://0.0.0.0:{port}/x", "http://127.0.0.1.:{port}/x",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
async def test_a_redirect_into_this_machine_connects_to_nothing(public, registry, served, target):
    async with canary() as (met, port):
        registry.faults.redirect = lambda request: target.format(port=port)
        with pytest.raises(RemoteFailed):
            await public.pull(reach=AsIfPublic.reach)
        assert not met


@pytest.mark.parametrize("status_hops", [1, 2])
async def test_a_second_hop_into_this_machine_connects_to_nothing_either(public, registry, served, status_hops):
    async with canary() as (met, port):

        def redirect(request):
            hops = int(request.rel_url.query.get("hop", 0))
            return f"{request.path}?hop={hops + 1}" if hops < status_hops else f"http://127.0.0.1:{port}/x"

        registry.faults.redirect = redirect
        with pytest.raises(RemoteFailed, match="not a public address"):
            await public.pull(reach=AsIfPublic.reach)
        assert not met


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/x",
        "http://224.0.0.1/x",
        "http://10.0.0.1/x",
        "http://[fd00::1]/",
    ],
)
async def test_a_registry_on_this_machine_leads_to_no_other_private_address(client, registry, served, target):
    registry.faults.redirect = lambda request: target
    with pytest.raises(RemoteFailed, match="not a public address"):
        await client.pull()


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "gopher://127.0.0.1/x", "ftp://127.0.0.1/x", "http://me:pw@127.0.0.1/x", "http://[/x"],
)
async def test_a_redirect_to_what_is_no_plain_web_address_is_refused(client, registry, served, target):
    registry.faults.redirect = lambda request: target
    with pytest.raises(RemoteFailed, match=r"points to an address that"):
        await client.pull()


async def test_redirects_without_end_are_given_up(client, registry, served):
    registry.faults.redirect = lambda request: request.path
    with pytest.raises(RemoteFailed, match="more than 5 times"):
        await client.pull()


async def test_blobs_come_from_another_origin_which_sees_no_credentials(client, registry, served):
    registry.rules.is_closed = True
    registry.rules.users = {"me": PASSWORD}
    registry.rules.gives_anonymous = False
    registry.cdn_from_bytes = 1
    await client.with_credentials("me", PASSWORD).pull()
    assert stored_blobs(client.library) == registry.blobs
    at_cdn = [seen for seen in registry.seen if seen.where == "cdn"]
    assert at_cdn
    for seen in at_cdn:
        assert seen.headers.keys() <= {"Host", "User-Agent", "Accept", "Accept-Encoding", "Range"}


async def test_a_token_is_asked_for_as_nobody_in_particular_first(client, registry, served):
    registry.rules.is_closed = True
    await client.pull()
    [asked] = [seen for seen in registry.seen if seen.where == "token"]
    assert "Authorization" not in asked.headers
    assert "scope=repository%3Ame%2Fmodel%3Apull" in asked.path
    assert "service=fake" in asked.path


async def test_a_token_that_wears_out_is_asked_for_again(client, registry, served):
    registry.rules.is_closed = True
    registry.rules.token_lives = 5
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs


async def test_a_user_is_shown_where_tokens_are_given_and_nowhere_else(client, registry, served):
    registry.rules.is_closed = True
    registry.rules.users = {"me": PASSWORD}
    registry.rules.gives_anonymous = False
    await client.with_credentials("me", PASSWORD).pull()
    shown = {seen.where for seen in registry.seen if seen.headers.get("Authorization", "").startswith("Basic")}
    assert shown == {"token"}


async def test_a_registry_that_wants_a_name_and_a_password_itself_gets_them(client, registry, served):
    registry.rules.is_closed = registry.rules.wants_basic = True
    registry.rules.users = {"me": PASSWORD}
    await client.with_credentials("me", PASSWORD).pull()
    with pytest.raises(NoAccess, match="does not open me/model:latest to whoever asks"):
        await client.pull()


async def test_a_token_of_the_users_own_is_shown_as_it_is(client, registry, served):
    registry.rules.is_closed = True
    registry.tokens["mine"] = ("repository:me/model:pull", 100)
    await client.with_credentials(token="mine").pull()
    assert not [seen for seen in registry.seen if seen.where == "token"]


async def test_who_is_not_let_in_is_told_in_one_sentence_without_the_registrys_words(client, registry, served):
    registry.rules.is_closed = True
    registry.rules.gives_anonymous = False
    with pytest.raises(NoAccess) as error:
        await client.pull()
    assert error.value.message == (
        f"The registry {registry.host} does not open me/model:latest to whoever asks: give a username and a password, "
        "or a token, in registries.toml; the key of an Ollama account cannot be used here."
    )
    with pytest.raises(NoAccess, match="to the username, password or token that it was shown"):
        await client.with_credentials("me", "wrong").pull()


REALMS = [
    "https://victim.example/token", "http://127.0.0.1:{port}/token", "//127.0.0.1:{port}/token",
    "http://{host}@127.0.0.1:{port}/", "http://me:pw@{host}/token", "https://{host}/token", "http://127.0.0.1:1/",
    "http://xn--lcalhost-m4a:{port}/", "http://[::1]:{port}/", "http://169.254.169.254/", "http://0x7f.1:{port}/",
    "http://localhost:{port}/", "", "token", "file:///etc/passwd", "http://[", "http://127.0.0.1:notaport/",
]  # fmt: skip


@pytest.mark.parametrize("realm", REALMS)
async def test_a_realm_elsewhere_is_asked_for_nothing(client, registry, served, realm):
    async with canary() as (met, port):
        registry.rules.is_closed = True
        registry.rules.realm = realm.format(port=port, host=registry.host) or "x"
        with pytest.raises(RemoteFailed, match="that is refused unless you set it as its realm") as error:
            await client.with_credentials("me", PASSWORD).pull()
        assert not met
    assert "secret words" not in error.value.message
    assert not [seen for seen in registry.seen if "Authorization" in seen.headers]


async def test_a_realm_that_the_user_has_set_is_asked(client, registry, served):
    async with canary() as (_, port):
        registry.rules.is_closed = True
        registry.rules.realm = f"{registry.url.replace('127.0.0.1', 'localhost')}/token"
        client.realm = f"http://localhost:{port}"
        with pytest.raises(RemoteFailed):
            await client.pull()
        client.realm = registry.url.replace("127.0.0.1", "localhost")
        await client.pull()


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b'{"token": 5}', b'{"token": "a b"}', b'{"token": "a\\nb"}', b" " * 70_000]
)
async def test_what_is_no_token_is_refused(client, registry, served, monkeypatch, answer):
    registry.rules.is_closed = True
    monkeypatch.setattr(registry, "_token", lambda request: web.Response(body=answer))
    with pytest.raises(RemoteFailed):
        await client.pull()


async def test_bodies_without_end_are_cut_off(client, registry, served):
    registry.faults.endless = True
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RemoteFailed, match="larger than any that it should give"):
        await client.pull()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


async def test_a_compressed_answer_is_refused(client, registry, served, monkeypatch):
    async def compressed(request, repository, tag):
        return web.Response(body=b"\x1f\x8b" + b"\0" * 100, headers={"Content-Encoding": "gzip"})

    monkeypatch.setattr(registry, "_manifest", compressed)
    with pytest.raises(RemoteFailed, match="compressed"):
        await client.pull()


async def test_a_manifest_that_is_not_the_one_announced_is_asked_for_again_and_given_up(client, registry, served):
    registry.faults.wrong_content_digest = True
    with pytest.raises(RemoteFailed, match="not the one that was announced"):
        await client.pull()
    assert len(registry.asked("GET", "/manifests/")) == 3


async def test_an_upload_is_sent_where_the_registry_says_but_without_credentials_to_another_origin(
    client, registry, served, monkeypatch
):
    model = await client.pull()
    registry.rules.users = {"me": PASSWORD}
    registry.owned.clear()
    real = registry._stands
    monkeypatch.setattr(
        registry,
        "_stands",
        lambda *given: {**real(*given), "Location": f"{registry.cdn}/upload", "Range": "0-0"},
    )
    with pytest.raises(Exception, match=re.escape("does not take me/model:latest")):
        await client.with_credentials("me", PASSWORD).push()
    at_cdn = [seen for seen in registry.seen if seen.where == "cdn"]
    assert at_cdn
    assert not [seen for seen in at_cdn if "Authorization" in seen.headers]
    assert client.library.get(client.name()) == model


async def test_a_registry_that_is_not_there_is_explained(client, registry, served):
    registry.url = "http://127.0.0.1:9"
    with pytest.raises(
        RemoteFailed, match=r"failed 3 times in a row, as the registry 127\.0\.0\.1:9 cannot be reached"
    ):
        await client.pull()


async def test_a_registry_that_cannot_just_now_is_asked_again(client, registry, served):
    registry.faults.statuses = [503, 429]
    assert (await client.pull()).digest
    assert weights_of(served) in stored_blobs(client.library)
