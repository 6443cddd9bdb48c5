"""Connections that get nothing done do not slow those that do. The long campaign is in tests/door_floods."""

from __future__ import annotations

from pathlib import Path

import psutil

from paddock.api.door.pace import Limits
from paddock.protocol import Text
from tests.api.conftest import serving
from tests.api.door.sockets import connected
from tests.chaos.roads import percentile
from tests.door_floods.floods import KINDS, flood, waits_of
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

IMPATIENT = Limits(head_seconds=1.5, body_idle_seconds=1.5, stalled_seconds=1.5, rest_seconds=1.0)
CONNECTIONS = 60
MOST_GROWTH_BYTES = 48 * 2**20
"""Of server and client together: both are in this process."""


async def test_slow_connections_leave_normal_ones_their_time(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=IMPATIENT) as served:
        served.script().answer = (*[Text(content="x" * 1_000_000)] * 100, done())
        async with flood(served.url, CONNECTIONS) as slow:
            waits = await waits_of(served.url, lambda count: count >= 40)
        assert {kind: len(seconds) for kind, seconds in slow.seconds.items()} == dict.fromkeys(KINDS, CONNECTIONS // 6)
        await until(lambda: served.is_at_rest and not served.servers.made[0].active)
    assert percentile(waits, 0.5) < 1, "on a machine that may have other things to do"


async def test_endless_headers_and_bodies_cost_no_memory(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=IMPATIENT) as served:
        before = psutil.Process().memory_info().rss
        for head, piece in (
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"y" * 2**20),
            (
                b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"100000\r\n" + b" " * 2**20 + b"\r\n",
            ),
        ):
            async with connected(served.url, head) as (reader, writer):
                sent = 0
                try:
                    while sent < 200 and not reader.at_eof():
                        writer.write(piece)
                        await writer.drain()
                        sent += 1
                except ConnectionError:
                    pass
        assert psutil.Process().memory_info().rss - before < MOST_GROWTH_BYTES
        async with served.session.get(served.url) as response:
            assert response.status == 200
