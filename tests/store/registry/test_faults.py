"""What goes wrong while blobs come, in one stream and in several parts at once."""

from __future__ import annotations

import asyncio
import random

import pytest

from paddock.errors import RemoteFailed
from paddock.store.transfer.patience import MOST_FAILURES
from tests.fakes.waiting import until
from tests.store.registry.pulling import WEIGHTS, serve_model, stored_blobs, weights_of, write_large_model
from tests.store.registry.test_pull import partials

PART = 200_000


@pytest.fixture(params=["one stream", "parts"])
def large(request, client, registry, tmp_path):
    """The digest of weights of two megabytes, which come in one stream, or in parts; and the client for that."""
    data = serve_model(registry, write_large_model(tmp_path / "large", 500_000))
    parts = {"part_bytes": PART, "ahead_bytes": 3 * PART} if request.param == "parts" else {}
    client.settings = client.with_settings(**parts).settings
    return weights_of(data)


@pytest.fixture
def is_in_parts(client):
    return client.settings.part_bytes == PART


def ranges(registry, digest):
    return [seen.headers.get("Range") for seen in registry.asked("GET", digest)]


async def test_a_large_blob_comes_in_parts_beside_each_other(client, registry, large, is_in_parts):
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs
    asked = ranges(registry, large)
    assert len(asked) == (11 if is_in_parts else 1)
    assert registry.sent[large] == len(registry.blobs[large])
    if is_in_parts:
        assert asked[0] == f"bytes=0-{PART - 1}"
        assert asked[-1] == f"bytes={10 * PART}-"


async def test_parts_wait_for_memory_but_never_for_each_other(client, registry, large, is_in_parts):
    if is_in_parts:
        client.settings = client.with_settings(ahead_bytes=0).settings
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs


async def test_resets_at_random_bytes_cost_only_what_was_on_its_way(client, registry, large):
    places = random.Random(5)
    registry.faults.break_after = lambda digest, attempt: (
        places.randrange(1, 150_000) if digest == large and attempt < MOST_FAILURES else None
    )
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs
    assert registry.sent[large] < len(registry.blobs[large]) * 1.5


async def test_a_line_that_breaks_without_end_is_given_up(client, registry, large):
    registry.faults.break_after = lambda digest, attempt: 1000 if digest == large else None
    with pytest.raises(RemoteFailed, match="failed 6 times in a row, as the connection"):
        await client.pull()
    assert not client.library.list()


async def test_a_registry_that_ignores_ranges_gives_whole_blobs(client, registry, large):
    registry.faults.ignores_range = True
    registry.faults.break_after = lambda digest, attempt: 700_000 if digest == large and attempt == 1 else None
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs


async def test_another_part_than_was_asked_for_is_never_taken(client, registry, large):
    registry.faults.break_after = lambda digest, attempt: 150_000 if digest == large and attempt == 1 else None
    registry.faults.wrong_range = True
    with pytest.raises(RemoteFailed, match="another part of the file"):
        await client.pull()
    assert not client.library.list()


async def test_a_registry_that_refuses_ranges_begins_anew(client, registry, large):
    registry.faults.break_after = lambda digest, attempt: 150_000 if digest == large and attempt == 1 else None
    registry.faults.refuses_range = True
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs


async def test_wrong_bytes_are_fetched_once_more(client, registry, large):
    registry.faults.wrong_bytes = lambda digest, attempt: attempt == 1
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs


async def test_bytes_that_stay_wrong_end_the_pull_and_nothing_is_kept(client, registry, large):
    registry.faults.wrong_bytes = lambda digest, attempt: digest == large
    with pytest.raises(RemoteFailed, match=r"sends other bytes of model\.safetensors than it announces"):
        await client.pull()
    assert not client.library.list()
    assert partials(client.library) == []
    assert not client.library.blobs.has(large)


async def test_a_stalled_connection_is_given_up_and_gone_on_with(client, registry, large, is_in_parts):
    registry.faults.hold = asyncio.Event()
    stalled = asyncio.create_task(client.with_settings(stall_seconds=0.4).pull())
    await asyncio.wait_for(registry.holding.wait(), 20)
    registry.faults.hold = None
    await stalled
    assert stored_blobs(client.library) == registry.blobs


async def test_a_slow_registry_is_waited_for(client, registry, large):
    registry.faults.seconds_per_chunk = 0.005
    await client.with_settings(stall_seconds=2.0).pull()
    assert stored_blobs(client.library) == registry.blobs


async def test_a_pull_that_is_given_up_is_gone_on_with(client, registry, large):
    registry.faults.hold = asyncio.Event()
    registry.faults.held_from_bytes = PART
    task = asyncio.create_task(client.pull())
    await asyncio.wait_for(registry.holding.wait(), 20)
    await until(lambda: partials(client.library))
    task.cancel()
    await asyncio.wait({task})
    registry.faults.hold = None
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs
    assert client.library.files(client.library.get(client.name()))[WEIGHTS].is_file()


async def test_bodies_without_end_are_cut_off_at_the_size_that_was_announced(client, registry, large, monkeypatch):
    async def endless(request, data, digest):
        registry.attempts[digest] += 1
        return await registry._write_endlessly(request)

    monkeypatch.setattr(registry, "_send", endless)
    with pytest.raises(RemoteFailed, match="failed 6 times in a row, as more came"):
        await client.pull()
    assert not client.library.list()


async def test_a_place_that_a_redirect_led_to_is_asked_for_the_other_parts_too(client, registry, large, is_in_parts):
    registry.cdn_from_bytes = PART
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs
    asked = [seen.where for seen in registry.seen if large in seen.path]
    assert asked.count("cdn") == (11 if is_in_parts else 1)
    assert asked.count("registry") < 11


async def test_a_place_that_is_gone_is_asked_for_anew(client, registry, large, is_in_parts):
    registry.cdn_from_bytes = PART
    registry.faults.link_lives = 2
    await client.pull()
    assert stored_blobs(client.library) == registry.blobs
    assert (max(registry.links.values()) > 2) is is_in_parts
