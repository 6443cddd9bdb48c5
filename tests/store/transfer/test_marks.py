"""Of what has come, only what reached the disk is trusted after a power cut."""

from __future__ import annotations

import hashlib
import time

import psutil
import pytest

from paddock.errors import StoreFull
from paddock.store.transfer import marks
from paddock.store.transfer.marks import Marks, path_of
from paddock.store.transfer.partial import Partials
from paddock.store.transfer.remote_file import RemoteFile

CHUNK_BYTES = 1000
DATA = bytes(range(256)) * 20
FILE = RemoteFile("model.safetensors", len(DATA), hashlib.sha256(DATA).hexdigest())


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(marks, "CHUNK_BYTES", CHUNK_BYTES)


@pytest.fixture
def partials(tmp_path):
    return Partials(tmp_path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "partial" / f"sha256-{FILE.sha256}-{len(DATA)}"


@pytest.fixture
async def come(partials):
    """Two chunks and a half."""
    async with partials.claim(FILE) as partial:
        await partial.load()
        partial.append([DATA[:300], DATA[300:2500]])


async def loaded_bytes(partials):
    async with partials.claim(FILE) as partial:
        await partial.load()
        return partial.size_bytes


def reboot(monkeypatch):
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() + 10)


async def test_after_a_kill_everything_that_was_written_is_gone_on_with(partials, come):
    assert await loaded_bytes(partials) == 2500


async def test_after_a_power_cut_only_whole_chunks_that_were_synced_are(partials, come, path, monkeypatch):
    reboot(monkeypatch)
    assert await loaded_bytes(partials) == 2000
    assert path.stat().st_size == 2000


@pytest.mark.parametrize(("place", "kept"), [(0, 0), (999, 0), (1000, 1000), (1999, 1000), (2400, 2500)])
async def test_a_chunk_that_has_changed_on_the_disk_is_fetched_again(partials, come, path, place, kept):
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" if DATA[place] != 0xFF else b"\0")
    assert await loaded_bytes(partials) == kept
    async with partials.claim(FILE) as partial:
        await partial.load()
        partial.append([DATA[partial.size_bytes :]])
        assert partial.is_right is (kept != 2500)


async def test_a_file_that_was_cut_short_forgets_its_marks(partials, come, path):
    with path.open("r+b") as file:
        file.truncate(1200)
    assert await loaded_bytes(partials) == 1200
    assert path_of(path).stat().st_size == 32


async def test_marks_go_with_the_partial(partials, come, path, tmp_path):
    from paddock.store.blobs import Blobs

    async with partials.claim(FILE) as partial:
        await partial.load()
        partial.append([DATA[2500:]])
        partial.commit(Blobs(tmp_path))
    assert list(path.parent.iterdir()) == []


async def test_starting_over_forgets_the_marks(partials, come, path):
    async with partials.claim(FILE) as partial:
        await partial.load()
        partial.restart()
        partial.append([DATA])
        assert partial.is_right
    assert path_of(path).stat().st_size == 32 * (len(DATA) // CHUNK_BYTES)


async def test_room_is_set_aside_before_anything_comes(partials, path):
    async with partials.claim(FILE) as partial:
        await partial.load()
        assert path.stat().st_size == 0
        assert partials.room(FILE) in (0, len(DATA))  # not every file system can
    huge = RemoteFile("huge.safetensors", 2**62, "0" * 64)
    async with partials.claim(huge) as partial:
        with pytest.raises(
            StoreFull,
            match=r"The disk is full: \d{15,} bytes are short for huge\.safetensors; .* what has come is kept",
        ):
            await partial.load()


def test_marks_that_are_cut_in_half_count_for_nothing(tmp_path):
    partial = tmp_path / "x"
    path_of(partial).write_bytes(b"a" * 32 + b"b" * 7)
    found = Marks(partial)
    found.read(5000)
    assert found.sure_bytes == CHUNK_BYTES
    assert path_of(partial).stat().st_size == 32
