"""A model that keeps crashing is refused before anybody has to make room for it."""

from __future__ import annotations

from paddock.errors import Busy, PaddockError
from paddock.scheduler import events
from paddock.scheduler.order import Load
from tests.scheduler.worlds import World, an_order, supply_of

CRASHES = Busy("The model 'bad' keeps crashing.", 9.0)


class RefusingWorld(World):
    """A world in which some loads are refused."""

    refused: dict[Load, PaddockError]

    def __post_init__(self) -> None:
        self.refused = {}
        super().__post_init__()

    def refuse(self, name: str, **fixed: int) -> None:
        self.refused[an_order(name, **fixed).load] = CRASHES
        self.tell_memory()

    def tell_memory(self) -> None:
        self.send(events.MemoryChanged(self.now, supply_of(self.free_gb), refused=self.refused))


def test_nobody_is_evicted_for_a_model_that_keeps_crashing() -> None:
    world = RefusingWorld(free_gb=4)
    world.load_idle("good", 3)
    world.refuse("bad")

    waiter = world.request("bad", 3)

    assert world.error_of(waiter) is CRASHES
    assert world.stops() == []
    assert world.started() == ["good"]


def test_it_is_refused_at_once_where_it_would_have_to_wait() -> None:
    world = RefusingWorld(free_gb=4)
    world.load("good", 3)
    waiting = world.request("bad", 3)
    assert world.is_waiting(waiting)

    world.refuse("bad")

    assert world.error_of(waiting) is CRASHES


def test_its_runner_with_other_options_is_not_ended_for_it() -> None:
    world = RefusingWorld()
    world.load_idle("bad", num_ctx=2048)
    world.refuse("bad", num_ctx=8192)

    waiter = world.request("bad", num_ctx=8192)

    assert world.error_of(waiter) is CRASHES
    assert world.stops() == []


def test_the_same_model_with_other_options_is_loaded() -> None:
    world = RefusingWorld()
    world.refuse("bad", num_ctx=8192)

    waiter = world.load("bad", num_ctx=2048)

    assert world.is_granted(waiter)


def test_it_is_tried_again_once_it_is_no_longer_refused() -> None:
    world = RefusingWorld()
    world.refuse("bad")
    world.request("bad")
    world.refused.clear()
    world.tell_memory()

    assert world.is_granted(world.load("bad"))
