"""What no model needs goes, and nothing else does."""

from __future__ import annotations

import os
import time

import pytest

from paddock.store.collect import Kind
from paddock.store.library import Library
from paddock.store.transfer.partial import KEPT_SECONDS
from tests.store.making import everything_in, make, named

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models")


@pytest.fixture
def later(monkeypatch):
    """Lets so many seconds pass."""

    def pass_seconds(seconds):
        now = time.time() + seconds
        monkeypatch.setattr(time, "time", lambda: now)

    return pass_seconds


def kinds(collection):
    return {waste.kind for waste in collection.waste}


def test_only_old_uploads_that_no_model_needs_go(library, tmp_path, later):
    view = library.view(make(library, tmp_path / "demo"))
    (library.root / "views" / ("0" * 64)).mkdir()
    upload = library.blobs.add_bytes(b"upload")
    stranger = library.root / "blobs" / "stranger"
    stranger.write_bytes(b"not ours")
    assert kinds(library.collect()) == {Kind.VIEW}
    assert library.blobs.has(upload.digest)
    later(3700)
    collection = library.collect()
    assert (kinds(collection), collection.freed_bytes) == ({Kind.BLOB}, len(b"upload"))
    assert not library.blobs.has(upload.digest)
    assert stranger.exists()
    assert list((library.root / "views").iterdir()) == [view]
    library.view(library.get(named("demo")))
    assert library.collect().waste == ()


def test_a_link_to_an_old_file_is_as_young_as_the_link(library, tmp_path):
    old = tmp_path / "old"
    old.write_bytes(b"downloaded long ago")
    os.utime(old, LONG_AGO)
    place = library.root / "place"
    place.hardlink_to(old)
    digest = "sha256:" + "ab" * 32
    library.blobs.link(place, digest)
    library.collect()
    assert library.blobs.has(digest)


def test_a_client_that_is_told_of_a_blob_has_time_to_use_it(library, later):
    blob = library.blobs.add_bytes(b"x")
    before = library.blobs.path(blob.digest).stat()
    library.blobs.renew(blob.digest)
    after = library.blobs.path(blob.digest).stat()
    assert after.st_ctime_ns > before.st_ctime_ns
    assert after.st_mtime_ns == before.st_mtime_ns
    assert not library.blobs.is_changed(blob.digest)


def test_an_upload_that_somebody_writes_stays_and_a_dead_ones_goes(library, later):
    dead = library.root / "blobs" / f"sha256-unknown-partial-{'0' * 16}"
    dead.write_bytes(b"broken off")
    with library.blobs.writer() as writer:
        writer.write(b"still coming")
        assert library.collect().waste == ()
        later(3700)
        collection = library.collect()
        assert [(waste.kind, waste.path) for waste in collection.waste] == [(Kind.UPLOAD, dead)]
        assert library.blobs.has(writer.commit().digest)


def test_what_has_come_of_a_pull_stays_for_a_week(library, later):
    (library.root / "partial").mkdir()
    partial = library.root / "partial" / "sha256-abc-10"
    partial.write_bytes(b"half")
    later(KEPT_SECONDS - 60)
    assert library.collect().waste == ()
    later(120)
    assert kinds(library.collect()) == {Kind.DOWNLOAD}
    assert not partial.exists()


def test_a_dry_run_tells_the_same_and_changes_nothing(library, tmp_path):
    make(library, tmp_path / "demo")
    make(library, tmp_path / "demo", "broken")
    (library.root / "manifests" / named("broken").relative_path).write_bytes(b"garbage")
    library.blobs.add_bytes(b"x")
    before = everything_in(library.root)
    told = library.collect(older_than_seconds=-1, is_dry=True)
    assert everything_in(library.root) == before
    done = library.collect(older_than_seconds=-1)
    assert [(waste.kind, waste.size_bytes) for waste in told.waste] == [
        (waste.kind, waste.size_bytes) for waste in done.waste
    ]
    assert told.put_aside == done.put_aside == ("broken:latest",)


def test_what_a_crash_has_left_goes(library, tmp_path):
    make(library, tmp_path / "demo")
    before = everything_in(library.root)
    manifest = library.root / "manifests" / named("demo").relative_path
    (manifest.parent / f".latest.{'0' * 16}").write_bytes(b"half a manifest")
    (library.root / "leases").mkdir(exist_ok=True)
    (library.root / "leases" / ("0" * 16)).write_bytes(b"")
    (library.root / "views" / f".{'0' * 16}.{'1' * 16}").mkdir()
    (library.root / "stamps" / ("sha256-" + "0" * 64)).write_bytes(b"{}")
    library.collect(older_than_seconds=-1)
    assert everything_in(library.root) == before
    assert list((library.root / "views").iterdir()) == []
