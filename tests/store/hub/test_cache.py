"""What other programs have downloaded: the cache is made by Hugging Face's own client, from the fake Hub."""

from __future__ import annotations

import asyncio
import os
import shutil

import pytest
from huggingface_hub import HfApi, snapshot_download

from paddock.errors import DamagedModel, RemoteFailed
from paddock.store.transfer import adopt as adopting
from tests.fakes.fake_hub import sha256
from tests.store.hub.pulling import REPOSITORY, WEIGHTS, left_over, model_bytes, stored_bytes
from tests.store.making import named

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
"""Hugging Face's client keeps its connections open."""


@pytest.fixture
async def cached(hub, puller, tmp_path):
    """A puller on a machine where Hugging Face's client has downloaded the repository."""
    cache = tmp_path / "hf" / "hub"
    await asyncio.to_thread(
        snapshot_download, REPOSITORY, endpoint=hub.endpoint, cache_dir=cache, token=False, max_workers=1
    )
    hub.sent.clear()
    return puller.with_settings(cache=cache)


async def test_the_fake_hub_speaks_what_the_real_client_does(hub, puller):
    info = await asyncio.to_thread(
        HfApi(endpoint=hub.endpoint, token=False).model_info, REPOSITORY, revision="main", files_metadata=True
    )
    assert info.sha == hub.repositories[REPOSITORY].revisions["main"]
    large = {file.rfilename: file.lfs.sha256 for file in info.siblings if file.lfs}
    assert large.keys() == {WEIGHTS}


async def test_what_the_cache_has_is_not_fetched(hub, cached, tmp_path):
    model = await cached()
    assert not hub.sent
    assert stored_bytes(cached.library, model) == model_bytes(tmp_path)
    assert left_over(cached.library) == []


async def test_a_file_of_another_commit_is_found_by_its_content(hub, cached, tmp_path):
    files = {**model_bytes(tmp_path), "generation_config.json": b'{"eos_token_id": 1}'}
    hub.repositories[REPOSITORY].commit(files)
    model = await cached()
    assert stored_bytes(cached.library, model) == files
    assert sum(hub.sent.values()) == len(files["generation_config.json"])


async def test_without_the_hub_the_cache_is_enough(hub, cached, tmp_path):
    commit = hub.repositories[REPOSITORY].revisions["main"]
    for changes in ({"is_offline": True}, {"endpoint": "http://127.0.0.1:9"}):
        model = await cached.with_settings(**changes)()
        assert stored_bytes(cached.library, model) == model_bytes(tmp_path)
        assert model.origin.commit == commit
        cached.library.delete(named("mine"))


async def test_offline_without_a_cache_is_explained(puller):
    with pytest.raises(RemoteFailed, match="is not on this machine, and HF_HUB_OFFLINE"):
        await puller.with_settings(is_offline=True)()


async def test_a_cache_that_holds_other_bytes_is_not_trusted(hub, cached, tmp_path):
    weights = model_bytes(tmp_path)[WEIGHTS]
    blob = next(path for path in cached.settings.cache.rglob("blobs/*") if path.name == sha256(weights))
    blob.write_bytes(weights[:-1] + b"\x01")
    model = await cached()
    assert stored_bytes(cached.library, model)[WEIGHTS] == weights
    assert hub.sent[sha256(weights)] == len(weights)


async def test_a_folder_of_lm_studio_is_used(hub, puller, tmp_path):
    files = model_bytes(tmp_path)
    folder = tmp_path / "lmstudio" / REPOSITORY
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    model = await puller.with_settings(model_folders=(tmp_path / "lmstudio",))()
    assert not hub.sent
    assert stored_bytes(puller.library, model) == files


@pytest.fixture
def linked(monkeypatch):
    """A file system without clones, so that files are linked."""
    monkeypatch.setattr(adopting, "_clone", lambda source, place: False)


async def test_a_file_that_is_linked_needs_no_second_place_on_disk(linked, cached, tmp_path):
    model = await cached()
    [blob] = [path for path in cached.settings.cache.rglob("blobs/*") if path.stat().st_size >= 400]
    assert cached.library.files(model)[WEIGHTS].samefile(blob)


async def test_a_link_whose_other_owner_writes_to_it_is_found_out_and_mended_by_a_pull(linked, hub, cached, tmp_path):
    model = await cached()
    weights = model_bytes(tmp_path)[WEIGHTS]
    path = cached.library.files(model)[WEIGHTS]
    path.chmod(0o644)
    path.write_bytes(b"\x01" * len(weights))
    with pytest.raises(DamagedModel, match="cut short or overwritten"):
        cached.library.files(model)
    assert stored_bytes(cached.library, await cached()) == model_bytes(tmp_path)
    assert hub.sent[sha256(weights)] == len(weights)


async def test_a_link_that_was_only_touched_is_read_once_and_kept(linked, cached):
    model = await cached()
    path = cached.library.files(model)[WEIGHTS]
    os.utime(path, (1, 1))
    assert cached.library.files(model)[WEIGHTS] == path
    assert cached.library.blobs.has(f"sha256:{sha256(path.read_bytes())}")


async def test_the_cache_may_go_and_the_model_stays(linked, cached, tmp_path):
    model = await cached()
    shutil.rmtree(cached.settings.cache)
    assert stored_bytes(cached.library, model) == model_bytes(tmp_path)


async def test_across_file_systems_a_file_is_copied(linked, cached, tmp_path, monkeypatch):
    def link(source, place):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(adopting.os, "link", link)
    model = await cached()
    path = cached.library.files(model)[WEIGHTS]
    assert stored_bytes(cached.library, model) == model_bytes(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o444
