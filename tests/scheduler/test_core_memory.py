"""Memory and places: who is evicted for whom, who waits, and who is refused."""

from __future__ import annotations

import math

from paddock.errors import (
    NeverFits,
)
from paddock.scheduler import events
from paddock.scheduler.state import RETURN_SECONDS
from tests.scheduler.worlds import World, a_policy

# ---- memory


def test_models_that_fit_together_are_loaded_together() -> None:
    world = World(free_gb=16)
    for name in "abc":
        world.request(name, 5)

    assert world.started() == ["a", "b", "c"]


def test_memory_promised_to_a_loading_model_is_not_given_twice() -> None:
    world = World(free_gb=10)
    world.request("a", 6)

    waiter = world.request("b", 6)
    assert world.started() == ["a"]
    assert world.is_waiting(waiter)
    assert world.postponed()


def test_an_idle_model_is_evicted_for_one_that_needs_its_memory() -> None:
    world = World(free_gb=10)
    world.load_idle("a", 8)

    waiter = world.request("b", 8)
    assert world.stops() == ["a"]
    assert world.started() == ["a"]
    world.stopped("a")
    world.ready("b")

    assert world.is_granted(waiter)


def test_a_busy_model_is_waited_for_and_evicted_when_it_is_idle() -> None:
    world = World(free_gb=10)
    lease = world.load("a", 8)
    waiter = world.request("b", 8)
    assert world.stops() == []

    world.release(lease)
    world.stopped("a")
    world.ready("b")

    assert world.is_granted(waiter)


def test_only_as_many_are_evicted_as_make_room() -> None:
    world = World(free_gb=10)
    for name, size_gb in (("a", 1), ("b", 3), ("c", 3), ("d", 3)):
        world.load_idle(name, size_gb)
        world.wait(1)

    world.request("e", 3)

    assert world.stops() == ["b"]


def test_idle_ones_that_do_not_suffice_go_first_and_the_busy_one_follows() -> None:
    world = World(free_gb=24)
    world.load_idle("a", 1)
    busy = world.load("b", 10)
    world.load("c", 10)
    waiter = world.request("d", 13)
    assert world.stops() == []

    world.release(busy)
    assert world.stops() == ["b"]
    world.stopped("b")
    world.ready("d")

    assert world.is_granted(waiter)
    assert set(world.state.residents) == {"a", "c", "d"}


def test_what_never_fits_is_refused_at_once_and_evicts_nothing() -> None:
    world = World(free_gb=10)
    world.load_idle("a", 8)

    waiter = world.request("b", 12)

    error = world.error_of(waiter)
    assert isinstance(error, NeverFits)
    assert "needs 12.0 GB (weights 12.0 GB" in error.message
    assert "can give 10.0 GB" in error.message
    assert world.stops() == []


def test_a_pinned_model_is_evicted_last() -> None:
    world = World(free_gb=10)
    world.load_idle("a", 5, keep_alive=math.inf)
    world.wait(1000)
    world.load_idle("b", 5, keep_alive=math.inf)
    world.load_idle("b", 5, keep_alive=60)

    world.request("c", 5)

    assert world.stops() == ["b"]


def test_eviction_target_revived_deadlock_17408() -> None:
    world = World(free_gb=10)
    world.load_idle("victim", 8)
    newcomer = world.request("b", 8)
    assert world.stops() == ["victim"]

    revived = world.request("victim", 8)
    world.stopped("victim")
    world.ready("b")
    assert world.is_granted(newcomer)
    world.release(newcomer)
    world.stopped("b")
    world.ready("victim")

    assert world.is_granted(revived)


def test_a_waiter_that_leaves_after_its_eviction_leaves_the_machine_usable() -> None:
    world = World(free_gb=10)
    world.load_idle("a", 8)
    newcomer = world.request("b", 8)
    world.cancel(newcomer)
    waiter = world.request("a", 8)

    world.stopped("a")
    world.ready("a")

    assert world.is_granted(waiter)


def test_what_a_stopping_model_holds_is_not_evicted_for_twice() -> None:
    world = World(free_gb=12)
    world.load_idle("a", 6)
    world.wait(1)
    world.load_idle("b", 6)

    world.request("c", 6)
    world.request("d", 1)

    assert world.stops() == ["a"]


def test_a_load_waits_until_the_memory_of_the_stopped_one_is_back() -> None:
    world = World(free_gb=10, has_slow_memory=True)
    world.load_idle("a", 8)
    world.request("b", 8)
    world.stopped("a")
    world.wait(1)
    assert world.started() == ["a"]

    world.return_memory()

    assert world.started() == ["a", "b"]


def test_waiting_for_returning_memory_blocks_nobody_else() -> None:
    world = World(free_gb=10, has_slow_memory=True)
    world.load_idle("a", 8)
    world.request("b", 8)
    world.stopped("a")

    world.request("c", 2)

    assert world.started() == ["a", "c"]


def test_memory_that_does_not_come_back_is_waited_for_five_seconds() -> None:
    world = World(free_gb=10, has_slow_memory=True)
    world.load_idle("a", 8)
    waiter = world.request("b", 8)
    world.stopped("a")
    world.wait(RETURN_SECONDS - 0.1)
    assert world.is_waiting(waiter)

    world.wait(0.1)

    assert isinstance(world.error_of(waiter), NeverFits)


def test_memory_that_is_mostly_back_lets_another_go_instead() -> None:
    world = World(free_gb=12, has_slow_memory=True)
    world.load_idle("a", 8)
    world.wait(10)
    world.load_idle("z", 2)
    world.request("b", 9)
    assert world.stops() == ["a"]
    world.stopped("a")

    world.return_memory(share=0.8)

    assert world.stops() == ["a", "z"]


def test_the_memory_is_looked_at_until_it_is_back() -> None:
    world = World(free_gb=10, has_slow_memory=True)
    world.load_idle("a", 8)
    world.request("b", 8)
    world.stopped("a")
    polls = len(world.timers())

    world.wait(2)

    assert len(world.timers()) >= polls + 7


def test_an_idle_models_unfilled_context_is_kept_free_for_it() -> None:
    world = World(free_gb=10)
    world.request("a", 6)
    world.free_gb -= 1
    world.tell_memory()
    world.send(events.Ready(world.now, "a", 1, 1_000_000_000))

    world.request("b", 5)

    assert world.started() == ["a"]


def test_memory_that_others_take_is_seen() -> None:
    world = World(free_gb=10)
    world.free_gb = 3
    world.tell_memory()

    waiter = world.request("a", 8)

    assert isinstance(world.error_of(waiter), NeverFits)


# ---- the number of models


def test_max_loaded_models_evicts_for_a_place() -> None:
    world = World(policy=a_policy(max_loaded_models=2))
    world.load_idle("a")
    world.wait(1)
    world.load_idle("b")

    waiter = world.request("c")
    assert world.stops() == ["a"]
    assert world.started() == ["a", "b"]
    world.stopped("a")
    world.ready("c")

    assert world.is_granted(waiter)


def test_max_loaded_models_waits_for_busy_ones() -> None:
    world = World(policy=a_policy(max_loaded_models=1))
    lease = world.load("a")
    waiter = world.request("b")
    assert world.stops() == []

    world.release(lease)
    world.stopped("a")
    world.ready("b")

    assert world.is_granted(waiter)


def test_a_pinned_model_stays_where_a_busy_one_will_make_room() -> None:
    world = World(free_gb=4)
    world.load_idle("pinned", 2, keep_alive=math.inf)
    lease = world.load("busy", 2)
    waiter = world.request("new", 2)
    assert world.stops() == []

    world.release(lease)
    world.stopped("busy")
    world.ready("new")

    assert world.is_granted(waiter)
    assert world.stops() == ["busy"]


def test_a_pinned_model_goes_where_nothing_else_would_ever_make_room() -> None:
    world = World(free_gb=4)
    world.load_idle("pinned", 4, keep_alive=math.inf)

    world.request("new", 2)

    assert world.stops() == ["pinned"]
