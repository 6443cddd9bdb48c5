"""What a dry run says: the same as a load would find, and nothing changes by asking."""

from __future__ import annotations

import copy
from dataclasses import replace

from paddock.memory.estimate import Need
from paddock.memory.fit import Evict, Fits, MustWait, NeverFits
from paddock.scheduler.order import LoadOrder
from paddock.scheduler.preview import Preview, preview, word_of
from paddock.supervisor.model_server import RunnerOptions
from tests.scheduler.worlds import GB, World, an_order


def ask(world: World, wanted: LoadOrder) -> Preview:
    before = copy.deepcopy(world.state)
    found = preview(world.state, wanted, world.now)
    assert world.state == before
    return found


def idle(world: World, name: str, size_gb: float) -> None:
    waiter = world.request(name, size_gb)
    world.ready(name)
    world.release(waiter)
    world.wait(1.0)


def test_what_there_is_room_for_fits() -> None:
    found = ask(World(free_gb=16), an_order("a", 10))

    assert isinstance(found.verdict, Fits)
    assert (word_of(found.verdict), found.victims, found.is_loaded) == ("fits", (), False)
    assert found.pool is not None
    assert found.pool.free_bytes == 16 * GB


def test_who_would_be_evicted_is_named() -> None:
    world = World(free_gb=16)
    idle(world, "old", 6)
    idle(world, "new", 6)

    found = ask(world, an_order("a", 8))

    assert isinstance(found.verdict, Evict)
    assert found.victims == ("old:latest",)
    assert word_of(found.verdict) == "evicts"


def test_what_is_busy_is_waited_for() -> None:
    world = World(free_gb=16)
    world.request("busy", 12)
    world.ready("busy")

    found = ask(world, an_order("a", 8))

    assert isinstance(found.verdict, MustWait)
    assert word_of(found.verdict) == "waits"


def test_what_never_fits_says_so_with_its_terms() -> None:
    found = ask(World(free_gb=4), an_order("a", 8))

    assert isinstance(found.verdict, NeverFits)
    assert "weights 8.0 GB" in found.verdict.why
    assert word_of(found.verdict) == "never"


def test_a_loaded_model_is_there_already() -> None:
    world = World()
    idle(world, "a", 2)

    assert ask(world, an_order("a", 2)).is_loaded
    assert not ask(world, an_order("a", 2, num_ctx=512)).is_loaded


def test_its_own_runner_is_not_in_the_way_of_another_context() -> None:
    world = World(free_gb=16)
    idle(world, "a", 10)

    found = ask(world, an_order("a", 10, num_ctx=512))

    assert found.victims == ()


def need_of(options: RunnerOptions) -> Need:
    return Need(GB, options.parallel * options.num_ctx * 1_000_000, 0, 0)


def test_what_nobody_fixed_is_lowered_and_shown() -> None:
    options = RunnerOptions(num_ctx=8192, parallel=4)
    made = replace(an_order("a"), options=options, need=need_of(options), need_of=need_of)
    open_order = replace(made, is_parallel_fixed=False, is_num_ctx_fixed=False)
    fixed_order = replace(made, is_parallel_fixed=True, is_num_ctx_fixed=True)
    world = World(free_gb=16)

    found = ask(world, open_order)

    assert isinstance(found.verdict, Fits)
    assert (found.order.options.parallel, found.order.options.num_ctx) == (1, 8192)
    assert found.asked is open_order
    assert isinstance(ask(world, fixed_order).verdict, NeverFits)
