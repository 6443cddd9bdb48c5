"""Servers of the campaigns, ended after each test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import roads
from tests.road.conftest import Road, stop_road

StartRoad = Callable[..., Road]


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A home in which even the path of a socket is short."""
    with tempfile.TemporaryDirectory(prefix="pd", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def start_fake(short_home: Path) -> Iterator[StartRoad]:
    """Starts servers with fake runners, one at a time in the same home."""
    yield from _starting(roads.start_fake, short_home)


@pytest.fixture
def start_real(short_home: Path) -> Iterator[StartRoad]:
    """Starts servers with real runners."""
    yield from _starting(roads.start_real, short_home)


def _starting(start_in: Callable[..., Road], home: Path) -> Iterator[StartRoad]:
    started: list[Road] = []

    def start(*arguments: object, **settings: str) -> Road:
        started.append(start_in(home, *arguments, **settings))
        return started[-1]

    yield start
    for road in started:
        if road.process.poll() is None:
            stop_road(road)
        road.client.close()
