"""Idle runners whose footprint has drifted are ended; everyone else is left alone."""

from __future__ import annotations

import math

import pytest

from paddock.protocol import MemoryTerms
from paddock.scheduler import events
from paddock.scheduler.actions import StopRunner
from paddock.scheduler.recycle import DRIFT_BYTES, DRIFT_SHARE, drift_bytes
from paddock.scheduler.state import Lifecycle, Policy
from tests.scheduler.worlds import GB, World, supply_of

MUCH_BYTES = DRIFT_BYTES + 1
SETTLED_SECONDS = Policy().settled_seconds
LONG = 2 * SETTLED_SECONDS
"""A keep_alive."""


def drift(world: World, name: str, drifted_bytes: int, after_seconds: float = SETTLED_SECONDS) -> None:
    """The figures say that this runner has drifted so far."""
    world.wait(after_seconds)
    generation = world.resident(name).generation
    world.send(events.MemoryChanged(world.now, supply_of(world.free_gb), {}, {generation: drifted_bytes}))


def test_an_idle_runner_that_has_drifted_is_ended_and_the_log_says_why() -> None:
    world = World()
    world.load_idle("tiny", keep_alive=LONG)

    drift(world, "tiny", MUCH_BYTES)

    (stop,) = world.of(StopRunner)
    assert stop.why == "it holds 268 MB more than after its load, which its model does not explain"


def test_one_that_was_loaded_a_little_while_ago_still_fills_its_buffers() -> None:
    world = World()
    world.load_idle("tiny", keep_alive=LONG)

    drift(world, "tiny", 10 * GB, after_seconds=SETTLED_SECONDS - 1)
    assert world.stops() == []
    drift(world, "tiny", 10 * GB, after_seconds=1)

    assert world.stops() == ["tiny"]


def test_the_next_request_loads_it_anew() -> None:
    world = World()
    world.load_idle("tiny", keep_alive=LONG)
    drift(world, "tiny", MUCH_BYTES)
    waiter = world.request("tiny")
    world.stopped("tiny")

    assert world.started() == ["tiny", "tiny"]
    world.ready("tiny")
    assert world.is_granted(waiter)
    assert world.resident("tiny").drift_bytes == 0


def test_a_busy_one_goes_only_when_its_last_request_has_ended() -> None:
    world = World()
    lease = world.load("tiny", keep_alive=LONG)
    drift(world, "tiny", MUCH_BYTES)
    assert world.stops() == []

    world.release(lease)

    assert world.stops() == ["tiny"]


def test_one_that_somebody_waits_for_serves_them_first() -> None:
    world = World()
    first = world.load("tiny", keep_alive=LONG)
    drift(world, "tiny", MUCH_BYTES)
    second = world.request("tiny")
    world.release(first)
    assert world.is_granted(second)
    assert world.stops() == []

    world.release(second)

    assert world.stops() == ["tiny"]


def test_a_pinned_one_stays() -> None:
    world = World()
    world.load_idle("tiny", keep_alive=math.inf)

    drift(world, "tiny", 10 * GB)

    assert world.lifecycle("tiny") is Lifecycle.READY


@pytest.mark.parametrize(("size_gb", "drifted_bytes"), [(0.1, DRIFT_BYTES), (4.0, int(4 * GB * DRIFT_SHARE))])
def test_a_drift_below_the_floor_or_the_share_is_none(size_gb: float, drifted_bytes: int) -> None:
    world = World()
    world.load_idle("tiny", size_gb, keep_alive=LONG)
    drift(world, "tiny", drifted_bytes)
    assert world.stops() == []

    drift(world, "tiny", drifted_bytes + 1, after_seconds=0)

    assert world.stops() == ["tiny"]


READY = MemoryTerms(private_bytes=1000, active_bytes=600, cache_bytes=100)


@pytest.mark.parametrize(
    ("now", "drifted_bytes"),
    [
        (READY, 0),
        (MemoryTerms(private_bytes=1500, active_bytes=600, cache_bytes=100), 500),
        (MemoryTerms(private_bytes=1500, active_bytes=900, cache_bytes=300), 0),
        (MemoryTerms(private_bytes=1500, active_bytes=800, cache_bytes=100), 300),
        (MemoryTerms(private_bytes=1500, active_bytes=600, cache_bytes=0), 500),
        (MemoryTerms(private_bytes=800, active_bytes=600, cache_bytes=100), 0),
    ],
)
def test_what_arrays_have_grown_by_is_no_drift(now: MemoryTerms, drifted_bytes: int) -> None:
    assert drift_bytes(READY, now) == drifted_bytes
