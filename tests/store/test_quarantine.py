"""A manifest that cannot be read is put aside, is told of, and what it needed stays for a week."""

from __future__ import annotations

import json
import logging
import shutil
import time

import pytest

from paddock.errors import DamagedModel, NotFound
from paddock.store.library import Library
from paddock.store.quarantine import KEPT_SECONDS
from tests.store.making import blob_count, make, named, write_model


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models")


def path_of(library, name):
    return library.root / "manifests" / named(name).relative_path


def blobs_of(model):
    return {layer.digest for layer in model.manifest.blobs}


@pytest.fixture
def broken(library, tmp_path):
    """A model whose manifest is damaged, beside one that shares files with it."""
    make(library, tmp_path / "demo")
    model = make(library, write_model(tmp_path / "other", fill=1.0), "broken")
    path_of(library, "broken").write_bytes(b"\0" * 100)
    return model


def test_a_damaged_manifest_is_put_aside_with_what_it_held(library, broken, caplog):
    with caplog.at_level(logging.WARNING):
        collection = library.collect(older_than_seconds=-1)
    assert collection.put_aside == ("broken:latest",)
    assert collection.is_certain
    assert "broken:latest is damaged and is put aside" in caplog.text
    assert not path_of(library, "broken").exists()
    (kept,) = (library.root / "corrupt").glob("*.manifest")
    assert kept.read_bytes() == b"\0" * 100
    assert all(map(library.blobs.has, blobs_of(broken)))
    assert [model.name.display for model in library.list()] == ["demo:latest"]


def test_a_model_that_was_put_aside_says_so_until_it_comes_again(library, broken, tmp_path):
    library.collect()
    with pytest.raises(DamagedModel, match="its manifest cannot be read; create it again"):
        library.get(named("BROKEN"))
    make(library, write_model(tmp_path / "other", fill=1.0), "broken")
    assert library.get(named("broken")).digest == broken.digest


def test_what_it_needed_goes_after_a_week(library, broken, monkeypatch):
    library.collect()
    later = time.time() + KEPT_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: later)
    library.collect()
    library.collect()
    assert blob_count(library.root) == len(blobs_of(library.get(named("demo"))))
    assert list((library.root / "corrupt").iterdir()) == []
    with pytest.raises(NotFound):
        library.get(named("broken"))


def test_deleting_a_model_that_was_put_aside_ends_that(library, broken):
    library.collect()
    library.delete(named("broken"))
    with pytest.raises(NotFound):
        library.delete(named("broken"))
    library.collect(older_than_seconds=-1)
    assert blob_count(library.root) == len(blobs_of(library.get(named("demo"))))


def test_somebody_who_may_not_see_it_is_not_told_of_it(library, broken):
    library.collect()
    partial = library.showing_only([named("demo")])
    with pytest.raises(NotFound):
        partial.get(named("broken"))
    with pytest.raises(NotFound):
        partial.delete(named("broken"))


def test_where_nothing_is_known_of_it_no_blob_goes(library, broken):
    shutil.rmtree(library.root / "known")
    upload = library.blobs.add_bytes(b"upload")
    for _ in range(2):
        collection = library.collect(older_than_seconds=-1)
        assert not collection.is_certain
        assert library.blobs.has(upload.digest)
        assert all(map(library.blobs.has, blobs_of(broken)))


def test_what_is_only_not_understood_is_another_programs_and_stays(library, tmp_path):
    model = make(library, tmp_path / "demo")
    blob = library.blobs.add_bytes(b"needed in a way that is not known")
    data = json.dumps({"schemaVersion": 9, "parts": [{"blob": blob.digest.upper().replace("SHA256", "sha256")}]})
    path_of(library, "demo").write_text(data)
    collection = library.collect(older_than_seconds=-1)
    assert (collection.put_aside, collection.is_certain) == ((), True)
    assert path_of(library, "demo").read_text() == data
    assert library.blobs.has(blob.digest)
    assert not library.blobs.has(model.manifest.config.digest)


def test_what_another_program_has_written_is_remembered_too(library, tmp_path):
    model = make(library, tmp_path / "demo")
    shutil.rmtree(library.root / "known")
    library.collect()
    path_of(library, "demo").write_bytes(b"")
    assert library.collect(older_than_seconds=-1).is_certain
    assert all(map(library.blobs.has, blobs_of(model)))
