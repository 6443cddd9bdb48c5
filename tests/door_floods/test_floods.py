"""The long campaign: five hundred connections against a server of its own, with the patience that it has by default."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from paddock.api.door.pace import Limits
from tests.chaos.roads import client, percentile, start_fake, summary
from tests.door_floods.floods import KINDS, flood, waits_of
from tests.road.conftest import Road, stop_road

CONNECTIONS = 500
LIMITS = Limits()
LATEST_SECONDS = {
    "silent": LIMITS.head_seconds,
    "half a head": LIMITS.head_seconds,
    "slow head": LIMITS.head_seconds,
    "half a body": LIMITS.body_idle_seconds,
    "slow body": LIMITS.body_idle_seconds,
}
MOST_GROWTH_BYTES = 128 * 2**20


@pytest.fixture
def road(tmp_path: Path) -> Iterator[Road]:
    """A server whose model says more than any socket's buffers hold."""
    behaviour: dict[str, object] = {"frame_count": 8000, "long_frame_bytes": 16384}
    road = start_fake(tmp_path, behaviour, PADDOCK_NUM_PARALLEL="100", PADDOCK_CONTEXT_LENGTH="512")
    yield road
    stop_road(road)
    road.client.close()


@pytest.mark.slow
async def test_five_hundred_slow_connections_leave_normal_ones_their_time(road: Road) -> None:
    async with client() as session, session.post(f"{road.url}/api/generate", json={"model": "demo"}) as response:
        assert response.status == 200
    process = psutil.Process(road.process.pid)
    before = process.memory_full_info().uss
    alone = await waits_of(road.url, lambda count: count >= 200, "demo")
    body = json.dumps({"model": "demo", "prompt": "go on", "raw": True}).encode()
    whole = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with flood(road.url, CONNECTIONS, whole) as slow:
        working = asyncio.create_task(waits_of(road.url, lambda _: slow.open <= CONNECTIONS // len(KINDS), "demo"))
        among = await working
    grown = process.memory_full_info().uss - before
    print(summary("\nalone", alone))
    print(summary("among", among), f"({len(among)} requests); server grew by {grown / 2**20:.1f} MiB")
    for kind, seconds in slow.seconds.items():
        print(f"{kind:12} closed after {min(seconds):.1f} to {max(seconds):.1f} s, {len(seconds)} of them")
        if kind in LATEST_SECONDS:
            assert LATEST_SECONDS[kind] - 1 <= min(seconds) <= max(seconds) <= LATEST_SECONDS[kind] + 3
    assert percentile(among, 0.99) < 1
    assert grown < MOST_GROWTH_BYTES
