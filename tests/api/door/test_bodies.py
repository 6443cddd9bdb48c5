"""All bodies together are bounded: large ones are turned away for a moment, small ones never are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from paddock.api.door.bodies import FREE_BYTES, Bodies
from paddock.errors import Busy
from paddock.protocol import Text
from tests.api.conftest import serving
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

MIB = 1024 * 1024
LARGE = 800_000
HELLO = {"model": "tiny", "prompt": "hi", "stream": False}


def test_what_is_held_is_given_back() -> None:
    bodies = Bodies(100)
    with bodies.hold() as first, bodies.hold() as second:
        first.grow(FREE_BYTES)
        assert bodies.held_bytes == 0
        for _ in range(3):
            first.grow(30)
        with pytest.raises(Busy) as caught:
            second.grow(FREE_BYTES + 11)
        assert caught.value.retry_after_seconds > 0
        assert bodies.held_bytes == 90
    assert bodies.held_bytes == 0


def test_without_a_limit_everything_fits() -> None:
    with (bodies := Bodies()).hold() as hold:
        hold.grow(2**40)
    assert bodies.held_bytes == 0


async def test_a_large_body_beside_another_is_turned_away_until_that_one_was_served(tmp_path: Path) -> None:
    async with serving(tmp_path, body_memory_bytes=MIB) as served:
        gate = asyncio.Event()
        served.script().answer = (gate, Text(content="hi"), done())
        large = HELLO | {"prompt": "x" * LARGE}

        first = asyncio.create_task(served.post("/api/generate", large))
        await until(lambda: served.servers.made and served.servers.made[0].active == 1)
        async with served.session.post(served.url + "/api/generate", json=large) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert "as large together as they may be" in (await response.json())["error"]
        async with served.session.get(served.url + "/metrics") as response:
            held = next(line for line in (await response.text()).splitlines() if line.startswith("paddock_body_bytes"))
        assert float(held.split()[1]) == pytest.approx(LARGE - FREE_BYTES, abs=1000)
        gate.set()
        small, (status, _) = await asyncio.gather(served.post("/api/generate", HELLO), first)

        assert (small[0], status) == (200, 200)
        assert (await served.post("/api/generate", large))[0] == 200
        await until(lambda: served.is_at_rest)


async def test_a_client_that_goes_in_the_middle_of_its_body_gives_its_bytes_back(tmp_path: Path) -> None:
    async with serving(tmp_path, body_memory_bytes=MIB) as served:
        address = served.url.removeprefix("http://").split(":")
        for _ in range(3):
            _, writer = await asyncio.open_connection(address[0], int(address[1]))
            writer.write(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n")
            writer.write(b" " * LARGE)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def status_of_a_large_one() -> int:
            return (await served.post("/api/generate", HELLO | {"prompt": "x" * LARGE}))[0]

        async with asyncio.timeout(5):
            while (status := await status_of_a_large_one()) == 503:
                pass
        assert status == 200
