from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from paddock.errors import RemoteFailed, StoreError
from paddock.store.transfer.partial import Partial
from paddock.store.transfer.patience import MOST_FAILURES, Interrupted, Patience
from tests.fakes.fake_hub import sha256
from tests.store.hub.pulling import REPOSITORY, WEIGHTS, left_over, model_bytes, stored_bytes
from tests.store.making import blob_count

FULL_DISK = Path("/dev/full")


@pytest.fixture
def files(hub, puller, tmp_path):
    """A model whose weights come in several chunks."""
    made = model_bytes(tmp_path, extra_values=800_000)
    hub.repository(REPOSITORY, made)
    return made


def content(files):
    return sha256(files[WEIGHTS])


async def test_resets_at_random_bytes_cost_only_what_was_on_its_way(hub, puller, files):
    places = random.Random(5)
    hub.faults.break_after = lambda name, attempt: places.randrange(1, 500_000) if attempt < MOST_FAILURES else None
    model = await puller()
    assert stored_bytes(puller.library, model) == files
    assert hub.attempts[content(files)] == MOST_FAILURES
    starts = [seen.headers.get("Range") for seen in hub.seen if seen.where == "cdn"]
    assert len(set(starts)) > 1


async def test_a_large_file_comes_in_parts_from_where_the_hub_points_to(hub, puller, files):
    size, part = len(files[WEIGHTS]), 1_000_000
    hub.faults.break_after = lambda name, attempt: 300_000 if name == content(files) and attempt in (2, 5) else None
    model = await puller.with_settings(part_bytes=part, token=hub.token)()
    assert stored_bytes(puller.library, model) == files
    asked = [seen for seen in hub.seen if seen.where == "cdn" and content(files) in seen.path]
    assert len(asked) == size // part + 1 + 2
    assert asked[0].headers["Range"] == f"bytes=0-{part - 1}"
    assert not [seen for seen in asked if "Authorization" in seen.headers]


async def test_a_line_that_breaks_without_end_is_given_up_and_what_came_is_kept(hub, puller, files):
    hub.faults.break_after = lambda name, attempt: 100_000 if name == content(files) else None
    with pytest.raises(RemoteFailed, match="failed 6 times in a row, as the connection"):
        await puller()
    assert hub.attempts[content(files)] == MOST_FAILURES
    assert left_over(puller.library) == [f"sha256-{content(files)}-{len(files[WEIGHTS])}"]


async def test_a_server_that_ignores_the_range_gives_the_file_anew(hub, puller, files):
    hub.faults.break_after = lambda name, attempt: 700_000 if name == content(files) and attempt == 1 else None
    hub.faults.ignores_range = True
    assert stored_bytes(puller.library, await puller()) == files


async def test_another_part_than_was_asked_for_is_never_taken(hub, puller, files):
    hub.faults.break_after = lambda name, attempt: 700_000 if name == content(files) and attempt == 1 else None
    hub.faults.wrong_range = True
    with pytest.raises(RemoteFailed, match="another part of the file"):
        await puller()
    assert not puller.library.list()


async def test_wrong_bytes_are_fetched_once_more(hub, puller, files):
    hub.faults.wrong_bytes = lambda name, attempt: attempt == 1
    assert stored_bytes(puller.library, await puller()) == files


async def test_bytes_that_stay_wrong_end_the_pull_and_nothing_is_kept(hub, puller, files):
    hub.faults.wrong_bytes = lambda name, attempt: name == content(files)
    with pytest.raises(RemoteFailed, match=r"other bytes of model\.safetensors than it announces"):
        await puller()
    assert not puller.library.list()
    assert left_over(puller.library) == []
    assert not puller.library.blobs.has(f"sha256:{content(files)}")


async def test_a_partial_that_was_damaged_is_fetched_again(hub, puller, files):
    folder = puller.library.root / "partial"
    folder.mkdir()
    (folder / f"sha256-{content(files)}-{len(files[WEIGHTS])}").write_bytes(b"\0" * 1_000_000)
    assert stored_bytes(puller.library, await puller()) == files


async def test_a_partial_that_is_whole_already_is_not_asked_for(hub, puller, files):
    folder = puller.library.root / "partial"
    folder.mkdir()
    (folder / f"sha256-{content(files)}-{len(files[WEIGHTS])}").write_bytes(files[WEIGHTS])
    await puller()
    assert not hub.sent[content(files)]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_hub_that_cannot_just_now_is_asked_again(hub, puller, files, status):
    hub.faults.statuses = [status, status]
    assert stored_bytes(puller.library, await puller()) == files


async def test_a_hub_that_never_can_is_given_up(hub, puller):
    hub.faults.statuses = [503] * 50
    with pytest.raises(RemoteFailed, match="as the Hub answered with status 503"):
        await puller()
    assert len(hub.seen) == MOST_FAILURES


async def test_a_hub_says_how_long_it_wants_to_be_left_alone(monkeypatch):
    paused = []

    async def sleep(seconds):
        paused.append(seconds)

    monkeypatch.setattr("paddock.store.transfer.patience.asyncio.sleep", sleep)
    await Patience(0.001).after(Interrupted("busy", pause_seconds=7.0))
    assert paused == [7.0]


async def test_a_hub_that_is_not_there_is_explained(puller):
    with pytest.raises(RemoteFailed, match="as the Hub cannot be reached"):
        await puller.with_settings(endpoint="http://127.0.0.1:9")()


async def test_a_stalled_connection_is_given_up_and_gone_on_with(hub, puller, files):
    hub.faults.hold = asyncio.Event()
    stalled = asyncio.create_task(puller.with_settings(stall_seconds=0.3)())
    await asyncio.wait_for(hub.holding.wait(), 20)
    hub.faults.hold = None
    assert stored_bytes(puller.library, await stalled) == files
    assert hub.attempts[content(files)] == 2


@pytest.mark.skipif(not FULL_DISK.exists(), reason="only Linux has a file that is always full")
async def test_a_full_disk_is_told_in_bytes_and_what_came_is_kept(hub, puller, files, monkeypatch):
    real = Partial.append

    def append(self, chunks):
        if self.size_bytes + sum(map(len, chunks)) < 1_500_000:
            real(self, chunks)
            return
        with FULL_DISK.open("r+b", buffering=0) as self._stream:
            real(self, chunks)

    monkeypatch.setattr(Partial, "append", append)
    with pytest.raises(StoreError, match=r"The disk is full: \d+ bytes are short for model\.safetensors"):
        await puller()
    assert left_over(puller.library) == [f"sha256-{content(files)}-{len(files[WEIGHTS])}"]


async def test_two_pulls_under_two_names_fetch_each_large_file_once(hub, puller, files):
    await asyncio.gather(puller(name="one"), puller.with_settings()(name="two"))
    assert hub.sent[content(files)] == len(files[WEIGHTS])
    assert len(puller.library.list()) == 2
    assert blob_count(puller.library.root) == len(files) + 1
    assert puller.library.blobs.path(f"sha256:{content(files)}").stat().st_mode & 0o777 == 0o444
