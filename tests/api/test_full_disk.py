"""A full disk is an error with a status of its own, and the bytes that are short."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from tests.api.conftest import Served

DATA = b"x" * 100_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def full(*_given: object, **_named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["reserve", "write_all", "sync_file"])
async def test_an_upload_that_does_not_fit_is_507(served: Served, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    before = served.library.blobs.digests()
    with monkeypatch.context() as patch:
        patch.setattr(f"paddock.store.blobs.{place}", full)
        async with served.session.post(f"{served.url}/api/blobs/{DIGEST}", data=DATA) as response:
            assert response.status == 507
            error = (await response.json())["error"]
    assert error == f"The disk is full: {len(DATA)} bytes are short; free some space and try again."
    assert served.library.blobs.digests() == before
    assert len(list((served.library.root / "blobs").iterdir())) == len(before)
    async with served.session.post(f"{served.url}/api/blobs/{DIGEST}", data=DATA) as response:
        assert response.status == 201


async def test_an_upload_that_can_never_fit_is_refused_before_it_comes(served: Served) -> None:
    headers = {"Content-Length": str(2**55)}
    async with served.session.post(f"{served.url}/api/blobs/{DIGEST}", data=b"", headers=headers) as response:
        assert response.status == 507


async def test_a_copy_and_a_creation_without_room_leave_everything_as_it_was(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("paddock.store.durable._write_new", full)
        status, answer = await served.post("/api/copy", {"source": "tiny", "destination": "other"})
        assert (status, answer["error"].startswith("The disk is full: ")) == (507, True)
        status, answer = await served.post("/api/create", {"model": "new", "from": "tiny", "system": "Be brief."})
        assert answer["error"].startswith("The disk is full: ")
    assert [model.name.display for model in served.library.list()] == ["tiny:latest"]


async def test_a_client_that_is_told_of_a_blob_has_time_to_use_it(served: Served) -> None:
    blob = served.library.blobs.add_bytes(DATA)
    path = served.library.blobs.path(blob.digest)
    before = path.stat().st_ctime_ns
    for method in ("HEAD", "POST"):
        async with served.session.request(method, f"{served.url}/api/blobs/{DIGEST}") as response:
            assert response.status == 200
        assert path.stat().st_ctime_ns > before
        before = path.stat().st_ctime_ns
