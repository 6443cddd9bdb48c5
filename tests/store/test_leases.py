"""What is held stays, in whatever process; what a dead process held does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from paddock.store.library import Library
from tests.fakes.waiting import until_blocking
from tests.store.making import make, named, write_model

HOLD = """
import sys, time
from pathlib import Path
from paddock.store.library import Library

with Library(Path(sys.argv[1])).leases.take() as lease:
    lease.add(sys.argv[2:])
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models")


def leases_in(library):
    return list((library.root / "leases").iterdir())


def test_a_collection_leaves_what_is_held(library):
    held, other = library.blobs.add_bytes(b"held"), library.blobs.add_bytes(b"other")
    with library.leases.take() as lease:
        lease.add([held.digest])
        library.collect(older_than_seconds=-1)
        assert library.blobs.has(held.digest)
        assert not library.blobs.has(other.digest)
    library.collect(older_than_seconds=-1)
    assert not library.blobs.has(held.digest)
    assert leases_in(library) == []


def test_a_deletion_leaves_what_is_held(library, tmp_path):
    model = make(library, tmp_path / "demo")
    weights = model.manifest.files[0].digest
    with library.leases.take() as lease:
        lease.add([weights])
        library.delete(named("demo"))
        assert library.blobs.has(weights)
        assert not library.blobs.has(model.manifest.config.digest)
    library.collect(older_than_seconds=-1)
    assert not library.blobs.has(weights)


def test_a_model_that_loads_keeps_its_folder_when_it_is_replaced(library, tmp_path):
    model = make(library, tmp_path / "demo")
    with library.leases.take() as lease:
        lease.add([f"sha256:{model.digest}", *(layer.digest for layer in model.manifest.blobs)])
        view = library.view(model)
        make(library, write_model(tmp_path / "new", fill=1.0), "demo")
        library.collect(older_than_seconds=-1)
        assert (view / "model.safetensors").read_bytes()
    library.collect(older_than_seconds=-1)
    assert not view.exists()


async def test_holding_a_model_waits_for_the_store_in_a_thread(library, tmp_path):
    model = make(library, tmp_path / "demo")
    async with library.hold(model):
        library.delete(named("demo"))
        assert all(library.blobs.has(layer.digest) for layer in model.manifest.blobs)
    library.collect(older_than_seconds=-1)
    assert not any(library.blobs.has(layer.digest) for layer in model.manifest.blobs)


def test_what_was_brought_in_for_nothing_goes_unless_another_holds_it(library):
    first, second = library.blobs.add_bytes(b"first"), library.blobs.add_bytes(b"second")
    with library.leases.take() as own, library.leases.take() as another:
        own.add([first.digest, second.digest])
        another.add([second.digest])
        library.discard([first.digest, second.digest], own)
    assert not library.blobs.has(first.digest)
    assert library.blobs.has(second.digest)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_another_process_holds_until_it_ends_however_it_ends(library, end):
    blob = library.blobs.add_bytes(b"held")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(library.root), blob.digest], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        library.collect(older_than_seconds=-1)
        assert library.blobs.has(blob.digest)
        process.send_signal(end)
    library.collect(older_than_seconds=-1)
    assert not library.blobs.has(blob.digest)
    assert leases_in(library) == []


def test_a_lease_that_is_over_takes_nothing_more(library):
    blob = library.blobs.add_bytes(b"late")
    lease = library.leases.take()
    lease.release()
    lease.release()
    lease.add([blob.digest])
    library.collect(older_than_seconds=-1)
    assert not library.blobs.has(blob.digest)


def test_a_lease_waits_for_a_collection_that_has_begun(library):
    blob = library.blobs.add_bytes(b"x")
    with library.leases.take() as lease:
        adding = threading.Thread(target=lease.add, args=([blob.digest],))
        with library._exclusive():
            adding.start()
            adding.join(timeout=0.1)
            assert adding.is_alive()
            assert library.leases.digests() == set()
        until_blocking(lambda: not adding.is_alive(), 5.0, "the lease is taken")
        assert library.leases.digests() == {blob.digest}


def test_a_line_that_a_full_disk_has_cut_short_counts_for_nothing(library):
    blob = library.blobs.add_bytes(b"x")
    with library.leases.take() as lease:
        lease.path.write_text(f"{blob.digest}\nsha256:abc")
        assert library.leases.digests() == {blob.digest}
