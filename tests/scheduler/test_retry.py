"""A load that runs out of memory: everybody idle goes, and it is tried once more with less."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from paddock.config import Config
from paddock.errors import LoadFailed, NeverFits, OutOfMemory
from paddock.memory.estimate import Need
from paddock.scheduler import events
from paddock.scheduler.actions import StartRunner
from paddock.scheduler.defaults import Machine
from paddock.scheduler.order import LoadOrder, LoadWish, order
from paddock.scheduler.state import RETURN_SECONDS
from tests.scheduler.worlds import GB, World, stored_model

ERROR = OutOfMemory("The model 'a' ran out of memory.")


def long_order(name: str = "a", **fixed: int) -> LoadOrder:
    """An order for 32768 tokens and 4 sequences that nobody fixed: 1 GB, and 1 GB for each 4096 tokens of each."""
    made = order(stored_model(name, digest=name), LoadWish(**fixed), Config(), Machine())

    def need_of(options: object) -> Need:
        return Need(1 * GB, options.num_ctx * options.parallel * GB // 4096, 0, 0)

    made = replace(made, need_of=need_of, is_parallel_fixed=False)
    return made.with_options(replace(made.options, parallel=4, num_ctx=fixed.get("num_ctx", 32768)))


def ask(world: World, wanted: LoadOrder, waiter_id: int = 900) -> int:
    world.send(events.Requested(world.now, waiter_id, wanted))
    return waiter_id


def started_with(world: World) -> list[tuple[int, int]]:
    return [(start.order.options.parallel, start.order.options.num_ctx) for start in world.of(StartRunner)]


# ---- lowered to fit


@pytest.mark.parametrize(
    ("free_gb", "expected"),
    [(40, (4, 32768)), (20, (2, 32768)), (9, (1, 32768)), (8, (1, 16384)), (3, (1, 8192)), (2, (1, 4096))],
)
def test_what_nobody_fixed_is_lowered_until_it_fits(free_gb: float, expected: tuple[int, int]) -> None:
    world = World(free_gb=free_gb)
    ask(world, long_order())

    assert started_with(world) == [expected]
    assert world.resident("a").order.need.total_bytes <= free_gb * GB


def test_the_reason_says_what_was_lowered() -> None:
    world = World(free_gb=8)
    ask(world, long_order())

    assert "with parallel 1 instead of 4 and num_ctx 16384 instead of 32768" in world.of(StartRunner)[0].why


def test_nothing_is_lowered_below_the_floor() -> None:
    world = World(free_gb=1.5)
    waiter = ask(world, long_order())

    assert isinstance(world.error_of(waiter), NeverFits)
    assert "needs 2.0 GB" in str(world.error_of(waiter))


def test_what_was_fixed_is_never_changed() -> None:
    world = World(free_gb=8)
    waiter = ask(world, long_order(num_ctx=32768))

    assert isinstance(world.error_of(waiter), NeverFits)
    assert started_with(world) == []


def test_others_are_evicted_before_anything_is_lowered() -> None:
    world = World(free_gb=34)
    world.load_idle("b", 20)
    ask(world, long_order())

    assert world.stops() == ["b"]
    world.stopped("b")
    assert started_with(world)[-1] == (4, 32768)


def test_a_lowered_runner_serves_those_who_fixed_nothing() -> None:
    world = World(free_gb=8)
    first = ask(world, long_order())
    world.ready("a")

    second = ask(world, long_order(), 901)

    assert world.is_granted(first)
    assert world.is_granted(second)
    assert world.stops() == []


# ---- tried again


def test_a_load_that_runs_out_of_memory_is_tried_again_with_the_least_when_all_idle_are_gone() -> None:
    world = World(free_gb=60)
    world.load_idle("b", 2)
    busy = world.load("c", 2)
    waiter = ask(world, long_order())

    world.fail("a", ERROR)
    assert world.stops() == ["b"]
    assert world.is_waiting(waiter)
    world.stopped("b")
    world.ready("a")

    assert started_with(world)[-1] == (1, 4096)
    assert world.is_granted(waiter)
    assert world.resident("c").leases == {busy}


def test_the_second_attempt_waits_until_the_memory_of_the_evicted_is_back() -> None:
    world = World(free_gb=60, has_slow_memory=True)
    world.load_idle("b", 2)
    ask(world, long_order())
    world.fail("a", ERROR)
    world.stopped("b")
    world.wait(1)
    assert world.started().count("a") == 1

    world.return_memory()

    assert world.started().count("a") == 2


def test_memory_that_does_not_come_back_is_not_waited_for_for_ever() -> None:
    world = World(free_gb=60, has_slow_memory=True)
    world.load_idle("b", 2)
    ask(world, long_order())
    world.fail("a", ERROR)
    world.stopped("b")

    world.wait(RETURN_SECONDS)

    assert world.started().count("a") == 2


def test_there_is_no_third_attempt() -> None:
    world = World(free_gb=60)
    waiter = ask(world, long_order())
    world.fail("a", ERROR)
    assert world.is_waiting(waiter)

    world.fail("a", ERROR)

    assert world.error_of(waiter) is ERROR
    assert world.state.retries == {}


def test_where_nothing_can_be_won_it_fails_at_once() -> None:
    world = World(free_gb=60)
    world.load("busy", 2)
    waiter = world.request("a", 2)

    world.fail("a", ERROR)

    assert world.error_of(waiter) is ERROR


def test_options_that_were_fixed_are_kept_in_the_second_attempt() -> None:
    world = World(free_gb=60)
    world.load_idle("b", 2)
    ask(world, replace(long_order(num_ctx=16384), is_parallel_fixed=True))

    world.fail("a", ERROR)
    world.stopped("b")

    assert started_with(world)[-1] == (4, 16384)


def test_another_failure_is_not_tried_again() -> None:
    world = World(free_gb=60)
    world.load_idle("b", 2)
    waiter = ask(world, long_order())

    world.fail("a", LoadFailed("It did not load."))

    assert isinstance(world.error_of(waiter), LoadFailed)
    assert world.stops() == []


def test_pinned_models_stay_where_others_can_go() -> None:
    world = World(free_gb=60)
    world.load_idle("pinned", 2, keep_alive=math.inf)
    world.load_idle("b", 2)
    ask(world, long_order())

    world.fail("a", ERROR)

    assert world.stops() == ["b"]


def test_a_second_attempt_that_nobody_waits_for_any_more_is_forgotten() -> None:
    world = World(free_gb=60)
    world.load_idle("b", 2)
    waiter = ask(world, long_order())
    world.fail("a", ERROR)

    world.cancel(waiter)
    world.stopped("b")

    assert world.started().count("a") == 1
    assert world.state.retries == {}


def test_who_wants_other_options_than_the_second_attempt_gets_a_first_one() -> None:
    world = World(free_gb=60)
    world.load_idle("b", 2)
    first = ask(world, long_order())
    ask(world, long_order(num_ctx=8192), 901)
    world.fail("a", ERROR)

    world.cancel(first)

    assert started_with(world)[-1] == (4, 8192)
    assert not world.resident("a").is_retry
