from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading

import pytest

from paddock.errors import BadRequest, InvalidName, NotFound, StoreFull
from paddock.store.blobs import Blobs


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path)


def files(blobs) -> list[str]:
    return sorted(path.name for path in blobs._folder.iterdir())


def test_a_blob_is_written_in_chunks_and_found_by_its_digest(blobs):
    digest = digest_of(b"hello world")
    with blobs.writer(digest) as writer:
        writer.write(b"hello ")
        assert not blobs.has(digest)
        writer.write(b"world")
        blob = writer.commit()
    assert (blob.digest, blob.size, blob.is_new) == (digest, 11, True)
    assert blobs.path(digest).read_bytes() == b"hello world"
    assert blobs.size(digest) == 11
    assert files(blobs) == [digest.replace(":", "-")]


def test_a_blob_is_read_only(blobs):
    blob = blobs.add_bytes(b"x")
    assert blobs.path(blob.digest).stat().st_mode & 0o777 == 0o444


def test_a_wrong_digest_is_told_and_leaves_nothing(blobs):
    expected, got = digest_of(b"right"), digest_of(b"wrong")
    with blobs.writer(expected) as writer:
        writer.write(b"wrong")
        with pytest.raises(BadRequest) as error:
            writer.commit()
    assert error.value.message == f'digest mismatch, expected "{expected}", got "{got}"'
    assert files(blobs) == []


def test_an_upload_that_breaks_off_leaves_nothing(blobs):
    def break_off() -> None:
        with blobs.writer(digest_of(b"whole")) as writer:
            writer.write(b"who")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()
    assert files(blobs) == []


def test_an_upload_without_a_commit_leaves_nothing(blobs):
    with blobs.writer() as writer:
        writer.write(b"x")
    assert files(blobs) == []


def test_a_full_disk_is_told_plainly_and_leaves_nothing(blobs, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

    monkeypatch.setattr("paddock.store.blobs.sync_file", full)
    with pytest.raises(StoreFull) as error:
        blobs.add_bytes(b"x")
    assert error.value.message == "The disk is full: 1 bytes are short; free some space and try again."
    assert files(blobs) == []


def test_the_bytes_are_on_the_disk_before_the_blob_has_its_name(blobs, monkeypatch):
    digest, steps = digest_of(b"x"), []
    monkeypatch.setattr("paddock.store.blobs.sync_file", lambda _: steps.append(("file", blobs.has(digest))))
    monkeypatch.setattr("paddock.store.blobs.sync_folder", lambda _: steps.append(("folder", blobs.has(digest))))
    blobs.add_bytes(b"x")
    assert steps == [("file", False), ("folder", True)]


def test_the_same_bytes_are_kept_once(blobs):
    assert blobs.add_bytes(b"x").is_new
    assert not blobs.add_bytes(b"x").is_new
    assert len(files(blobs)) == 1


def test_the_same_blob_may_be_uploaded_twice_at_once(blobs):
    data = os.urandom(100_000)
    start = threading.Barrier(4)

    def upload() -> None:
        start.wait(timeout=5)
        with blobs.writer(digest_of(data)) as writer:
            writer.write(data)
            writer.commit()

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)
    assert files(blobs) == [digest_of(data).replace(":", "-")]
    assert blobs.is_intact(digest_of(data))


def test_a_local_file_is_copied_so_that_its_owner_may_change_it(blobs, tmp_path):
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"before")
    blob = blobs.add_file(source)
    source.write_bytes(b"after!")
    assert blobs.path(blob.digest).read_bytes() == b"before"
    assert source.stat().st_mode & 0o200


def test_a_blob_that_is_not_there_is_not_found(blobs):
    digest = digest_of(b"never")
    assert not blobs.has(digest)
    with pytest.raises(NotFound, match=f'^blob "{digest}" not found$'):
        blobs.size(digest)


def test_a_folder_or_a_link_is_no_blob(blobs, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    blobs.path(digest_of(b"a")).mkdir()
    blobs.path(digest_of(b"b")).symlink_to(outside)
    assert not blobs.has(digest_of(b"a"))
    assert not blobs.has(digest_of(b"b"))


def test_only_digests_lead_to_blobs(blobs):
    for method in (blobs.path, blobs.has, blobs.size, blobs.remove, blobs.is_intact):
        with pytest.raises(InvalidName):
            method("sha256:../../x")
    with pytest.raises(InvalidName), blobs.writer("../x"):
        pass


def test_a_damaged_blob_is_not_intact(blobs):
    blob = blobs.add_bytes(b"right")
    assert blobs.is_intact(blob.digest)
    blobs.path(blob.digest).chmod(0o644)
    blobs.path(blob.digest).write_bytes(b"wrong")
    assert not blobs.is_intact(blob.digest)
    blobs.remove(blob.digest)
    assert not blobs.is_intact(blob.digest)


def test_what_is_too_large_for_its_purpose_is_not_read(blobs):
    blob = blobs.add_bytes(b"x" * 100)
    assert blobs.read(blob.digest, 100) == b"x" * 100
    with pytest.raises(BadRequest):
        blobs.read(blob.digest, 99)


def test_an_upload_that_was_taken_for_a_dead_ones_begins_anew(blobs, monkeypatch):
    lock, taken = fcntl.flock, []

    def late(file, operation):
        monkeypatch.undo()
        taken.extend(blobs.dead_uploads())
        blobs.remove_upload(taken[0])
        lock(file, operation)

    monkeypatch.setattr("paddock.store.blobs.fcntl.flock", late)
    with blobs.writer() as writer:
        writer.write(b"late")
        blob = writer.commit()

    assert blobs.is_intact(blob.digest)
    assert len(taken) == 1


def test_an_upload_that_goes_on_is_not_removed(blobs):
    with blobs.writer() as writer:
        [partial] = blobs._folder.iterdir()

        blobs.remove_upload(partial)

        assert partial.exists()
        writer.commit()
