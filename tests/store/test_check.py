"""The check of a store finds what is wrong with it, and nothing where nothing is."""

from __future__ import annotations

import json
import os
import time

import pytest

from paddock.store.check import Kind, check, remove_damaged
from paddock.store.library import Library
from paddock.store.transfer.partial import KEPT_SECONDS
from tests.store.making import everything_in, make, named, write_model


@pytest.fixture
def library(tmp_path):
    library = Library(tmp_path / "models")
    library.view(make(library, tmp_path / "demo"))
    make(library, write_model(tmp_path / "other", fill=1.0), "other")
    return library


def problems(library, **how):
    return [(problem.kind, problem.models) for problem in check(library, **how).problems]


def ignore(done_bytes, total_bytes):
    assert done_bytes <= total_bytes


def path_of(library, name):
    return library.root / "manifests" / named(name).relative_path


def weights_of(library, name):
    return next(layer for layer in library.get(named(name)).manifest.files if layer.name == "model.safetensors")


def test_a_whole_store_has_nothing_wrong(library):
    before = everything_in(library.root)
    report = check(library, ignore)
    needed = {layer for model in library.list() for layer in model.manifest.blobs}
    assert report.problems == ()
    assert (report.models, report.blobs) == (2, len(needed))
    assert report.size_bytes == sum(layer.size for layer in needed)
    assert report.unused_bytes == 0
    assert everything_in(library.root) == before


def test_a_damaged_manifest_is_named_before_and_after_it_is_put_aside(library):
    path_of(library, "other").write_bytes(b"")
    assert problems(library) == [(Kind.MANIFEST, ("other:latest",))]
    library.collect()
    ((kind, (name,)),) = problems(library)
    assert kind is Kind.MANIFEST
    assert "other" in name


def test_a_missing_blob_names_every_model_that_needs_it(library):
    shared = next(layer for layer in library.get(named("demo")).manifest.files if layer.name == "config.json")
    library.blobs.remove(shared.digest)
    assert problems(library) == [(Kind.MISSING, ("demo:latest", "other:latest"))]


def test_a_blob_of_another_size_is_found_without_reading_it(library):
    digest = weights_of(library, "demo").digest
    library.blobs.path(digest).chmod(0o644)
    os.truncate(library.blobs.path(digest), 10)
    assert problems(library) == [(Kind.SIZE, ("demo:latest",))]


def test_a_flipped_bit_is_found_by_reading_and_can_be_removed(library, tmp_path):
    digest = weights_of(library, "demo").digest
    path = library.blobs.path(digest)
    status = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as decay would, which leaves no trace
    assert problems(library) == []
    report = check(library, ignore)
    assert [(problem.kind, problem.what, problem.models) for problem in report.problems] == [
        (Kind.CONTENT, digest, ("demo:latest",))
    ]
    assert remove_damaged(library, report) == (digest,)
    assert problems(library) == [(Kind.MISSING, ("demo:latest",))]
    make(library, tmp_path / "demo")
    assert problems(library, tell=ignore) == []


def test_what_came_right_meanwhile_is_not_removed(library):
    digest = weights_of(library, "demo").digest
    data = library.blobs.path(digest).read_bytes()
    library.blobs.path(digest).chmod(0o644)
    library.blobs.path(digest).write_bytes(b"wrong")
    report = check(library, ignore)
    library.blobs.add_bytes(data)
    assert remove_damaged(library, report) == ()
    assert library.blobs.has(digest)


@pytest.mark.parametrize(
    "place",
    ["notes.txt", "blobs/readme", "manifests/list.json", "manifests/a/b/c/d/e", "views/mine", "x/y"],
)
def test_what_has_no_place_is_told(library, place):
    (library.root / place).parent.mkdir(parents=True, exist_ok=True)
    (library.root / place).write_bytes(b"x")
    assert problems(library) == [(Kind.STRAY, ())]


def test_a_download_that_was_given_up_is_told(library, monkeypatch):
    (library.root / "partial").mkdir()
    (library.root / "partial" / "sha256-abc-10").write_bytes(b"half")
    assert problems(library) == []
    later = time.time() + KEPT_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert problems(library) == [(Kind.ABANDONED, ())]


def test_what_a_collection_would_free_is_no_problem(library, monkeypatch):
    library.blobs.add_bytes(b"an upload")
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    report = check(library)
    assert (report.problems, report.unused_bytes) == ((), len(b"an upload"))


def test_another_programs_manifest_is_told_and_left_alone(library):
    path_of(library, "other").write_text(json.dumps({"schemaVersion": 9}))
    assert problems(library) == [(Kind.MANIFEST, ("other:latest",))]
    assert path_of(library, "other").exists()
