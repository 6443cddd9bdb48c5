from __future__ import annotations

import asyncio
import time

import pytest

from paddock.store.blobs import Blobs
from paddock.store.transfer.partial import KEPT_SECONDS, Partials, Writing
from paddock.store.transfer.remote_file import RemoteFile
from tests.fakes.fake_hub import git_id, sha256

DATA = bytes(range(256)) * 5_000
LARGE = RemoteFile("w.safetensors", len(DATA), sha256=sha256(DATA))
SMALL = RemoteFile("a.json", len(DATA), git_id=git_id(DATA))


@pytest.fixture
def partials(tmp_path):
    return Partials(tmp_path)


@pytest.mark.parametrize("file", [LARGE, SMALL])
async def test_bytes_become_a_blob_only_when_they_are_right(partials, tmp_path, file):
    blobs = Blobs(tmp_path)
    async with partials.claim(file) as partial:
        partial.append([DATA[:1000]])
        assert not partial.is_right
        with pytest.raises(AssertionError):
            partial.commit(blobs)
        partial.append([DATA[1000:5000], DATA[5000:]])
        assert partial.is_right
        blob = partial.commit(blobs)
    assert blobs.path(blob.digest).read_bytes() == DATA
    assert blob.digest == f"sha256:{sha256(DATA)}"
    assert partials.size(file) == 0


async def test_what_came_is_found_again_and_hashed(partials):
    async with partials.claim(LARGE) as partial:
        partial.append([DATA[:700_000]])
    assert partials.size(LARGE) == 700_000
    async with partials.claim(LARGE) as partial:
        await partial.load()
        assert partial.size_bytes == 700_000
        partial.append([DATA[700_000:]])
        assert partial.is_right


async def test_what_is_behind_the_files_end_is_cut_off(partials, tmp_path):
    async with partials.claim(LARGE) as partial:
        partial.append([DATA + b"more"])
    async with partials.claim(LARGE) as partial:
        await partial.load()
        assert partial.is_right


async def test_a_file_is_claimed_by_one_at_a_time(partials):
    order = []

    async def claim(name):
        async with partials.claim(LARGE):
            order.append(name)
            await asyncio.sleep(0)
            order.append(name)

    await asyncio.gather(*(claim(name) for name in "abc"))
    assert [order[0]] * 2 + [order[2]] * 2 + [order[4]] * 2 == order


async def test_nothing_is_left_of_a_file_of_which_nothing_came(partials, tmp_path):
    async with partials.claim(LARGE):
        pass
    assert list((tmp_path / "partial").iterdir()) == []


async def test_who_is_done_leaves_alone_what_another_has_begun_under_the_same_name(partials, tmp_path):
    blobs = Blobs(tmp_path)
    async with partials.claim(SMALL) as first:
        await first.load()
        first.append([DATA])
        first.commit(blobs)
        second = partials.claim(SMALL)
        other = await second.__aenter__()
    await other.load()
    other.append([DATA])
    assert other.commit(blobs)
    await second.__aexit__(None, None, None)


async def test_all_that_came_is_written_when_the_writing_is_cancelled(partials):
    came = asyncio.Event()

    async def write():
        async with partials.claim(LARGE) as partial, Writing.to(partial) as writing:
            for start in range(0, 500_000, 1000):
                await writing.put(DATA[start : start + 1000])
            came.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await came.wait()
    task.cancel()
    await asyncio.wait({task})
    assert partials.size(LARGE) == 500_000
    async with partials.claim(LARGE) as partial:
        await partial.load()
        partial.append([DATA[500_000:]])
        assert partial.is_right


async def test_what_nobody_goes_on_with_is_removed_in_the_end(partials, tmp_path, monkeypatch):
    async with partials.claim(LARGE) as partial:
        partial.append([b"abc"])
    (path,) = (tmp_path / "partial").iterdir()
    assert list(partials.abandoned()) == []
    later = time.time() + KEPT_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert list(partials.abandoned()) == [path]
    async with partials.claim(LARGE):
        partials.remove(path)
        assert path.exists()
    partials.remove(path)
    assert list((tmp_path / "partial").iterdir()) == []
