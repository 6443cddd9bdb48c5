from __future__ import annotations

import os

import pytest

from paddock.store.stamps import Stamps

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"abc")
    return path


@pytest.fixture
def stamps(tmp_path):
    return Stamps(tmp_path)


def test_a_blob_without_a_stamp_is_taken_as_it_is(stamps, blob):
    assert stamps.holds(DIGEST, blob.stat())


def test_a_stamped_blob_is_as_it_was_until_it_is_written_to_or_replaced(stamps, blob):
    stamps.put(DIGEST, blob.stat())
    assert stamps.holds(DIGEST, blob.stat())
    os.utime(blob, (1, 1))
    assert not stamps.holds(DIGEST, blob.stat())
    stamps.put(DIGEST, blob.stat())
    blob.write_bytes(b"abcd")
    assert not stamps.holds(DIGEST, blob.stat())


def test_a_stamp_that_cannot_be_read_vouches_for_nothing(stamps, blob, tmp_path):
    stamps.put(DIGEST, blob.stat())
    next((tmp_path / "stamps").iterdir()).write_bytes(b"{")
    assert not stamps.holds(DIGEST, blob.stat())


def test_a_blob_that_is_gone_is_forgotten(stamps, blob):
    stamps.put(DIGEST, blob.stat())
    stamps.forget(DIGEST)
    stamps.forget(DIGEST)
    assert stamps.holds(DIGEST, blob.stat())
