"""How many requests a runner is given at once, and that the others wait where they count."""

from __future__ import annotations

import pytest

from paddock.errors import Busy
from paddock.scheduler import events
from paddock.scheduler.core import needs_figures
from paddock.scheduler.state import Lifecycle
from tests.scheduler.worlds import World, a_policy, an_order


def narrow(lookahead: int = 1, **settings: int) -> World:
    return World(free_gb=10, policy=a_policy(lookahead=lookahead, **settings))


def test_a_runner_is_given_what_it_serves_at_once_and_one_more() -> None:
    world = narrow()
    first, second = world.load("a"), world.request("a")
    third = world.request("a")

    assert world.is_granted(second)
    assert world.is_waiting(third)
    world.release(first)
    assert world.is_granted(third)


def test_a_runner_for_more_sequences_is_given_more() -> None:
    world = narrow()
    world.load("a")
    world.resident("a").order = world.resident("a").order.with_options(
        type(world.resident("a").order.options)(num_ctx=4096, parallel=4)
    )
    granted = [world.is_granted(world.request("a")) for _ in range(6)]

    assert granted == [True] * 4 + [False] * 2


def test_within_a_model_the_first_to_come_is_the_first_to_be_served() -> None:
    world = narrow(lookahead=0)
    lease = world.load("a")
    waiting = [world.request("a") for _ in range(3)]

    for waiter in waiting:
        world.release(lease)
        assert [world.is_granted(other) for other in waiting] == [other <= waiter for other in waiting]
        lease = waiter


def test_who_only_wants_the_model_to_be_there_does_not_wait_for_those_who_use_it() -> None:
    world = narrow(lookahead=0)
    world.load("a")
    blocked = world.request("a")
    visitor = 99
    world.send(events.Requested(world.now, visitor, an_order("a"), None, takes_slot=False))

    assert world.is_granted(visitor)
    assert world.is_waiting(blocked)
    world.release(visitor)
    assert world.resident("a").visits == set()


def test_the_queue_of_a_loaded_model_has_the_same_bound() -> None:
    world = narrow(lookahead=0, max_queue=2)
    world.load("a")
    kept = [world.request("a"), world.request("a")]

    refused = world.request("a")

    assert isinstance(world.error_of(refused), Busy)
    assert all(world.is_waiting(waiter) for waiter in kept)


@pytest.mark.parametrize("others", [0, 16, 40])
def test_a_waiter_waits_for_few_answers_of_a_busy_model_however_many_want_it(others: int) -> None:
    """Those before it, at most sixteen after it, and no more than the runner had then."""
    world = narrow()
    leases = [world.load("a", 8)]
    big = world.request("b", 8)
    waiting = [world.request("a", 8) for _ in range(others)]
    answers = 0
    while world.lifecycle("a") is Lifecycle.READY:
        leases += [waiter for waiter in waiting if world.is_granted(waiter) and waiter not in leases]
        world.release(leases[answers])
        answers += 1
    world.stopped("a")
    world.ready("b")

    assert world.is_granted(big)
    assert answers == 1 + min(others, 16)


def test_waiting_for_a_place_reads_no_figures() -> None:
    world = narrow(lookahead=0)
    lease = world.load("a")
    waiting = events.Requested(world.now, 99, an_order("a"))

    assert not needs_figures(world.state, waiting)
    world.send(waiting)
    assert not needs_figures(world.state, events.Released(world.now, lease))


def test_a_load_that_ends_while_another_starves_serves_only_as_many_as_fit_into_it_first() -> None:
    world = narrow(max_overtaken=1)
    lease = world.load("busy", 6)
    big = world.request("big", 9)
    waiting = [world.request("slow", 3) for _ in range(5)]
    world.release(lease)
    assert world.stops() == []  # evicting it would not make enough room while the other loads

    world.ready("slow")
    assert [world.is_granted(waiter) for waiter in waiting] == [True, True, False, False, False]
    world.release(*waiting[:2])
    assert sorted(world.stops()) == ["busy", "slow"]
    world.stopped("busy")
    world.stopped("slow")
    world.ready("big")

    assert world.is_granted(big)
    assert not any(world.is_granted(waiter) for waiter in waiting[2:])
