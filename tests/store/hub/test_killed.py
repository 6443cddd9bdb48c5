"""Pulls in a process that is killed without warning, at whatever byte, and then begun again."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from tests.fakes.fake_hub import sha256
from tests.fakes.waiting import until
from tests.store.hub.pulling import REPOSITORY, WEIGHTS, left_over, model_bytes, stored_bytes
from tests.store.making import named

PULL = """
import asyncio, sys
from pathlib import Path
from paddock.store.transfer.progress import Board
from paddock.store.hub.pull import Order, pull
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.library import Library
from paddock.store.names import ModelName

order = Order(ModelName.parse("mine"), HubSource("org/repo"))
asyncio.run(pull(Library(Path(sys.argv[1])), order, HubSettings(endpoint=sys.argv[2], backoff_seconds=0.01), Board()))
"""


async def begin(library, hub):
    return await asyncio.create_subprocess_exec(sys.executable, "-c", PULL, str(library.root), hub.endpoint)


def come_bytes(library):
    with contextlib.suppress(OSError):
        return max((path.stat().st_size for path in (library.root / "partial").iterdir()), default=0)
    return 0


async def test_a_pull_that_is_killed_is_gone_on_with_where_it_was(hub, puller, tmp_path):
    files = model_bytes(tmp_path, extra_values=3_000_000)
    hub.repository(REPOSITORY, files)
    library = puller.library
    for _ in range(2):
        hub.faults.hold = asyncio.Event()
        process = await begin(library, hub)
        before = come_bytes(library)
        # How much comes before the Hub stands still depends on the parts in which the rest is asked for.
        await until(lambda: come_bytes(library) > before, 30)  # noqa: B023 - awaited at once
        process.kill()
        await process.wait()
        hub.faults.hold.set()
        assert not library.list()
        assert not library.blobs.has(f"sha256:{sha256(files[WEIGHTS])}")
    hub.faults.hold = None
    process = await begin(library, hub)
    assert await process.wait() == 0
    assert stored_bytes(library, library.get(named("mine"))) == files
    assert left_over(library) == []
    starts = [seen.headers.get("Range") for seen in hub.seen if seen.where == "cdn"]
    assert starts[0] is None
    assert all(starts[1:])


async def test_two_processes_that_pull_the_same_fetch_it_once(hub, puller, tmp_path):
    files = model_bytes(tmp_path, extra_values=500_000)
    hub.repository(REPOSITORY, files)
    processes = [await begin(puller.library, hub) for _ in range(2)]
    assert [await process.wait() for process in processes] == [0, 0]
    assert hub.sent[sha256(files[WEIGHTS])] == len(files[WEIGHTS])
    assert stored_bytes(puller.library, puller.library.get(named("mine"))) == files
