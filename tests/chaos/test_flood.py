"""A runner that writes without end on stderr costs the server neither memory nor disk nor other models their time."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.chaos.conftest import StartRoad
from tests.chaos.roads import client, held_by, percentile, scaled, stream
from tests.chaos.test_runner_hangs import make_models
from tests.road.conftest import Road

GIB = 1024**3
QUICK_BYTES = 64 * 1024**2
MOST_GROWTH_BYTES = 8 * 1024**2
"""Of the server: the tail of an output is 256 KiB, and the allocator has its own mind about what it gives back."""
MOST_LOG_BYTES = 21 * 1024**2
"""Two files of 10 MiB."""


async def flood(start_fake: StartRoad, kind: str, size_bytes: int) -> float:
    """Have a model write so much before it loads, while another is asked again and again; seconds until it answers."""
    road = start_fake({}, FAKE_BEHAVIOURS=json.dumps({"m0:latest": {"flood_bytes": size_bytes, "flood_kind": kind}}))
    (name,) = make_models(road, 1)
    waits: list[float] = []
    async with client(300) as session:
        await stream(session, road.url)
        before, began = held_by(road), time.monotonic()
        flooding = asyncio.create_task(stream(session, road.url, name))
        while not flooding.done():
            asked = time.monotonic()
            assert (await stream(session, road.url)).lines[-1].get("done")
            waits.append(time.monotonic() - asked)
        seconds = time.monotonic() - began
        assert (await flooding).lines[-1].get("done")
    grown_bytes = held_by(road).private_bytes - before.private_bytes
    print(
        f"{size_bytes / 1024**2:.0f} MiB of {kind} in {seconds:.1f} s; server grew by {grown_bytes / 1024:.0f} KiB, "
        f"log {log_bytes(road) / 1024**2:.1f} MiB; others p99 {percentile(waits, 0.99):.3f} s, {len(waits)} answers"
    )
    assert grown_bytes <= MOST_GROWTH_BYTES
    assert 0 < log_bytes(road) <= MOST_LOG_BYTES
    assert percentile(waits, 0.99) < 1
    return seconds


def log_bytes(road: Road) -> int:
    return sum(path.stat().st_size for path in (road.home / "logs").glob("runner-m0*"))


async def test_a_flood_goes_by(start_fake: StartRoad) -> None:
    assert await flood(start_fake, "lines", QUICK_BYTES) < 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lines", "one_line", "invalid"])
async def test_a_gibibyte_goes_by(start_fake: StartRoad, kind: str) -> None:
    assert await flood(start_fake, kind, scaled(GIB)) < 240
