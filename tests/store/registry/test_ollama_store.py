"""What Ollama has on this machine is taken from its store: as it is laid out there, and checked."""

from __future__ import annotations

import pytest

from paddock.errors import NoAccess, NotFound, RemoteFailed
from paddock.store.registry import settings as registry_settings
from paddock.store.transfer import adopt as adopting
from tests.store.registry.pulling import MODEL, WEIGHTS, per_tensor_model, stored_blobs, weights_of


@pytest.fixture
def ollama(client, registry, served, tmp_path):
    """A client on a machine where Ollama has pulled the registry's model."""
    return with_ollama(client, registry, served, tmp_path)


def with_ollama(client, registry, manifest, tmp_path):
    folder = tmp_path / "ollama" / "models"
    path = folder / "manifests" / registry.host / MODEL / "latest"
    path.parent.mkdir(parents=True)
    path.write_bytes(manifest)
    (folder / "blobs").mkdir()
    for digest, data in registry.blobs.items():
        (folder / "blobs" / digest.replace(":", "-")).write_bytes(data)
    return client.with_settings(ollama_folders=(folder,))


async def test_blobs_that_ollama_has_are_not_fetched(ollama, registry, served):
    await ollama.pull()
    assert not registry.sent
    assert registry.asked("GET", "/manifests/")
    assert stored_blobs(ollama.library) == registry.blobs


async def test_where_there_are_no_clones_the_blobs_are_linked(ollama, served, monkeypatch):
    monkeypatch.setattr(adopting, "_clone", lambda source, place: False)
    model = await ollama.pull()
    [folder] = ollama.settings.ollama_folders
    blob = folder / "blobs" / weights_of(served).replace(":", "-")
    assert ollama.library.files(model)[WEIGHTS].samefile(blob)


async def test_without_the_registry_what_ollama_has_is_enough(ollama, registry, served):
    names = ollama.name()
    registry.faults.statuses = [503] * 20
    model = await ollama.pull()
    assert ollama.library.manifest_bytes(names) == served
    assert ollama.library.files(model)
    assert not registry.sent


async def test_a_model_of_single_tensors_is_adopted_too(client, registry, tmp_path):
    data = per_tensor_model(registry, tmp_path)
    ollama = with_ollama(client, registry, data, tmp_path)
    registry.faults.statuses = [503] * 20
    model = await ollama.pull()
    assert ollama.library.manifest_bytes(ollama.name()) == data
    assert model.facts.engine == "text"


async def test_blobs_with_other_bytes_are_not_trusted(ollama, registry, served):
    [folder] = ollama.settings.ollama_folders
    path = folder / "blobs" / weights_of(served).replace(":", "-")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    await ollama.pull()
    assert registry.sent[weights_of(served)]
    assert stored_blobs(ollama.library) == registry.blobs


async def test_offline_a_blob_that_is_missing_there_is_named(ollama, registry, served):
    [folder] = ollama.settings.ollama_folders
    (folder / "blobs" / weights_of(served).replace(":", "-")).unlink()
    registry.faults.statuses = [503] * 20
    with pytest.raises(RemoteFailed, match=r"cannot be asked, and this machine lacks model\.safetensors"):
        await ollama.pull()


async def test_a_model_that_only_ollama_has_is_taken_and_one_that_is_closed_is_not(ollama, registry, served):
    registry.manifests.clear()
    await ollama.pull()
    assert ollama.library.manifest_bytes(ollama.name()) == served
    with pytest.raises(NotFound):
        await ollama.pull("me/other")
    registry.rules.is_closed = True
    registry.rules.gives_anonymous = False
    with pytest.raises(NoAccess):
        await ollama.pull()


async def test_a_hostile_manifest_there_is_refused_as_any(client, registry, served, tmp_path):
    ollama = with_ollama(client, registry, served.replace(b"sha256:", b"sha256:../"), tmp_path)
    registry.faults.statuses = [503] * 20
    with pytest.raises(RemoteFailed, match="what is no digest"):
        await ollama.pull()


async def test_our_own_store_is_not_taken_for_another(client, registry, served):
    ours = client.with_settings(ollama_folders=(client.library.root,))
    await ours.pull()
    assert stored_blobs(client.library) == registry.blobs


def test_the_folders_are_those_of_ollamas_own_setting_and_of_the_home(tmp_path, monkeypatch):
    for folder in (tmp_path / "set", tmp_path / "home" / ".ollama" / "models"):
        (folder / "manifests").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry_settings, "_OLLAMA_FOLDERS", ())
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "set"))
    found = registry_settings.read_registry_settings().ollama_folders
    assert found == (tmp_path / "set", tmp_path / "home" / ".ollama" / "models")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "nothing"))
    assert registry_settings.read_registry_settings().ollama_folders == (tmp_path / "home" / ".ollama" / "models",)
