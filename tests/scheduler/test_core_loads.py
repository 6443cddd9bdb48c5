"""Loads: who shares them, who leaves them, and how they end. The world plays the machine; no clock, no process."""

from __future__ import annotations

import pytest

from paddock.errors import (
    Cancelled,
    DamagedModel,
    LoadFailed,
    OutOfMemory,
    UnsupportedModel,
)
from paddock.scheduler import events
from paddock.scheduler.actions import Grant, StartRunner
from paddock.scheduler.settle import UNWANTED_LOAD_SECONDS
from paddock.scheduler.state import Lifecycle
from tests.scheduler.worlds import KEEP_ALIVE, World

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
