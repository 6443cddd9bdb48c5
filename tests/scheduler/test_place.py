"""Which place in the queue a request is told, and when it is told none."""

from __future__ import annotations

from paddock.scheduler.views import place_of
from tests.scheduler.worlds import World, a_policy


def places(world: World, *waiters: int) -> list[int | None]:
    return [place_of(world.state, waiter) for waiter in waiters]


def test_who_waits_behind_those_who_are_served_has_a_place_that_falls() -> None:
    world = World(policy=a_policy(lookahead=0))
    lease = world.load("a")
    waiters = [world.request("a") for _ in range(3)]
    assert places(world, *waiters) == [1, 2, 3]

    world.release(lease)

    assert places(world, *waiters) == [None, 1, 2]


def test_who_is_served_has_no_place_and_nobody_is_no_one() -> None:
    world = World()

    assert places(world, world.load("a"), 99) == [None, None]


def test_who_waits_for_a_load_alone_has_no_place() -> None:
    world = World(policy=a_policy(lookahead=1))
    waiters = [world.request("a") for _ in range(3)]

    assert places(world, *waiters) == [None, None, 3]


def test_who_waits_for_another_model_to_come_to_rest_has_a_place() -> None:
    world = World(free_gb=10)
    busy = world.load("busy", 8)
    blocked = world.request("big", 8)
    assert places(world, blocked) == [1]

    world.release(busy)
    world.stopped("busy")

    assert places(world, blocked) == [None], "it loads"
