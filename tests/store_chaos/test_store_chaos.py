"""The campaigns on the store: a short turn of each here, and the long ones of `make store-chaos`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.fake_hub import FakeHub
from tests.store_chaos import crash_points, full_disk, kills, operations


def scaled(count: int) -> int:
    """How often a campaign does its thing: CHAOS_SCALE=0.1 does a tenth of it."""
    return max(1, round(count * float(os.environ.get("CHAOS_SCALE", "1"))))


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub.running() as running:
        yield running


async def test_the_store_is_right_after_a_few_crashes_anywhere(hub: FakeHub, tmp_path: Path) -> None:
    figures = await crash_points.campaign(hub, tmp_path, 12)
    assert figures.crashes.total() == 12


async def test_a_few_random_operations_leave_nothing_missing_and_nothing_over(hub: FakeHub, tmp_path: Path) -> None:
    figures = await operations.campaign(hub, tmp_path, 80, tasks=2)
    assert (figures.failures, figures.missing, figures.orphans) == ([], 0, 0)
    assert figures.done.total() == 80


async def test_a_killed_server_leaves_a_right_store_and_the_next_goes_on(hub: FakeHub, tmp_path: Path) -> None:
    figures = await kills.Campaign(hub, tmp_path).run(1)
    assert (figures.kills, figures.whole) == (2, 1)


async def test_a_disk_that_is_full_at_a_few_points_costs_nothing(hub: FakeHub, tmp_path: Path) -> None:
    figures = await full_disk.campaign(hub, tmp_path, 8)
    assert figures.points.total() == 8


@pytest.mark.slow
async def test_a_thousand_simulated_crashes(hub: FakeHub, tmp_path: Path) -> None:
    figures = await crash_points.campaign(hub, tmp_path, scaled(1000))
    print(f"\n{figures}")


@pytest.mark.slow
async def test_a_hundred_kills_of_a_server_that_pulls(hub: FakeHub, tmp_path: Path) -> None:
    figures = await kills.Campaign(hub, tmp_path).run(scaled(100))
    print(f"\n{figures}")


@pytest.mark.slow
async def test_two_hundred_points_of_a_full_disk(hub: FakeHub, tmp_path: Path) -> None:
    figures = await full_disk.campaign(hub, tmp_path, scaled(200))
    print(f"\n{figures}")


@pytest.mark.slow
async def test_twenty_thousand_random_operations(hub: FakeHub, tmp_path: Path) -> None:
    figures = await operations.campaign(hub, tmp_path, scaled(20_000))
    print(f"\n{figures}")
    assert (figures.failures, figures.missing, figures.orphans) == ([], 0, 0)
