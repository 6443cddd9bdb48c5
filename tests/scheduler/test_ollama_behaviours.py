"""What Ollama's own tests ask of its scheduler, one test each, in their order; where ours differs it says why.

The numbers are those of the behaviours in the order of Ollama's `sched_test.go`; names after 20 are of later versions.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from paddock.config import Config
from paddock.errors import Busy, Cancelled, LoadFailed, NeverFits, OutOfMemory, RunnerDied, ServerClosing
from paddock.memory.fit import Holding, Standing, decide
from paddock.scheduler import events
from paddock.scheduler.defaults import Machine
from paddock.scheduler.order import LoadWish, order
from paddock.scheduler.service import Scheduler
from paddock.scheduler.state import Lifecycle
from tests.fakes.fake_server import FakeModelServers, Script
from tests.fakes.waiting import until
from tests.scheduler.worlds import GB, World, a_policy, an_order, stored_model, supply_of


def test_01_it_begins_with_nothing_loaded() -> None:
    world = World()

    assert world.state.residents == {}
    assert world.state.queues == {}


async def test_02_a_runner_that_cannot_be_made_is_told_and_leaves_nothing() -> None:
    """Ollama adds a hint about its own version to one of the texts; ours come from the runner's last words."""
    servers = FakeModelServers({"tiny:latest": Script(start_failure=LoadFailed("The file is not a model."))})
    scheduler = await started(servers)

    with pytest.raises(LoadFailed, match="not a model"):
        async with scheduler.lease(stored_model("tiny"), LoadWish()):
            pass
    await until(lambda: not scheduler.residents())
    await scheduler.close()


def test_03_a_load_that_ends_well_is_lent_once_with_the_memory_it_took() -> None:
    world = World()
    waiter = world.load("a", 2)

    assert world.resident("a").leases == {waiter}
    assert world.resident("a").held_bytes == 2 * GB


def test_04_a_load_that_fails_later_is_told_and_expires_once() -> None:
    world = World()
    waiter = world.request("a")
    world.fail("a", LoadFailed("It did not load."))

    assert isinstance(world.error_of(waiter), LoadFailed)
    assert world.state.residents == {}
    assert world.stops() == []


def test_05_two_requests_for_one_model_share_one_runner() -> None:
    world = World()
    first, second = world.load("a"), world.load("a")

    assert world.started() == ["a"]
    assert world.resident("a").leases == {first, second}


def test_06_a_change_that_needs_another_runner_waits_for_the_first_request_and_ends_the_old_one() -> None:
    """Ollama's case is an adapter, which we do not have; the change here is one of options."""
    world = World()
    first = world.load("a")
    second = world.request("a", num_thread=3)
    assert world.is_waiting(second)

    world.release(first)
    world.stopped("a")
    world.ready("a")

    assert world.stops() == ["a"]
    assert world.is_granted(second)


def test_07_several_models_and_one_that_needs_room() -> None:
    """Ollama evicts idle a at once although that is not enough, then waits for busy b. We wait for b alone: a stays,
    because it need not go. Its limit of three runners for each GPU is not ours: memory decides."""
    world = World(free_gb=24)
    world.load_idle("a", 1)
    busy = world.load("b", 10)
    world.load("c", 10)
    waiter = world.request("d", 13)
    assert world.stops() == []

    world.release(busy)
    world.stopped("b")
    world.ready("d")

    assert world.stops() == ["b"]
    assert world.is_granted(waiter)


def test_08_a_full_queue_refuses_a_short_keep_alive_ends_and_a_bad_model_leaves_nothing() -> None:
    """Ollama's queue holds requests for all models together, ours too; its 503 has no Retry-After, ours has."""
    world = World(free_gb=2, policy=a_policy(max_queue=1))
    world.load("a", 2)
    world.request("b", 2)
    refused = world.error_of(world.request("c", 2))
    assert isinstance(refused, Busy)
    assert refused.retry_after_seconds > 0

    other = World()
    other.load_idle("a", keep_alive=0.002)
    other.wait(0.002)
    assert other.stops() == ["a"]


def test_09_models_are_known_by_their_digest() -> None:
    made = [
        order(stored_model(name, digest), LoadWish(), Config(), Machine()).key
        for name, digest in (("one", "x"), ("one", "y"), ("two", "x"))
    ]

    assert made[0] != made[1]
    assert made[0] == made[2]


def test_10_an_unload_ends_an_idle_model_at_once_and_a_busy_one_after_its_request() -> None:
    world = World()
    world.load_idle("idle")
    lease = world.load("busy")
    world.unload("idle")
    world.unload("busy")
    assert world.stops() == ["idle"]

    world.release(lease)

    assert world.stops() == ["idle", "busy"]


def test_11_an_early_expiry_and_a_late_end_do_no_harm() -> None:
    world = World()
    lease = world.load("a")
    world.send(events.TimerFired(world.now))
    assert world.lifecycle("a") is Lifecycle.READY
    world.release(lease)
    world.unload("a")
    world.stopped("a")

    world.release(lease)
    world.send(events.Stopped(world.now, "a", 1))

    assert world.state.residents == {}


def test_12_a_loaded_model_is_lent_at_once_and_takes_the_keep_alive_of_the_request() -> None:
    world = World()
    world.load_idle("a", keep_alive=5)
    lease = world.request("a", keep_alive=7)

    assert world.is_granted(lease)
    assert world.resident("a").keep_alive_seconds == 7


def test_13_what_runners_were_promised_and_have_not_taken_is_not_free() -> None:
    """Ollama subtracts the sum over runners from each GPU's total; we subtract what is promised and not yet held from
    what the system reports, so that memory of other programs counts too."""
    loading = Holding("a", "cpu", Standing.LOADING, promised_bytes=6 * GB, held_bytes=1 * GB)
    supply = supply_of(9)

    assert decide(an_order("b", 4).ask, supply, [loading]).__class__.__name__ == "Fits"
    assert decide(an_order("b", 4.1).ask, supply, [loading]).__class__.__name__ == "MustWait"


def test_14_an_idle_model_is_evicted_before_a_busy_one_whatever_their_keep_alive() -> None:
    """All busy: Ollama marks the one with the shortest keep_alive. We mark none; whichever comes to rest first and
    makes room goes, and no busy one gets new requests for ever."""
    world = World(free_gb=4)
    world.load("busy", 2, keep_alive=1)
    world.load_idle("idle", 2, keep_alive=1000)
    world.request("new", 2)
    assert world.stops() == ["idle"]

    full = World(free_gb=4)
    full.load("a", 2, keep_alive=1)
    last = full.load("b", 2, keep_alive=1000)
    full.request("new", 2)
    assert full.stops() == []
    full.release(last)
    assert full.stops() == ["b"]


@pytest.mark.parametrize(
    ("fixed", "reloads"),
    [
        ({}, False),
        ({"num_ctx": 4096}, False),
        ({"num_gpu": -1}, False),
        ({"num_batch": 64}, True),
        ({"num_ctx": 8192}, True),
        ({"num_thread": 2}, True),
        ({"num_gpu": 0}, True),
        ({"num_gpu": 99}, False),
    ],
)
def test_15_what_needs_a_reload(fixed: dict[str, int], reloads: bool) -> None:
    """Ollama reloads for num_gpu 99; a model of ours is on the accelerator as a whole or not at all, so any positive
    number asks for what it has. Ollama skips the comparison for MLX models; we do not. There are no adapters or
    projectors. A runner that answers no ping is replaced by its supervisor, who notices without a request."""
    world = World()
    world.load_idle("a")
    world.request("a", **fixed)

    assert world.stops() == (["a"] if reloads else [])


async def test_15_a_runner_that_is_gone_is_replaced_by_the_next_request() -> None:
    servers = FakeModelServers()
    scheduler = await started(servers)
    async with scheduler.lease(stored_model("tiny"), LoadWish()) as lease:
        servers.made[0].die()
        await until(lambda: not scheduler.residents())
        with pytest.raises(RunnerDied):
            await lease.server.wait_until_running()
    async with scheduler.lease(stored_model("tiny"), LoadWish()) as lease:
        assert lease.server is servers.made[1]
    await scheduler.close()


async def test_16_the_end_of_the_server_closes_every_runner_also_one_that_has_not_begun() -> None:
    servers = FakeModelServers({"slow:latest": Script(load_gate=asyncio.Event())})
    scheduler = await started(servers)
    async with scheduler.lease(stored_model("tiny"), LoadWish()):
        pass
    asking = asyncio.create_task(scheduler.lease(stored_model("slow"), LoadWish()).__aenter__())
    await until(lambda: len(scheduler.residents()) == 2)

    await scheduler.close()

    with pytest.raises(ServerClosing):
        await asking
    assert all(server.has_exited for server in servers.made)


def test_17_a_runner_that_is_gone_is_forgotten_with_all_it_held() -> None:
    world = World()
    world.load_idle("a", keep_alive=0)
    world.stopped("a")

    assert world.state.residents == {}
    assert world.state.returning == []


def test_18_a_request_whose_client_has_left_is_not_served() -> None:
    """Ollama answers it with nothing, which leaves its handler waiting for ever; ours is told that it was cancelled."""
    world = World(free_gb=2)
    world.load("a", 2)
    waiter = world.request("b", 2)
    world.cancel(waiter)

    assert isinstance(world.error_of(waiter), Cancelled)
    assert not world.is_granted(waiter)
    assert "b" not in world.started()


@pytest.mark.parametrize("engine", ["text", "image", "embedding"])
def test_19_a_model_of_any_kind_can_be_evicted(engine: str) -> None:
    world = World(free_gb=2)
    wanted = an_order("a", 2)
    object.__setattr__(wanted.model.facts, "engine", engine)
    world.send(events.Requested(world.now, 900, wanted))
    world.ready("a")
    world.release(900)

    world.request("b", 2)

    assert world.stops() == ["a"]


def test_20_models_of_several_kinds_are_loaded_together_and_counted_together() -> None:
    world = World(free_gb=10)
    world.load("text", 4)
    world.load("image", 4)
    third = world.request("more", 4)

    assert world.is_waiting(third)
    assert sum(resident.held_bytes for resident in world.state.residents.values()) == 8 * GB


# ---- later versions


def test_the_context_in_force_is_kept_with_the_runner() -> None:
    world = World()
    world.load("a", num_ctx=8192)
    world.load("b")

    assert world.resident("a").order.options.num_ctx == 8192
    assert world.resident("b").order.options.num_ctx == 4096


def test_options_that_nobody_fixed_ask_for_no_reload() -> None:
    world = World()
    world.load_idle("a", num_ctx=8192, num_batch=64)

    assert world.is_granted(world.request("a"))


def test_a_load_that_runs_out_of_memory_evicts_the_idle_and_is_tried_once_more() -> None:
    """Ollama evicts busy ones as well, once they are through; we never wait for them here. `test_retry.py` has the
    rest: the context that nobody fixed is lowered, one that was fixed is kept, and the second failure is final."""
    world = World(free_gb=20)
    world.load_idle("b", 2)
    waiter = world.request("a", 2)
    world.fail("a", OutOfMemory("Memory ran out."))
    world.stopped("b")
    world.ready("a")

    assert world.is_granted(waiter)


def test_with_no_others_and_nothing_to_lower_it_fails_at_once() -> None:
    world = World()
    waiter = world.request("a")
    world.fail("a", OutOfMemory("Memory ran out."))

    assert isinstance(world.error_of(waiter), OutOfMemory)
    assert world.started() == ["a"]


def test_memory_that_runs_out_while_answering_ends_that_runner_alone() -> None:
    """Ollama unloads every model then. Ours are processes of their own, and admission has kept room for each: only the
    one that overran is gone; if memory is really short, the watermark is what makes others go."""
    world = World()
    world.load("a")
    world.load("b")
    world.exit("a")

    assert set(world.state.residents) == {"b"}


def test_what_would_never_fit_is_refused_before_anybody_goes() -> None:
    world = World(free_gb=10)
    world.load_idle("a", 8)
    waiter = world.request("b", 20)

    assert isinstance(world.error_of(waiter), NeverFits)
    assert world.stops() == []


def test_a_model_kept_for_ever_goes_only_where_nothing_else_makes_room() -> None:
    world = World(free_gb=4)
    world.load_idle("pinned", 2, keep_alive=math.inf)
    world.load_idle("other", 2)
    world.request("new", 2)
    assert world.stops() == ["other"]
    world.stopped("other")
    world.ready("new")

    world.request("more", 4)

    assert "pinned" not in world.stops()  # `new` is busy, so that evicting it alone makes no room yet
    world.release(*world.resident("new").leases)
    assert set(world.stops()) == {"other", "new", "pinned"}


async def started(servers: FakeModelServers) -> Scheduler:
    """A scheduler over these fakes, on a machine with room."""
    scheduler = Scheduler(
        config=Config(),
        make_server=servers,
        prepare=lambda model: Path("/models") / model.digest,
        supply=lambda: supply_of(64),
        measure=lambda pid: 0,
    )
    await scheduler.start()
    return scheduler
