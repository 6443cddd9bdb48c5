"""The pure core: what it decides on each event. The world plays the machine; there is no clock and no process."""

from __future__ import annotations

import math

import pytest

from paddock.errors import (
    Busy,
    Cancelled,
    DamagedModel,
    LoadFailed,
    NeverFits,
    OutOfMemory,
    ServerClosing,
    UnsupportedModel,
)
from paddock.scheduler import events
from paddock.scheduler.actions import Grant, StartRunner
from paddock.scheduler.core import needs_figures
from paddock.scheduler.settle import UNWANTED_LOAD_SECONDS
from paddock.scheduler.state import RETURN_SECONDS, TRANSITIONS, Lifecycle, Policy
from tests.scheduler.worlds import KEEP_ALIVE, World, a_policy, an_order

MAX_OVERTAKEN = Policy().max_overtaken

# ---- loading and sharing


def test_a_request_for_a_cold_model_starts_it_and_is_granted_when_it_is_ready() -> None:
    world = World()
    waiter = world.request("a")
    assert world.started() == ["a"]
    assert not world.is_granted(waiter)

    world.ready("a")

    assert world.is_granted(waiter)
    assert world.resident("a").leases == {waiter}


def test_requests_for_one_model_share_one_runner() -> None:
    world = World()
    first, second = world.request("a"), world.request("a")
    world.ready("a")
    third = world.request("a")

    assert world.started() == ["a"]
    assert world.resident("a").leases == {first, second, third}


def test_a_grant_tells_how_long_the_request_waited_for_the_load() -> None:
    world = World()
    world.request("a")
    world.wait(3.0)
    world.ready("a")
    world.request("a")

    assert [grant.waited_seconds for grant in world.of(Grant)] == [3.0, 0.0]


def test_only_loads_beside_others_have_to_fit_in_full() -> None:
    world = World()
    world.load("a")
    world.load("b")

    assert [start.require_full for start in world.of(StartRunner)] == [False, True]


def test_a_lease_that_was_returned_twice_counts_once() -> None:
    world = World()
    first, second = world.load("a"), world.load("a")

    world.release(first, first)

    assert world.resident("a").leases == {second}


def test_a_lease_returned_after_its_runner_is_gone_does_no_harm() -> None:
    world = World()
    lease = world.load("a")
    world.exit("a")
    world.load("a")

    world.release(lease)

    assert len(world.resident("a").leases) == 1


# ---- attach, detach, cancel


def test_a_load_goes_on_when_its_first_requester_leaves() -> None:
    world = World()
    first, second = world.request("a"), world.request("a")

    world.cancel(first)
    world.wait(UNWANTED_LOAD_SECONDS * 2)
    world.ready("a")

    assert world.is_granted(second)
    assert not world.is_granted(first)
    assert world.stops() == []


def test_a_cancelled_waiter_is_answered() -> None:
    world = World()
    waiter = world.request("a")

    world.cancel(waiter)

    assert isinstance(world.error_of(waiter), Cancelled)


def test_a_load_that_nobody_waits_for_is_stopped_after_ten_seconds() -> None:
    world = World()
    world.cancel(world.request("a"))
    world.wait(UNWANTED_LOAD_SECONDS - 0.1)
    assert world.stops() == []

    world.wait(0.1)

    assert world.stops() == ["a"]


def test_a_waiter_that_comes_back_in_time_keeps_the_load() -> None:
    world = World()
    world.cancel(world.request("a"))
    world.wait(UNWANTED_LOAD_SECONDS - 1)
    second = world.request("a")
    world.wait(UNWANTED_LOAD_SECONDS)
    world.cancel(second)
    world.wait(UNWANTED_LOAD_SECONDS - 1)
    assert world.stops() == []

    world.wait(1)

    assert world.stops() == ["a"]


def test_a_load_that_ends_after_its_waiters_left_stays_for_its_keep_alive() -> None:
    world = World()
    world.cancel(world.request("a", keep_alive=0))
    world.wait(5)
    world.ready("a")
    world.wait(KEEP_ALIVE - 1)
    assert world.stops() == []

    world.wait(1)

    assert world.stops() == ["a"]


def test_a_cancelled_waiter_does_not_evict() -> None:
    world = World(free_gb=10)
    lease = world.load("a", 8)
    waiter = world.request("b", 8)

    world.cancel(waiter)
    world.release(lease)

    assert world.stops() == []
    assert world.lifecycle("a") is Lifecycle.READY


def test_cancelling_the_one_in_front_lets_the_next_one_through() -> None:
    world = World()
    world.load("a")
    front = world.request("a", num_ctx=8192)
    behind = world.request("a")
    assert not world.is_granted(behind)

    world.cancel(front)

    assert world.is_granted(behind)


def test_a_cancel_that_crosses_its_grant_returns_the_lease() -> None:
    world = World()
    lease = world.load("a")

    world.cancel(lease)

    assert world.resident("a").is_idle


def test_a_cancel_for_somebody_unknown_does_no_harm() -> None:
    world = World()
    world.cancel(77)

    assert world.actions == []


def test_ready_after_stop_is_too_late() -> None:
    world = World()
    world.cancel(world.request("a"))
    world.wait(UNWANTED_LOAD_SECONDS)
    world.ready("a")
    waiter = world.request("a")
    assert world.lifecycle("a") is Lifecycle.STOPPING

    world.stopped("a")

    assert world.started() == ["a", "a"]
    assert world.is_waiting(waiter)


# ---- failed loads, exits


@pytest.mark.parametrize("kind", [LoadFailed, OutOfMemory, UnsupportedModel, DamagedModel])
def test_a_failed_load_gives_its_error_to_all_who_waited_and_leaves_nothing(kind: type[LoadFailed]) -> None:
    world = World()
    first, second = world.request("a"), world.request("a")

    error = kind("It did not load.")
    world.fail("a", error)

    assert world.error_of(first) is error
    assert world.error_of(second) is error
    assert world.state.residents == {}
    assert world.state.queues == {}


def test_the_next_request_after_a_failed_load_tries_again() -> None:
    world = World()
    world.request("a")
    world.fail("a", LoadFailed("It did not load."))

    waiter = world.request("a")
    world.ready("a")

    assert world.is_granted(waiter)


def test_a_failed_load_does_not_fail_those_behind_it_who_want_other_options() -> None:
    world = World()
    first = world.request("a")
    other = world.request("a", num_ctx=8192)
    behind = world.request("a")

    world.fail("a", LoadFailed("It did not load."))

    assert world.error_of(first)
    assert world.is_waiting(other)
    assert world.is_waiting(behind)
    assert world.started() == ["a", "a"]


def test_a_failed_load_of_one_generation_does_not_touch_the_next() -> None:
    world = World()
    world.request("a")
    world.fail("a", LoadFailed("It did not load."))
    waiter = world.request("a")

    world.send(events.LoadFailed(world.now, "a", 1, LoadFailed("It did not load.")))

    assert world.is_waiting(waiter)
    assert world.resident("a").generation == 2


def test_a_runner_that_exits_while_busy_is_no_longer_resident_and_is_loaded_anew() -> None:
    world = World()
    world.load("a")

    world.exit("a")
    assert world.state.residents == {}
    waiter = world.request("a")
    world.ready("a")

    assert world.is_granted(waiter)
    assert world.resident("a").generation == 2


def test_an_exit_makes_room_for_those_who_wait() -> None:
    world = World(free_gb=10)
    world.load("a", 8)
    waiter = world.request("b", 8)

    world.exit("a")
    assert world.is_waiting(waiter)
    world.wait(1)

    assert world.lifecycle("b") is Lifecycle.LOADING
    assert world.is_waiting(waiter)


def test_an_exit_while_stopping_changes_nothing_until_it_is_stopped() -> None:
    world = World()
    world.load_idle("a", keep_alive=0)
    world.send(events.Exited(world.now, "a", 1, "It was killed."))
    assert world.lifecycle("a") is Lifecycle.STOPPING

    world.stopped("a")

    assert world.state.residents == {}


# ---- keep_alive and unload


@pytest.mark.parametrize(("asked", "stays_seconds"), [(None, KEEP_ALIVE), (0, 0), (0.5, 0.5), (10, 10), (3600, 3600)])
def test_an_idle_model_goes_when_its_keep_alive_is_over(asked: float | None, stays_seconds: float) -> None:
    world = World()
    world.load_idle("a", keep_alive=asked)
    if stays_seconds:
        world.wait(stays_seconds - 0.25)
        assert world.stops() == []
        world.wait(0.25)

    assert world.stops() == ["a"]


def test_keep_alive_for_ever_never_ends() -> None:
    world = World()
    world.load_idle("a", keep_alive=math.inf)

    world.wait(1e9)

    assert world.stops() == []


def test_keep_alive_counts_from_the_end_of_the_last_request() -> None:
    world = World()
    lease = world.load("a", keep_alive=10)
    world.wait(100)
    assert world.stops() == []

    world.release(lease)
    world.wait(9)
    assert world.stops() == []
    world.wait(1)

    assert world.stops() == ["a"]


@pytest.mark.parametrize(("first", "second", "stays"), [(10, None, 10), (10, 20, 20), (20, 10, 10), (math.inf, 5, 5)])
def test_a_request_overrides_the_keep_alive_of_a_loaded_model(first: float, second: float | None, stays: float) -> None:
    world = World()
    world.load_idle("a", keep_alive=first)
    world.load_idle("a", keep_alive=second)

    assert world.resident("a").keep_alive_seconds == stays


def test_a_new_request_cancels_the_expiry() -> None:
    world = World()
    world.load_idle("a", keep_alive=10)
    world.wait(9)
    world.load("a")

    world.wait(100)

    assert world.stops() == []


def test_a_timer_that_fires_for_nothing_does_no_harm() -> None:
    world = World()
    world.load("a", keep_alive=10)

    world.send(events.TimerFired(world.now))

    assert world.stops() == []


def test_unload_stops_an_idle_model_at_once() -> None:
    world = World()
    world.load_idle("a")

    world.unload("a")

    assert world.stops() == ["a"]


def test_unload_waits_for_a_busy_model() -> None:
    world = World()
    lease = world.load("a")
    world.unload("a")
    assert world.stops() == []

    world.release(lease)

    assert world.stops() == ["a"]


def test_unload_while_loading_serves_those_who_wait_first() -> None:
    world = World()
    waiter = world.request("a")
    world.unload("a")
    world.ready("a")
    assert world.is_granted(waiter)

    world.release(waiter)

    assert world.stops() == ["a"]


def test_unload_of_a_load_that_nobody_waits_for_stops_it_at_once() -> None:
    world = World()
    world.cancel(world.request("a"))

    world.unload("a")

    assert world.stops() == ["a"]


def test_unload_of_an_unknown_model_does_nothing() -> None:
    world = World()
    world.unload("a")

    assert world.actions == []


def test_a_stopping_model_that_is_asked_for_is_loaded_anew() -> None:
    world = World()
    world.load_idle("a", keep_alive=0)
    waiter = world.request("a")
    assert world.started() == ["a"]

    world.stopped("a")
    world.ready("a")

    assert world.is_granted(waiter)


# ---- other options


@pytest.mark.parametrize("fixed", [{"num_ctx": 8192}, {"num_batch": 64}, {"num_gpu": 0}, {"num_thread": 3}])
def test_other_options_reload_an_idle_model(fixed: dict[str, int]) -> None:
    world = World()
    world.load_idle("a")

    waiter = world.request("a", **fixed)
    assert world.stops() == ["a"]
    world.stopped("a")
    world.ready("a")

    assert world.is_granted(waiter)
    for name, value in fixed.items():
        assert getattr(world.resident("a").order.options, name) == value


@pytest.mark.parametrize(
    "fixed",
    [{}, {"num_ctx": 4096}, {"num_batch": 512}, {"num_gpu": -1}, {"num_gpu": 99}, {"num_thread": 0}],
)
def test_equal_or_open_options_need_no_reload(fixed: dict[str, int]) -> None:
    world = World()
    world.load_idle("a")

    waiter = world.request("a", **fixed)

    assert world.is_granted(waiter)


def test_what_is_not_fixed_matches_whatever_the_runner_has() -> None:
    world = World()
    world.load_idle("a", num_ctx=8192, num_thread=2)

    assert world.is_granted(world.request("a"))


def test_a_num_ctx_beyond_the_models_limit_is_compared_as_the_limit() -> None:
    world = World()
    world.load_idle("a", num_ctx=32768)

    assert world.is_granted(world.request("a", num_ctx=1_000_000))


def test_option_change_while_busy_deadlock_14407() -> None:
    world = World()
    lease = world.load("a")
    changed = world.request("a", num_ctx=8192)
    behind = world.request("a")
    other = world.load("b")
    assert world.stops() == []

    world.release(lease)
    assert world.stops() == ["a"]
    world.stopped("a")
    world.ready("a")

    assert world.is_granted(changed)
    assert world.is_granted(behind)
    assert world.is_granted(other)


def test_requests_before_a_reload_keep_the_old_runner_and_those_behind_get_the_new_one() -> None:
    world = World()
    before = world.load("a")
    world.request("a", num_ctx=8192)
    behind = world.request("a", num_ctx=4096)
    assert world.resident("a").leases == {before}

    world.release(before)
    world.stopped("a")
    world.ready("a")

    assert world.is_waiting(behind)
    assert world.resident("a").order.options.num_ctx == 8192


def test_two_options_in_turn_are_served_in_turn() -> None:
    world = World()
    waiters = [world.request("a", num_ctx=4096 if turn % 2 else 8192) for turn in range(4)]
    for waiter in waiters:
        world.ready("a")
        assert world.resident("a").leases == {waiter}
        world.release(waiter)
        if waiter != waiters[-1]:
            world.stopped("a")

    assert world.started() == ["a"] * 4


def test_a_load_whose_first_waiter_wants_other_options_is_not_finished_for_nobody() -> None:
    world = World()
    first = world.request("a")
    world.request("a", num_ctx=8192)

    world.cancel(first)

    assert world.stops() == ["a"]


def test_a_reload_that_would_never_fit_stops_nothing() -> None:
    world = World(free_gb=10)
    world.load_idle("a", 8)

    waiter = world.request("a", 11, num_ctx=8192)

    assert isinstance(world.error_of(waiter), NeverFits)
    assert world.stops() == []


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


# ---- the end


def test_shutdown_refuses_those_who_wait_and_stops_every_runner() -> None:
    world = World(free_gb=10)
    world.load("a", 4)
    loading = world.request("b", 4)
    blocked = world.request("c", 8)

    world.shut_down()

    assert isinstance(world.error_of(loading), ServerClosing)
    assert isinstance(world.error_of(blocked), ServerClosing)
    assert sorted(world.stops()) == ["a", "b"]


def test_requests_after_shutdown_are_refused() -> None:
    world = World()
    world.shut_down()

    assert isinstance(world.error_of(world.request("a")), ServerClosing)


def test_shutdown_does_not_stop_what_stops_already() -> None:
    world = World()
    world.load_idle("a", keep_alive=0)
    world.shut_down()

    assert world.stops() == ["a"]
    world.stopped("a")
    assert world.state.residents == {}


# ---- the table, and the figures


def test_the_dead_do_not_come_back() -> None:
    assert set(TRANSITIONS) == set(Lifecycle)
    assert TRANSITIONS[Lifecycle.GONE] == frozenset()
    world = World()
    world.load("a")
    with pytest.raises(AssertionError):
        world.resident("a").move(Lifecycle.LOADING)


def test_figures_are_wanted_only_where_they_can_matter() -> None:
    world = World()
    request = events.Requested(world.now, 99, an_order("a"))
    assert needs_figures(world.state, request)
    lease = world.load("a")

    assert not needs_figures(world.state, request)
    assert not needs_figures(world.state, events.Released(world.now, lease))
    assert needs_figures(world.state, events.Requested(world.now, 99, an_order("a", num_ctx=8192)))
    assert needs_figures(world.state, events.TimerFired(world.now))


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


def test_who_waits_behind_the_first_of_a_model_is_not_overtaken_more_often() -> None:
    world = World(free_gb=10, policy=a_policy(max_overtaken=1))
    world.load("busy", 8)
    first, second = world.request("big", 8), world.request("big", 8)
    world.load_idle("s1", 0.1)
    world.cancel(first)

    late = world.request("s2", 0.1)

    assert world.is_waiting(late)
    assert world.is_waiting(second)
