"""What is done when others take the memory that was kept in reserve."""

from __future__ import annotations

import math

from paddock.scheduler import events
from paddock.scheduler.actions import ShrinkCaches, StopRunner
from paddock.scheduler.relief import EFFECT_SECONDS, SHRINK_SECONDS
from paddock.scheduler.state import Lifecycle
from tests.scheduler.worlds import World, supply_of

RESERVE_GB = 1.0


class ShortWorld(World):
    """A world with a reserve; `others_leave` sets what is free of it."""

    def others_leave(self, free_gb: float) -> None:
        self.free_gb = free_gb
        self.tell_memory()

    def tell_memory(self) -> None:
        self.send(events.MemoryChanged(self.now, supply_of(self.free_gb, reserve_gb=RESERVE_GB)))


def two_idle() -> ShortWorld:
    world = ShortWorld(free_gb=12)
    world.load_idle("old", 3)
    world.wait(30)
    world.load_idle("new", 3)
    return world


def test_caches_shrink_before_anybody_goes() -> None:
    world = two_idle()

    world.others_leave(0.5)

    assert sorted(action.key for action in world.of(ShrinkCaches)) == ["new", "old"]
    assert world.stops() == []
    assert "free memory is 500 MB, below the reserve of 1.0 GB" in world.of(ShrinkCaches)[0].why


def test_the_idle_model_that_is_missed_least_goes_when_that_does_not_help() -> None:
    world = two_idle()
    world.others_leave(0.5)

    world.wait(EFFECT_SECONDS)

    assert world.stops() == ["old"]
    assert "below the reserve" in world.of(StopRunner)[0].why


def test_the_next_one_goes_only_when_the_memory_of_the_first_is_back_and_does_not_suffice() -> None:
    world = two_idle()
    world.others_leave(0.1)
    world.wait(EFFECT_SECONDS * 3)
    assert world.stops() == ["old"]

    world.stopped("old")
    world.others_leave(0.4)
    world.wait(EFFECT_SECONDS)

    assert world.stops() == ["old", "new"]


def test_nobody_goes_when_shrinking_was_enough() -> None:
    world = two_idle()
    world.others_leave(0.5)
    world.others_leave(1.5)

    world.wait(60)

    assert world.stops() == []
    assert world.state.shrunk_at == {}


def test_a_busy_model_never_goes() -> None:
    world = ShortWorld(free_gb=12)
    world.load("busy", 3)
    world.others_leave(0)

    world.wait(60)

    assert world.stops() == []
    assert world.lifecycle("busy") is Lifecycle.READY


def test_a_pinned_model_does_not_go_because_memory_is_short() -> None:
    world = ShortWorld(free_gb=12)
    world.load_idle("pinned", 3, keep_alive=math.inf)
    world.others_leave(0)

    world.wait(60)

    assert world.stops() == []


def test_caches_that_have_grown_again_shrink_again() -> None:
    world = ShortWorld(free_gb=12)
    world.load("busy", 3)
    world.others_leave(0.5)

    world.wait(SHRINK_SECONDS)
    world.tell_memory()

    assert len(world.of(ShrinkCaches)) == 2


def test_a_budget_of_the_settings_is_watched_like_the_machine() -> None:
    world = ShortWorld(free_gb=40)
    world.load_idle("a", 3)
    world.state.policy = type(world.state.policy)(memory_limit_bytes=2_000_000_000)

    world.tell_memory()
    world.wait(EFFECT_SECONDS)

    assert world.stops() == ["a"]
