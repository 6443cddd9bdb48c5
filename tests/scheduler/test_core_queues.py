"""Queues: their bound, and how often a waiter is overtaken."""

from __future__ import annotations

from paddock.errors import (
    Busy,
)
from paddock.scheduler.state import Lifecycle, Policy
from tests.scheduler.worlds import World, a_policy

MAX_OVERTAKEN = Policy().max_overtaken


# ---- queues


def test_more_than_the_queue_holds_is_refused() -> None:
    world = World(free_gb=10, policy=a_policy(max_queue=2))
    world.load("a", 8)
    kept = [world.request("b", 8), world.request("c", 8)]

    refused = world.request("d", 8)

    error = world.error_of(refused)
    assert isinstance(error, Busy)
    assert error.retry_after_seconds > 0
    assert all(world.is_waiting(waiter) for waiter in kept)


def test_a_full_queue_does_not_refuse_what_is_loaded() -> None:
    world = World(free_gb=10, policy=a_policy(max_queue=1))
    world.load("a", 8)
    world.request("b", 8)

    assert world.is_granted(world.request("a", 8))


def test_a_queue_has_room_again_when_one_leaves() -> None:
    world = World(free_gb=10, policy=a_policy(max_queue=1))
    world.load("a", 8)
    world.cancel(world.request("b", 8))

    assert world.is_waiting(world.request("c", 8))


def test_a_blocked_model_does_not_hold_up_one_that_fits() -> None:
    world = World(free_gb=10)
    world.load("a", 8)
    blocked = world.request("b", 8)

    small = world.load("c", 1)

    assert world.is_waiting(blocked)
    assert world.is_granted(small)


def test_a_waiter_is_overtaken_only_so_often_by_other_loads() -> None:
    world = World(free_gb=10)
    world.load("busy", 8)
    big = world.request("big", 8)

    for turn in range(MAX_OVERTAKEN + 3):
        small = world.request(f"s{turn}", 1)
        if f"s{turn}" in world.state.residents:
            world.ready(f"s{turn}")
            world.release(small)
            world.unload(f"s{turn}")
            world.stopped(f"s{turn}")

    assert len(world.started()) == 1 + MAX_OVERTAKEN
    assert world.is_waiting(big)


def test_several_loads_at_once_count_one_by_one() -> None:
    world = World(free_gb=10, policy=a_policy(max_overtaken=1))
    lease = world.load("busy", 5)
    world.load("other", 5)
    big = world.request("big", 9)
    first, second = world.request("s1", 1), world.request("s2", 1)

    world.release(lease)
    world.unload("busy")
    world.stopped("busy")

    assert world.is_waiting(big)
    assert world.lifecycle("s1") is Lifecycle.LOADING
    assert world.lifecycle("s2") is None
    assert world.is_waiting(first)
    assert world.is_waiting(second)


def test_a_starving_waiter_gets_its_turn_and_those_it_held_up_follow() -> None:
    world = World(free_gb=10)
    lease = world.load("busy", 8)
    big = world.request("big", 8)
    for turn in range(MAX_OVERTAKEN):
        world.load_idle(f"s{turn}", 0.1)
    held_up = world.request("late", 0.1)
    assert world.is_waiting(held_up)

    world.release(lease)
    world.stopped("busy")
    assert world.lifecycle("big") is Lifecycle.LOADING
    assert world.lifecycle("late") is Lifecycle.LOADING
    world.ready("big")
    world.ready("late")

    assert world.is_granted(big)
    assert world.is_granted(held_up)


def test_a_model_in_the_way_that_never_rests_is_made_to() -> None:
    world = World(free_gb=10)
    lease = world.load("a", 8)
    big = world.request("b", 8)
    granted = 0
    for _ in range(MAX_OVERTAKEN + 5):
        follower = world.request("a", 8)
        if not world.is_granted(follower):
            break
        granted += 1
        world.release(lease)
        lease = follower
    assert granted == MAX_OVERTAKEN

    world.release(lease)
    assert world.stops() == ["a"]
    world.stopped("a")
    world.ready("b")

    assert world.is_granted(big)
    assert world.is_waiting(follower)
    world.release(big)
    world.stopped("b")
    world.ready("a")
    assert world.is_granted(follower)


def test_those_held_back_go_on_when_the_starving_one_leaves() -> None:
    world = World(free_gb=10)
    world.load("a", 8)
    big = world.request("b", 8)
    for _ in range(MAX_OVERTAKEN):
        world.request("a", 8)
    held_back = world.request("a", 8)
    assert world.is_waiting(held_back)

    world.cancel(big)

    assert world.is_granted(held_back)


def test_those_held_back_go_on_when_another_turns_out_to_be_the_one_in_the_way() -> None:
    world = World(free_gb=12)
    lease = world.load("m", 6)
    world.wait(1)
    world.load("n", 6)
    world.request("b", 6)
    for _ in range(MAX_OVERTAKEN):
        world.request("m", 6)
    held_back = world.request("m", 6)
    assert world.is_waiting(held_back)

    world.wait(1)
    world.release(lease)

    assert world.is_granted(held_back)


def test_a_model_that_is_held_back_does_not_expire_meanwhile() -> None:
    world = World(free_gb=12)
    world.load("x", 6)
    lease = world.load("a", 2, keep_alive=5)
    big = world.request("b", 12)
    for _ in range(MAX_OVERTAKEN):
        world.release(world.request("a", 2))
    held_back = world.request("a", 2)
    assert world.is_waiting(held_back)
    world.release(lease)
    world.wait(10)
    world.unload("somebody else")
    assert "a" not in world.stops()

    world.cancel(big)

    assert world.is_granted(held_back)


def test_those_who_waited_for_a_load_are_served_even_if_it_is_in_the_way() -> None:
    world = World(free_gb=10)
    lease = world.load("busy", 6)
    big = world.request("big", 9)
    world.request("slow", 3)
    for turn in range(MAX_OVERTAKEN - 1):
        world.load_idle(f"s{turn}", 0.01)
    attached = world.request("slow", 3)
    world.release(lease)
    assert world.is_waiting(big)

    world.ready("slow")

    assert world.is_granted(attached)


def test_who_waits_behind_the_first_of_a_model_is_not_overtaken_more_often() -> None:
    world = World(free_gb=10, policy=a_policy(max_overtaken=1))
    world.load("busy", 8)
    first, second = world.request("big", 8), world.request("big", 8)
    world.load_idle("s1", 0.1)
    world.cancel(first)

    late = world.request("s2", 0.1)

    assert world.is_waiting(late)
    assert world.is_waiting(second)
