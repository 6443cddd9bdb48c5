from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from paddock.errors import DamagedModel, StoreError
from paddock.store.library import Library
from tests.store.making import make, named, write_sharded_model


@pytest.fixture
def root(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def library(root):
    return Library(root)


def manifest_path(root, name="demo"):
    return root / "manifests" / named(name).relative_path


def test_a_view_has_the_models_files_under_their_names(library, tmp_path):
    model = make(library, write_sharded_model(tmp_path / "sharded"))
    view = library.view(model)
    assert {path.name: path.read_bytes() for path in view.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "sharded").iterdir()
    }


def test_a_view_is_made_once(library, tmp_path):
    model = make(library, tmp_path / "demo")
    first = library.view(model)
    before = first.stat().st_ino
    assert library.view(model).stat().st_ino == before


def test_a_view_that_is_read_stays_where_it_is_when_its_blobs_come_once_more(library, tmp_path):
    view = library.view(make(library, tmp_path / "demo"))
    folder = os.open(view, os.O_RDONLY)
    make(library, tmp_path / "demo", "again")
    assert all(blob.stat().st_nlink == 1 for blob in library.blobs._folder.iterdir())

    library.view(library.get(named("again")))

    os.close(os.open("config.json", os.O_RDONLY, dir_fd=folder))
    os.close(folder)
    assert view.stat().st_nlink == 2
    assert all(path.stat().st_nlink == 2 for path in view.iterdir())


@pytest.mark.parametrize("damage", ["missing", "foreign", "extra", "empty", "folder"])
def test_a_view_that_is_not_whole_is_built_anew(library, tmp_path, damage):
    model = make(library, tmp_path / "demo")
    view = library.view(model)
    if damage in ("missing", "foreign", "folder"):
        (view / "config.json").unlink()
    if damage == "foreign":
        (view / "config.json").write_bytes(b"{}")
    if damage == "folder":
        (view / "config.json").mkdir()
        (view / "config.json" / "other").write_bytes(b"")
    if damage == "extra":
        (view / "evil.py").write_bytes(b"")
    if damage == "empty":
        shutil.rmtree(view)
        view.mkdir()
    assert library.view(model) == view
    assert sorted(path.name for path in view.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (view / "config.json").read_bytes() == (tmp_path / "demo" / "config.json").read_bytes()


def test_without_hard_links_a_view_has_symbolic_ones(library, tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    model = make(library, tmp_path / "demo")
    view = library.view(model)
    assert (view / "config.json").is_symlink()
    assert (view / "config.json").read_bytes() == (tmp_path / "demo" / "config.json").read_bytes()
    assert library.view(model) == view


def test_a_view_that_cannot_be_finished_leaves_nothing_half_made(library, tmp_path, root, monkeypatch):
    model = make(library, tmp_path / "demo")

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("paddock.store.views._link", fail)
        with pytest.raises(StoreError):
            library.view(model)
    assert list((root / "views").iterdir()) == []


def test_a_missing_file_is_named(library, tmp_path):
    model = make(library, tmp_path / "demo")
    library.view(model)
    weights = next(layer for layer in model.manifest.files if layer.name == "model.safetensors")
    library.blobs.remove(weights.digest)
    with pytest.raises(DamagedModel) as error:
        library.view(model)
    assert error.value.message == (
        "Model 'demo:latest' is damaged: its file model.safetensors is missing; create it again."
    )


def test_a_file_cut_short_is_named_and_healed_by_creating_again(library, tmp_path):
    model = make(library, tmp_path / "demo")
    weights = next(layer for layer in model.manifest.files if layer.name == "model.safetensors")
    library.blobs.path(weights.digest).chmod(0o644)
    os.truncate(library.blobs.path(weights.digest), 10)
    for action in (library.view, library.model_info, library.tensors):
        with pytest.raises(DamagedModel, match=r"its file model\.safetensors is (cut short|missing)"):
            action(model)
    assert not library.blobs.has(weights.digest)  # so that a client is asked to upload it
    library.view(make(library, tmp_path / "demo"))


def test_a_manifest_with_a_hostile_file_name_makes_no_view(library, tmp_path, root):
    make(library, tmp_path / "demo")
    for name in (
        "../../evil",
        "/abs/evil.json",
        "a\\..\\b.json",
        "a/b/c.json",
        "evil.py",
        "x\0.json",
        "..",
        "a" * 300 + ".json",
    ):
        hostile = json.loads(manifest_path(root).read_bytes())
        hostile["layers"][0]["name"] = name
        manifest_path(root).write_text(json.dumps(hostile))
        with pytest.raises(DamagedModel):
            library.get(named("demo"))
    assert list((root / "views").iterdir()) == []


def test_what_is_shown_is_read_from_the_files(library, tmp_path):
    model = make(library, tmp_path / "demo")
    assert library.model_info(model)["general.architecture"] == "llama"
    assert library.tensors(model) == [{"name": "embed.weight", "type": "F32", "shape": [16, 8]}]
