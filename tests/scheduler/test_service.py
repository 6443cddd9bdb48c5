"""The service: leases over fake model servers, in a real event loop."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from paddock.config import Config
from paddock.errors import (
    Busy,
    DamagedModel,
    LoadFailed,
    NeverFits,
    PaddockError,
    RunnerDied,
    ServerClosing,
    UnsupportedModel,
)
from paddock.memory.fit import Supply
from paddock.protocol import ChatMessage, ChatRequest
from paddock.scheduler import service
from paddock.scheduler.order import Load
from paddock.scheduler.service import Lease, LoadWish, Scheduler
from paddock.store.library import StoredModel
from paddock.supervisor.model_server import MemorySize
from tests.fakes.fake_server import FakeModelServers, Script
from tests.fakes.waiting import until
from tests.scheduler.worlds import GB, stored_model, supply_of

TINY = stored_model("tiny")
OTHER = stored_model("other")
ANY = LoadWish()


class Stand:
    """A scheduler on fakes, and what a test wants to do with it."""

    def __init__(self, config: Config | None = None, free_gb: float = 16.0) -> None:
        self.servers = FakeModelServers()
        self.free_gb = free_gb
        self.reserve_gb = 0.0
        self.prepared: list[str] = []
        self.refused: dict[Load, PaddockError] = {}
        self.prepare_failure: Exception | None = None
        self.supply_failure: OSError | None = None
        self.scheduler = Scheduler(
            config=config or Config(),
            make_server=self.servers,
            prepare=self._prepare,
            supply=self._supply,
            measure=lambda pid: 0,
            refused=lambda: self.refused,
        )

    def _prepare(self, model: StoredModel) -> Path:
        self.prepared.append(model.name.display)
        if self.prepare_failure:
            raise self.prepare_failure
        return Path("/models") / model.digest

    def _supply(self) -> Supply:
        """A fake runner takes what its script says, from its making to its end."""
        if self.supply_failure:
            raise self.supply_failure
        held_bytes = sum(s.script.memory.total_bytes for s in self.servers.made if not s.has_exited)
        return supply_of(self.free_gb - held_bytes / GB, reserve_gb=self.reserve_gb)

    def script(self, model: StoredModel) -> Script:
        return self.servers.scripts.setdefault(model.name.display, Script())

    async def hold(self, stack: AsyncExitStack, model: StoredModel = TINY, wish: LoadWish = ANY) -> Lease:
        return await stack.enter_async_context(self.scheduler.lease(model, wish, None))

    async def use(self, model: StoredModel = TINY, wish: LoadWish = ANY, keep_alive: float | None = None) -> Lease:
        async with self.scheduler.lease(model, wish, keep_alive) as lease:
            return lease

    def states(self) -> list[str]:
        return [row.state for row in self.scheduler.residents()]

    async def closed(self) -> None:
        await until(lambda: not self.scheduler.residents(), what="no residents")


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand()
    await made.scheduler.start()
    yield made
    await made.scheduler.close()


async def test_a_lease_lends_a_server_that_answers(stand: Stand) -> None:
    async with stand.scheduler.lease(TINY, ANY, None) as lease:
        frames = [frame async for frame in lease.server.chat(ChatRequest(messages=(ChatMessage("user", "hi"),)))]

    assert frames
    assert lease.context_length == 4096
    assert lease.load_duration_ns > 0
    assert stand.prepared == [TINY.name.display]
    assert stand.servers.made[0].spec.model_path == Path("/models/digest-of-tiny")


async def test_a_loaded_model_is_lent_at_once(stand: Stand) -> None:
    await stand.use()
    lease = await stand.use()

    assert lease.load_duration_ns == 0
    assert len(stand.servers.made) == 1


async def test_one_load_serves_all_who_wait_for_it(stand: Stand) -> None:
    gate = stand.script(TINY).load_gate = asyncio.Event()
    tasks = [asyncio.create_task(stand.use()) for _ in range(5)]
    await until(lambda: stand.states() == ["loading"])
    gate.set()
    leases = await asyncio.gather(*tasks)

    assert len({id(lease.server) for lease in leases}) == 1
    assert len(stand.servers.made) == 1


async def test_residents_show_a_runner_through_its_life(stand: Stand) -> None:
    script = stand.script(TINY)
    script.load_gate, script.close_gate = asyncio.Event(), asyncio.Event()
    assert stand.scheduler.residents() == []
    task = asyncio.create_task(stand.use(keep_alive=3600))
    await until(lambda: stand.states() == ["loading"])
    (loading,) = stand.scheduler.residents()
    assert loading.size_bytes > TINY.facts.weights_bytes

    script.load_gate.set()
    await task
    await until(lambda: stand.scheduler.residents()[0].active_requests == 0)
    (ready,) = stand.scheduler.residents()
    assert (ready.state, ready.pid, ready.size_bytes, ready.context_length) == ("ready", 4242, GB, 4096)
    assert ready.model is TINY
    assert ready.expires_at is not None
    assert timedelta(minutes=59) < ready.expires_at - datetime.now(UTC) <= timedelta(hours=1)

    await stand.scheduler.unload(TINY.digest)
    await until(lambda: stand.states() == ["stopping"])
    (stopping,) = stand.scheduler.residents()
    assert stopping.expires_at is not None
    assert stopping.expires_at <= datetime.now(UTC)
    script.close_gate.set()
    await stand.closed()


async def test_a_model_kept_for_ever_has_no_end(stand: Stand) -> None:
    await stand.use(keep_alive=math.inf)

    assert stand.scheduler.residents()[0].expires_at is None


async def test_a_keep_alive_of_zero_unloads_after_the_request(stand: Stand) -> None:
    await stand.use(keep_alive=0)
    await stand.closed()

    assert "close" in stand.servers.made[0].calls


async def test_a_short_keep_alive_runs_out_by_the_timer(stand: Stand) -> None:
    await stand.use(keep_alive=0.05)
    await until(lambda: stand.states() == ["ready"])

    await stand.closed()


async def test_unload_lets_the_running_request_end(stand: Stand) -> None:
    async with stand.scheduler.lease(TINY, ANY, None) as lease:
        await stand.scheduler.unload(TINY.digest)
        await stand.use(OTHER)
        assert not lease.server.has_exited

    await until(lambda: [row.model for row in stand.scheduler.residents()] == [OTHER])


@pytest.mark.parametrize("failure", [LoadFailed("No."), UnsupportedModel("No."), DamagedModel("No.")])
async def test_a_failed_load_is_told_to_each_who_waits_and_tried_again(stand: Stand, failure: LoadFailed) -> None:
    script = stand.script(TINY)
    script.load_gate = asyncio.Event()
    tasks = [asyncio.create_task(stand.use()) for _ in range(2)]
    await until(lambda: stand.states() == ["loading"])
    script.load_failure = failure
    script.load_gate.set()

    first, second = await asyncio.gather(*tasks, return_exceptions=True)

    assert type(first) is type(second) is type(failure)
    assert first is not second
    await stand.closed()
    assert "close" in stand.servers.made[0].calls
    script.load_failure = None
    assert await stand.use()


async def test_a_failed_start_is_told(stand: Stand) -> None:
    stand.script(TINY).start_failure = UnsupportedModel("No.")

    with pytest.raises(UnsupportedModel):
        await stand.use()


async def test_a_failed_preparation_is_told(stand: Stand) -> None:
    stand.prepare_failure = DamagedModel("A file is missing.")

    with pytest.raises(DamagedModel):
        await stand.use()
    assert stand.servers.made == []


async def test_an_unforeseen_fault_of_a_load_is_told_without_its_inner_words(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.prepare_failure = KeyError("inner words")

    with pytest.raises(LoadFailed) as caught:
        await stand.use()

    assert "inner words" not in caught.value.message
    assert "load_crashed" in caplog.text


async def test_cancelling_the_first_requester_does_not_cancel_the_load(stand: Stand) -> None:
    gate = stand.script(TINY).load_gate = asyncio.Event()
    first, second = asyncio.create_task(stand.use()), asyncio.create_task(stand.use())
    await until(lambda: stand.states() == ["loading"])

    first.cancel()
    gate.set()
    lease = await second

    assert first.cancelled() or await asyncio.wait({first})
    assert len(stand.servers.made) == 1
    assert lease.server is stand.servers.made[0]


async def test_a_cancel_in_the_same_moment_as_the_grant_returns_the_lease(stand: Stand) -> None:
    gate = stand.script(TINY).load_gate = asyncio.Event()
    task = asyncio.create_task(stand.use())
    await until(lambda: stand.states() == ["loading"])
    answer = next(iter(stand.scheduler._answers.values()))
    gate.set()
    while not answer.done():  # noqa: ASYNC110 - the very next turn of the loop is what this is about
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: [row.active_requests for row in stand.scheduler.residents()] == [0])


async def test_a_cancel_while_the_lease_is_used_returns_it(stand: Stand) -> None:
    is_used = asyncio.Event()

    async def use() -> None:
        async with stand.scheduler.lease(TINY, ANY, None):
            is_used.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await is_used.wait()
    task.cancel()
    await asyncio.wait({task})

    await until(lambda: [row.active_requests for row in stand.scheduler.residents()] == [0])


async def test_an_error_in_the_body_returns_the_lease(stand: Stand) -> None:
    with pytest.raises(ValueError, match="body"):
        async with stand.scheduler.lease(TINY, ANY, None):
            raise ValueError("body")

    await until(lambda: [row.active_requests for row in stand.scheduler.residents()] == [0])


async def test_a_runner_that_dies_is_forgotten_closed_and_replaced(stand: Stand) -> None:
    async with stand.scheduler.lease(TINY, ANY, None) as lease:
        stand.servers.made[0].die()
        await stand.closed()
        with pytest.raises(RunnerDied):
            async for _ in lease.server.chat(ChatRequest(messages=())):
                pass

    assert "close" in stand.servers.made[0].calls
    fresh = await stand.use()
    assert fresh.server is stand.servers.made[1]


@pytest.mark.parametrize("turns", range(12))
async def test_a_death_may_cross_a_request_or_an_unload_at_any_moment(stand: Stand, turns: int) -> None:
    await stand.use()
    stand.servers.made[0].die()
    for _ in range(turns):
        await asyncio.sleep(0)

    lease, _ = await asyncio.gather(stand.use(), stand.scheduler.unload(TINY.digest))
    assert lease.server in stand.servers.made
    async with stand.scheduler.lease(TINY, ANY, None) as fresh:
        if fresh.server.has_exited:
            await until(lambda: stand.states() == [])
    assert not (await stand.use()).server.has_exited


@pytest.mark.parametrize("turns", range(12))
async def test_a_death_may_cross_the_end_of_its_keep_alive_at_any_moment(stand: Stand, turns: int) -> None:
    async with stand.scheduler.lease(TINY, ANY, 0):
        stand.servers.made[0].die()
        for _ in range(turns):
            await asyncio.sleep(0)

    await stand.closed()
    assert await stand.use()


async def test_a_runner_that_dies_while_it_loads_fails_the_load(stand: Stand) -> None:
    stand.script(TINY).load_gate = asyncio.Event()
    task = asyncio.create_task(stand.use())
    await until(lambda: stand.servers.made and "wait_until_running" in stand.servers.made[0].calls)

    stand.servers.made[0].die()

    with pytest.raises(RunnerDied):
        await task


async def test_other_options_reload_when_the_old_runner_is_free(stand: Stand) -> None:
    async with stand.scheduler.lease(TINY, ANY, None):
        task = asyncio.create_task(stand.use(wish=LoadWish(num_ctx=8192)))
        await stand.use(OTHER)
        assert not task.done()

    lease = await task

    assert lease.context_length == 8192
    assert [server.spec.name for server in stand.servers.made].count(TINY.name.display) == 2


async def test_a_model_that_needs_the_memory_of_an_idle_one_gets_it() -> None:
    stand = Stand(free_gb=2)
    await stand.scheduler.start()
    await stand.use(TINY)
    await stand.use(OTHER)

    assert stand.servers.made[0].has_exited
    assert [row.model for row in stand.scheduler.residents()] == [OTHER]
    await stand.scheduler.close()


async def test_a_lease_is_a_budget_for_the_runner(stand: Stand) -> None:
    await stand.use()

    (resident,) = stand.scheduler.residents()
    assert stand.servers.made[0].spec.memory_limit_bytes == resident.need.total_bytes - resident.need.runtime_bytes


async def test_a_limit_in_the_settings_is_the_budget_of_all_models() -> None:
    stand = Stand(Config(memory_limit_bytes=2 * GB), free_gb=64)
    await stand.scheduler.start()
    await stand.use(TINY)
    await stand.use(OTHER)

    assert [row.model for row in stand.scheduler.residents()] == [OTHER]
    with pytest.raises(NeverFits, match=r"this machine can give 2\.0 GB"):
        await stand.use(stored_model("huge", size_gb=3))
    assert [row.model for row in stand.scheduler.residents()] == [OTHER]
    await stand.scheduler.close()


async def test_memory_that_others_take_is_noticed_without_a_request(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "paddock.scheduler")
    stand.script(TINY).cache_bytes = 7
    await stand.use()
    stand.reserve_gb, stand.free_gb = 2.0, 2.0

    await until(lambda: "shrink_caches" in stand.servers.made[0].calls)
    await stand.closed()

    assert "event=shrink model=tiny" in caplog.text
    assert "event=shrunk model=tiny:latest generation=1 freed=7" in caplog.text
    assert "below the reserve of 2.0 GB, and it is the idle model that is missed least" in caplog.text


async def test_a_runner_that_cannot_shrink_its_caches_harms_nobody(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await stand.use()

    async def refuse(keep_bytes: int) -> int:
        raise RunnerDied("It is gone.")

    monkeypatch.setattr(stand.servers.made[0], "shrink_caches", refuse)
    stand.reserve_gb, stand.free_gb = 2.0, 2.0

    await until(lambda: "event=shrink_failed" in caplog.text)
    await stand.closed()


async def test_runners_are_asked_now_and_then_what_they_hold(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(service, "LOOK_EVERY", 2)
    script = stand.script(TINY)
    await stand.use()
    script.memory = MemorySize(3 * GB, 0)

    await until(lambda: [row.size_bytes for row in stand.scheduler.residents()] == [3 * GB])


async def test_a_load_that_is_refused_is_not_begun(stand: Stand) -> None:
    stand.refused = {(TINY.digest, stand.scheduler.preview(TINY, ANY).order.options): Busy("It keeps crashing.", 9.0)}

    with pytest.raises(Busy, match="keeps crashing") as refusal:
        await stand.use()

    assert refusal.value.retry_after_seconds == 9
    assert stand.servers.made == []


async def test_looking_waits_only_a_moment_for_a_runner_that_says_nothing(stand: Stand) -> None:
    script = stand.script(TINY)
    await stand.use()
    script.memory_gate = asyncio.Event()

    await asyncio.wait_for(stand.scheduler.look(), 2)

    assert stand.scheduler.residents()[0].size_bytes == GB


async def test_the_queue_tells_who_waits_for_how_long_and_why() -> None:
    stand = Stand(free_gb=2)
    await stand.scheduler.start()
    async with stand.scheduler.lease(TINY, ANY, None):
        waiting = asyncio.create_task(stand.use(OTHER))
        await until(lambda: stand.scheduler.queue().waiting)
        queue = stand.scheduler.queue()
        assert (queue.waiting, queue.most) == (1, 512)
        assert queue.oldest_seconds >= 0
        assert queue.reasons == {"other:latest": "tiny:latest must first come to rest"}

    await waiting
    assert stand.scheduler.queue().waiting == 0
    await stand.scheduler.close()


async def test_what_never_fits_is_refused_and_nothing_is_started(stand: Stand) -> None:
    with pytest.raises(NeverFits, match="needs 41"):
        await stand.use(stored_model("huge", size_gb=41))

    assert stand.servers.made == []


async def test_more_requests_than_the_queue_holds_are_refused() -> None:
    stand = Stand(Config(max_queue=1))
    gate = stand.script(TINY).load_gate = asyncio.Event()
    await stand.scheduler.start()
    task = asyncio.create_task(stand.use())
    await until(lambda: stand.states() == ["loading"])

    with pytest.raises(Busy) as caught:
        await stand.use(OTHER)

    assert caught.value.retry_after_seconds > 1
    gate.set()
    await task
    await stand.scheduler.close()


async def test_figures_that_cannot_be_read_leave_the_last_ones_in_force(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.supply_failure = OSError("no /proc")

    assert await stand.use()
    assert "supply_unreadable" in caplog.text


async def test_close_refuses_those_who_wait_and_stops_all() -> None:
    stand = Stand()
    stand.script(TINY).load_gate = asyncio.Event()
    await stand.scheduler.start()
    await stand.use(OTHER)
    task = asyncio.create_task(stand.use())
    await until(lambda: sorted(stand.states()) == ["loading", "ready"])

    await stand.scheduler.close()

    with pytest.raises(ServerClosing):
        await task
    assert all(server.has_exited for server in stand.servers.made)
    assert stand.scheduler.residents() == []
    await stand.scheduler.close()


async def test_a_lease_after_close_is_refused() -> None:
    stand = Stand()
    with pytest.raises(ServerClosing):
        await stand.use()
    await stand.scheduler.start()
    await stand.scheduler.close()

    with pytest.raises(ServerClosing):
        await stand.use()


async def test_a_request_that_comes_while_the_last_runner_stops_is_refused() -> None:
    stand = Stand()
    close_gate = stand.script(TINY).close_gate = asyncio.Event()
    await stand.scheduler.start()
    await stand.use()
    closing = asyncio.create_task(stand.scheduler.close())
    await until(lambda: stand.states() == ["stopping"])

    with pytest.raises(ServerClosing):
        await stand.use()

    close_gate.set()
    await closing


async def test_a_close_before_the_load_has_begun_stops_it() -> None:
    stand = Stand()
    await stand.scheduler.start()
    task = asyncio.create_task(stand.use())
    await asyncio.sleep(0)

    await stand.scheduler.close()

    with pytest.raises(ServerClosing):
        await task
    assert all(server.has_exited for server in stand.servers.made)


async def test_a_runner_that_cannot_be_closed_does_not_hold_up_the_others(
    stand: Stand, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stand.use()

    async def refuse() -> None:
        raise OSError("no")

    monkeypatch.setattr(stand.servers.made[0], "close", refuse)
    await stand.scheduler.unload(TINY.digest)
    await stand.closed()

    assert "close_failed" in caplog.text
    assert await stand.use()


async def test_each_decision_is_one_line_with_its_reason(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "paddock.scheduler")
    await stand.use(keep_alive=0)
    await stand.closed()
    with pytest.raises(NeverFits):
        await stand.use(stored_model("huge", size_gb=41))

    lines = [record.getMessage() for record in caplog.records if record.name == "paddock.scheduler"]
    assert [line.split()[0] for line in lines] == ["event=start", "event=grant", "event=stop", "event=reject"]
    assert "why='its keep_alive is over'" in lines[2]


async def test_many_clients_on_many_models_are_all_served() -> None:
    stand = Stand(free_gb=3.0)
    await stand.scheduler.start()
    models = [stored_model(f"m{number}") for number in range(5)]

    async def client(number: int) -> int:
        served = 0
        for turn in range(6):
            wish = LoadWish(num_ctx=8192) if (number + turn) % 4 == 0 else ANY
            async with stand.scheduler.lease(models[(number * 7 + turn * 3) % 5], wish, None) as lease:
                assert not lease.server.has_exited
                await asyncio.sleep(0)
                served += 1
        return served

    async with asyncio.timeout(30):
        served = await asyncio.gather(*(client(number) for number in range(12)))

    assert sum(served) == 72
    await stand.scheduler.close()
