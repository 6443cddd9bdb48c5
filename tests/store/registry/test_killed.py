"""Processes that pull in parts, and are killed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from tests.fakes.waiting import until
from tests.store.registry.pulling import WEIGHTS, serve_model, weights_of, write_large_model
from tests.store.registry.test_pull import partials

PULL = """
import asyncio, sys
from pathlib import Path
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.store.registry.pull import Order, pull
from paddock.store.registry.settings import RegistrySettings
from paddock.store.registry.source import RegistrySource
from paddock.store.transfer.progress import Board

settings = RegistrySettings(backoff_seconds=0.01, part_bytes=1_000_000, ahead_bytes=3_000_000)
order = Order(ModelName.parse(sys.argv[3]), RegistrySource(sys.argv[2], "me/model", "latest"))
asyncio.run(pull(Library(Path(sys.argv[1])), order, settings, Board()))
"""


async def begin(client):
    given = (str(client.library.root), client.registry.url, client.name().display)
    return await asyncio.create_subprocess_exec(sys.executable, "-c", PULL, *given)


def come_bytes(client):
    with contextlib.suppress(OSError):
        return max((path.stat().st_size for path in (client.library.root / "partial").iterdir()), default=0)
    return 0


async def test_a_pull_in_parts_that_is_killed_is_gone_on_with_where_it_was(client, registry, tmp_path):
    data = serve_model(registry, write_large_model(tmp_path / "large", 2_000_000))
    digest = weights_of(data)
    size = len(registry.blobs[digest])
    registry.faults.seconds_per_chunk = 0.03
    for _ in range(2):
        process = await begin(client)
        before = come_bytes(client)
        await until(lambda: come_bytes(client) > before + size // 4, 60)  # noqa: B023 - awaited at once
        process.kill()
        await process.wait()
        assert not client.library.list()
        assert not client.library.blobs.has(digest)
    registry.faults.seconds_per_chunk = 0
    process = await begin(client)
    assert await process.wait() == 0
    model = client.library.get(client.name())
    assert client.library.files(model)[WEIGHTS].read_bytes() == registry.blobs[digest]
    assert registry.sent[digest] < 2.5 * size
    assert partials(client.library) == []
