from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import threading
from datetime import datetime, timedelta

import pytest

from paddock.errors import DamagedModel, NotFound, StoreError, StoreFull, UnsupportedModel
from paddock.store.library import Library
from paddock.store.manifest import Layer, Manifest
from tests.store.making import blob_count, derive, everything_in, make, named, write_model

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def root(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def library(root):
    return Library(root)


def manifest_path(root, name="demo"):
    return root / "manifests" / named(name).relative_path


def make_another(library, tmp_path, name="other"):
    """A model that shares config and tokenizer with `demo`, but not its weights."""
    return make(library, write_model(tmp_path / "another", fill=1.0), name)


def test_a_new_library_is_empty(library, root):
    assert library.is_new
    assert library.list() == []
    assert not Library(root).is_new


def test_a_model_is_found_by_its_name(library, tmp_path):
    made = make(library, tmp_path / "demo")
    assert library.get(named("demo:latest")) == made
    assert made.name.display == "demo:latest"
    assert made.size_bytes == sum(layer.size for layer in made.manifest.blobs)
    assert made.facts.family == "llama"
    assert abs(made.modified_at - datetime.now().astimezone()) < timedelta(minutes=1)
    assert made.modified_at.tzinfo is not None


def test_the_digest_is_that_of_the_manifest_file(library, tmp_path, root):
    made = make(library, tmp_path / "demo")
    assert made.digest == hashlib.sha256(manifest_path(root).read_bytes()).hexdigest()


def test_an_absent_model_is_not_found_in_ollamas_words(library):
    for action in (library.get, library.delete):
        with pytest.raises(NotFound) as error:
            action(named("nobody"))
        assert error.value.message == "model 'nobody:latest' not found"
    with pytest.raises(NotFound) as error:
        library.copy(named("nobody"), named("x"))
    assert error.value.message == 'model "nobody:latest" not found'


def test_a_path_that_stops_short_or_goes_on_is_not_found(library, root):
    (root / "manifests" / "registry.ollama.ai").mkdir()
    (root / "manifests" / "registry.ollama.ai" / "library").write_bytes(b"")
    (root / "manifests" / "host" / "a" / "b" / "c").mkdir(parents=True)
    for name in ("demo", "host/a/b:c", "h" * 255 + "/a/b"):
        with pytest.raises(NotFound):
            library.get(named(name))
    assert library.list() == []


def test_the_list_has_the_newest_first(library, tmp_path, root):
    for age, name in enumerate(("new", "old", "oldest")):
        make(library, tmp_path / "demo", name)
        os.utime(manifest_path(root, name), (1_700_000_000 - age, 1_700_000_000 - age))
    assert [model.name.display for model in library.list()] == ["new:latest", "old:latest", "oldest:latest"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"[" * 100_000, b"{}", b'{"config":{"digest":"sha256:../x"}}'])
def test_a_damaged_manifest_never_breaks_the_list(library, tmp_path, root, caplog, content):
    make(library, tmp_path / "demo")
    make(library, tmp_path / "demo", "broken")
    manifest_path(root, "broken").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert [model.name.display for model in library.list()] == ["demo:latest"]
    assert "broken:latest" in caplog.text
    with pytest.raises(
        DamagedModel, match=r"^Model 'broken:latest' is damaged: its manifest cannot be read; create it again\.$"
    ):
        library.get(named("broken"))


def test_a_lost_description_leaves_the_model_out_of_the_list(library, tmp_path):
    made = make(library, tmp_path / "demo")
    library.blobs.remove(made.manifest.config.digest)
    assert library.list() == []
    with pytest.raises(DamagedModel):
        library.get(named("demo"))


def test_what_is_no_manifest_by_its_name_is_passed_over(library, tmp_path, root):
    make(library, tmp_path / "demo")
    (manifest_path(root).parent / ".latest.tmp").write_bytes(b"half")
    (manifest_path(root).parent / "a b").write_bytes(b"x")
    (root / "manifests" / ".DS_Store").write_bytes(b"x")
    assert [model.name.display for model in library.list()] == ["demo:latest"]


def test_another_programs_model_is_told_so_and_not_listed(library, tmp_path, root):
    make(library, tmp_path / "demo")
    blob = library.blobs.add_bytes(json.dumps({"model_format": "gguf", "model_family": "llama"}).encode())
    foreign = Manifest(Layer("x", blob.digest, blob.size), ())
    manifest_path(root, "foreign").parent.mkdir()
    manifest_path(root, "foreign").write_bytes(foreign.encode())
    with pytest.raises(UnsupportedModel, match="GGUF"):
        library.get(named("foreign"))
    assert [model.name.display for model in library.list()] == ["demo:latest"]


# ---- case -----------------------------------------------------------------------------------------------------------


def test_a_name_finds_the_spelling_that_is_on_disk(library, tmp_path):
    make(library, tmp_path / "demo", "Some/Demo:Big")
    assert library.get(named("some/dEMO:big")).name.display == "Some/Demo:Big"


def test_a_second_spelling_replaces_the_first(library, tmp_path):
    make(library, tmp_path / "demo", "Demo")
    make_another(library, tmp_path, "dEMO:LATEST")
    assert [model.name.display for model in library.list()] == ["Demo:latest"]


def test_a_new_tag_joins_the_folder_that_is_there(library, tmp_path, root):
    make(library, tmp_path / "demo", "Demo")
    library.copy(named("demo"), named("demo:Two"))
    assert sorted(path.name for path in manifest_path(root, "Demo").parent.iterdir()) == ["Two", "latest"]
    library.delete(named("DEMO:two"))
    assert [model.name.display for model in library.list()] == ["Demo:latest"]


# ---- copy and delete ------------------------------------------------------------------------------------------------


def test_a_copy_is_the_same_bytes_under_another_name(library, tmp_path, root):
    make(library, tmp_path / "demo")
    odd = json.dumps(json.loads(manifest_path(root).read_bytes()) | {"annotations": {"kept": True}}, indent=3).encode()
    manifest_path(root).write_bytes(odd)
    library.copy(named("demo"), named("host.io/me/copy:x"))
    assert manifest_path(root, "host.io/me/copy:x").read_bytes() == odd
    assert library.get(named("demo")).digest == library.get(named("host.io/me/copy:x")).digest


def test_a_copy_onto_itself_changes_nothing(library, tmp_path):
    made = make(library, tmp_path / "demo")
    library.copy(named("demo"), named("DEMO"))
    assert library.get(named("demo")).digest == made.digest
    library.view(library.get(named("demo")))


def test_a_damaged_model_is_not_copied(library, tmp_path, root):
    make(library, tmp_path / "demo")
    manifest_path(root).write_bytes(b"garbage")
    with pytest.raises(DamagedModel):
        library.copy(named("demo"), named("copy"))


def test_deleting_the_last_name_leaves_nothing(library, tmp_path, root):
    library.view(make(library, tmp_path / "demo", "host.io/me/demo"))
    library.delete(named("host.io/me/demo"))
    assert everything_in(root) == set()
    assert list((root / "manifests").iterdir()) == []
    assert list((root / "views").iterdir()) == []


def test_deleting_keeps_what_others_share(library, tmp_path, root):
    demo, other = make(library, tmp_path / "demo"), make_another(library, tmp_path)
    assert blob_count(root) < len(demo.manifest.blobs) + len(other.manifest.blobs)
    library.delete(named("demo"))
    library.view(library.get(named("other")))
    assert blob_count(root) == len(other.manifest.blobs)


def test_deleting_one_of_two_names_keeps_the_view_of_the_other(library, tmp_path):
    view = library.view(make(library, tmp_path / "demo"))
    library.copy(named("demo"), named("copy"))
    library.delete(named("demo"))
    assert (view / "model.safetensors").exists()
    assert library.view(library.get(named("copy"))) == view


def test_a_damaged_manifest_keeps_what_it_needed(library, tmp_path, root):
    demo, other = make(library, tmp_path / "demo"), make_another(library, tmp_path)
    manifest_path(root, "other").write_bytes(b"garbage")
    library.delete(named("demo"))
    assert all(library.blobs.has(layer.digest) for layer in other.manifest.blobs)
    own = {layer.digest for layer in demo.manifest.blobs} - {layer.digest for layer in other.manifest.blobs}
    assert not any(map(library.blobs.has, own))
    assert library.list() == []


def test_a_damaged_manifest_of_which_nothing_is_known_keeps_all_blobs(library, tmp_path, root):
    make(library, tmp_path / "demo")
    make_another(library, tmp_path)
    before = blob_count(root)
    manifest_path(root, "other").write_bytes(b"garbage")
    shutil.rmtree(root / "known")
    library.delete(named("demo"))
    assert blob_count(root) == before


def test_a_damaged_model_can_be_deleted(library, tmp_path, root):
    make(library, tmp_path / "demo")
    manifest_path(root).write_bytes(b"garbage")
    library.delete(named("demo"))
    assert not manifest_path(root).exists()


def test_deleting_never_touches_what_a_hostile_manifest_names(library, tmp_path, root):
    canary = tmp_path / "canary"
    canary.write_bytes(b"alive")
    make(library, tmp_path / "demo")
    hostile = json.loads(manifest_path(root).read_bytes())
    hostile["layers"][0]["digest"] = "sha256:../../canary"
    manifest_path(root).write_text(json.dumps(hostile))
    library.delete(named("demo"))
    assert canary.read_bytes() == b"alive"


# ---- put ------------------------------------------------------------------------------------------------------------


def test_a_replaced_model_leaves_nothing_behind(library, tmp_path, root):
    make(library, tmp_path / "demo")
    made = make_another(library, tmp_path, "demo")
    assert blob_count(root) == len(made.manifest.blobs)


def test_a_manifest_without_its_blobs_is_not_stored(library, tmp_path):
    made = make(library, tmp_path / "demo")
    with pytest.raises(NotFound, match=f'^blob "{DIGEST}" not found$'):
        library.put(named("demo"), Manifest(made.manifest.config, (Layer("x", DIGEST, 1),)))
    assert library.get(named("demo")).digest == made.digest


def test_a_manifest_that_lies_about_sizes_is_not_stored_and_costs_no_blob(library, tmp_path, root):
    made = make(library, tmp_path / "demo")
    config = made.manifest.config
    with pytest.raises(StoreError, match="another size"):
        library.put(named("liar"), Manifest(Layer(config.media_type, config.digest, config.size + 1), ()))
    lie = json.loads(manifest_path(root).read_bytes())
    lie["layers"][0]["size"] += 1
    manifest_path(root).write_text(json.dumps(lie))
    with pytest.raises(DamagedModel):
        library.view(library.get(named("demo")))
    assert library.blobs.has(made.manifest.layers[0].digest)


@pytest.mark.parametrize("step", ["sync_file", "os.replace"])
def test_a_failure_before_the_replacement_leaves_the_old_model(library, tmp_path, root, monkeypatch, step):
    made = make(library, tmp_path / "demo")
    derive(library, "new", "demo", system="hello")
    before = everything_in(root)

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = "paddock.store.durable.sync_file" if step == "sync_file" else "pathlib.Path.replace"
    with monkeypatch.context() as patch:
        patch.setattr(target, fail)
        with pytest.raises(StoreFull, match="The disk is full"):
            library.copy(named("new"), named("demo"))
    assert everything_in(root) == before
    assert library.get(named("demo")).digest == made.digest


def test_a_manifest_is_on_the_disk_before_it_has_its_name(library, tmp_path, monkeypatch):
    make(library, tmp_path / "demo")
    present = []
    monkeypatch.setattr(
        "paddock.store.durable.sync_file", lambda _: present.append(library._manifests.read(named("copy")) is not None)
    )
    library.copy(named("demo"), named("copy"))
    assert present == [False]


def test_many_at_once_leave_a_whole_library(library, tmp_path, root):
    folders = [write_model(tmp_path / f"m{number}", fill=number) for number in range(4)]
    failures = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                make(library, folders[number], "same")
                make(library, folders[number], f"own{number}")
                library.list()
                library.delete(named(f"own{number}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    # A deletion may take files from under an import that has not named them yet: that is told, and nothing worse.
    assert [error for error in failures if not isinstance(error, NotFound)] == []
    survivors = library.list()
    assert [model.name.display for model in survivors if model.name.model == "same"] == ["same:latest"]
    for model in survivors:
        library.view(model)


def test_a_folder_that_cannot_be_used_is_told_plainly(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError) as error:
        Library(tmp_path / "file")
    assert str(tmp_path) not in error.value.message
