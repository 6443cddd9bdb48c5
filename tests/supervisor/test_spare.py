"""The warm spare, with fakes as spares."""

import asyncio
import math
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from paddock.memory.devices import SystemMemory
from paddock.supervisor.spare import SpareLimits, WarmSpare
from tests.fakes.runners import fake_host, fake_spec, is_alive
from tests.fakes.waiting import until

GIB = 1024**3
AMPLE = SystemMemory(total_bytes=16 * GIB, available_bytes=8 * GIB)
HELD_BYTES = 300 * 1024**2
LIMITS = SpareLimits(quiet_seconds=0.05, look_seconds=0.02, longest_wait_seconds=60)


class World:
    """What a spare goes by, to be changed by a test."""

    memory = AMPLE
    is_quiet = True
    left_bytes = math.inf


@asynccontextmanager
async def spare_in(world, limits=LIMITS, **behaviour):
    host = fake_host()
    environment = {**host.environment, **fake_spec(**behaviour).environment}
    spare = WarmSpare(
        replace(host, environment=environment),
        limits,
        lambda: world.is_quiet,
        lambda: world.memory,
        left_bytes=lambda: world.left_bytes,
        measure=lambda _: HELD_BYTES,
    )
    spare.start()
    try:
        yield spare
    finally:
        await spare.close()


def bare_spec(**changes):
    spec = fake_spec()
    return replace(spec, environment={}, options=replace(spec.options, **changes))


async def test_one_is_started_when_it_is_quiet_and_taken_once():
    async with spare_in(World()) as spare:
        await until(lambda: spare.pid > 0)
        process = spare.take(bare_spec())
        assert process is not None
        assert process.is_spare
        assert spare.take(bare_spec()) is None
        await until(lambda: spare.pid > 0)
        assert spare.pid != process.pid
        await process.stop(1)


async def test_none_is_started_while_the_runners_work():
    world = World()
    world.is_quiet = False
    async with spare_in(world) as spare:
        await asyncio.sleep(0.3)
        assert spare.pid == -1
        world.is_quiet = True
        await until(lambda: spare.pid > 0)


async def test_work_without_end_does_not_keep_it_away_for_ever():
    world = World()
    world.is_quiet = False
    async with spare_in(world, replace(LIMITS, longest_wait_seconds=0.2)) as spare:
        await until(lambda: spare.pid > 0)


async def test_it_goes_when_memory_is_short_and_comes_back_when_there_is_enough_again():
    world = World()
    async with spare_in(world) as spare:
        await until(lambda: spare.pid > 0)
        first = spare.pid
        world.memory = replace(AMPLE, available_bytes=GIB // 4)
        await until(lambda: not is_alive(first))
        world.memory = replace(AMPLE, available_bytes=GIB)
        await asyncio.sleep(0.2)
        assert spare.pid == -1
        world.memory = AMPLE
        await until(lambda: spare.pid > 0)


async def test_it_goes_when_the_models_claim_what_it_holds_and_comes_back_when_there_is_enough_again():
    world = World()
    world.left_bytes = LIMITS.size_bytes
    async with spare_in(world) as spare:
        await until(lambda: spare.pid > 0)
        first = spare.pid
        world.left_bytes = HELD_BYTES
        await asyncio.sleep(0.2)
        assert spare.pid == first
        world.left_bytes = HELD_BYTES - 1
        await until(lambda: not is_alive(first))
        world.left_bytes = LIMITS.size_bytes - 1
        await asyncio.sleep(0.2)
        assert spare.pid == -1
        world.left_bytes = LIMITS.size_bytes
        await until(lambda: spare.pid > 0)


async def test_one_that_keeps_dying_is_not_started_for_ever(tmp_path):
    starts = tmp_path / "starts"
    async with spare_in(World(), die_at="start", count_starts_in=str(starts)) as spare:
        await until(lambda: starts.exists() and len(starts.read_bytes()) == 3)
        await asyncio.sleep(0.4)
        assert len(starts.read_bytes()) == 3
        assert spare.pid == -1


@pytest.mark.parametrize(
    "spec", [bare_spec(num_thread=3), bare_spec(num_gpu=0), replace(bare_spec(), environment={"A": "B"})]
)
async def test_a_load_that_needs_another_kind_of_process_does_not_get_it(spec):
    async with spare_in(World()) as spare:
        await until(lambda: spare.pid > 0)
        assert spare.take(spec) is None


async def test_a_dead_one_is_not_handed_out():
    async with spare_in(World(), replace(LIMITS, look_seconds=0.5)) as spare:
        await until(lambda: spare.pid > 0)
        first = spare.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: spare.pid != first)


async def test_closing_ends_it():
    async with spare_in(World()) as spare:
        await until(lambda: spare.pid > 0)
        pid = spare.pid
    assert not is_alive(pid)


async def test_none_is_kept_where_none_is_wanted():
    async with spare_in(World(), replace(LIMITS, is_wanted=False)) as spare:
        await asyncio.sleep(0.2)
        assert spare.pid == -1
