from __future__ import annotations

import os

import pytest

from paddock.store.linked import Linked

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"abc")
    return path


@pytest.fixture
def linked(tmp_path):
    return Linked(tmp_path)


def test_a_blob_without_a_note_is_the_stores_alone(linked, blob):
    assert linked.is_as_noted(DIGEST, blob.stat())


def test_a_noted_blob_is_as_it_was_until_it_is_written_to_or_replaced(linked, blob):
    linked.note(DIGEST, blob.stat())
    assert linked.is_as_noted(DIGEST, blob.stat())
    os.utime(blob, (1, 1))
    assert not linked.is_as_noted(DIGEST, blob.stat())
    linked.note(DIGEST, blob.stat())
    blob.write_bytes(b"abcd")
    assert not linked.is_as_noted(DIGEST, blob.stat())


def test_a_note_that_cannot_be_read_vouches_for_nothing(linked, blob, tmp_path):
    linked.note(DIGEST, blob.stat())
    next((tmp_path / "linked").iterdir()).write_bytes(b"{")
    assert not linked.is_as_noted(DIGEST, blob.stat())


def test_a_blob_that_is_gone_is_forgotten(linked, blob):
    linked.note(DIGEST, blob.stat())
    linked.forget(DIGEST)
    linked.forget(DIGEST)
    assert linked.is_as_noted(DIGEST, blob.stat())
