"""How long a runner lives: keep_alive, unload, other options, and the end of the server."""

from __future__ import annotations

import math

import pytest

from paddock.errors import (
    NeverFits,
    ServerClosing,
)
from paddock.scheduler import events
from paddock.scheduler.core import needs_figures
from paddock.scheduler.state import TRANSITIONS, Lifecycle
from tests.scheduler.worlds import KEEP_ALIVE, World, an_order

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
