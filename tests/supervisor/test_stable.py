"""The stable: breakers, spares, hangs and the register together, with fakes as runners."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from paddock.errors import Busy, DamagedModel, LoadFailed, RunnerDied
from paddock.memory.devices import Device
from paddock.protocol import CompletionRequest, Failed
from paddock.supervisor import process as process_module
from paddock.supervisor.breaker import BreakerState
from paddock.supervisor.exit_report import Cause
from paddock.supervisor.hang_watch import HangLimits
from paddock.supervisor.load_watch import Deadlines
from paddock.supervisor.process import ProcessState
from paddock.supervisor.spare import SpareLimits
from paddock.supervisor.stable import Stable, StableLimits
from paddock.supervisor.views import SpareState, SpareView, StableView
from tests.fakes.runners import CPU, SYSTEM, fake_host, fake_spec, is_alive
from tests.fakes.waiting import until

NO_SPARE = SpareLimits(is_wanted=False)
EAGER_SPARE = SpareLimits(start_bytes=0, start_share=0, end_bytes=0, end_share=0, quiet_seconds=0.02, look_seconds=0.02)
LIMITS = StableLimits(
    deadlines=Deadlines(grace_seconds=1),
    hang=HangLimits(grace_seconds=0.2, first_poll_seconds=0.05, poll_seconds=0.1, answer_seconds=0.2),
    spare=NO_SPARE,
)
PROMPT = CompletionRequest(prompt="one two three four five")


@asynccontextmanager
async def stable_in(folder, limits=LIMITS, clock=None):
    clock = clock or asyncio.get_running_loop().time
    stable = Stable(fake_host(), folder / "run", limits, clock)
    await stable.open()
    try:
        yield stable
    finally:
        await stable.close()
    assert list((folder / "run").glob("*")) == []


@asynccontextmanager
async def loaded(stable, spec):
    server = stable.make_server(spec)
    await server.load(SYSTEM, [CPU], require_full=False)
    try:
        await server.wait_until_running()
        yield server
    finally:
        await server.close()


async def load_once(stable, spec):
    async with loaded(stable, spec):
        pass


async def words_of(server):
    return [frame async for frame in server.completion(PROMPT)]


async def crash(stable, spec, times=3):
    for _ in range(times):
        with pytest.raises(LoadFailed):
            await load_once(stable, spec)


async def test_three_crashes_are_enough_and_the_refusal_says_why_and_when(tmp_path):
    async with stable_in(tmp_path) as stable:
        spec = fake_spec(die_at="load", last_words="fatal error: no such kernel")
        await crash(stable, spec)
        with pytest.raises(Busy, match=r"keeps crashing.*fatal error: no such kernel") as refusal:
            await load_once(stable, spec)
        assert 8 < refusal.value.retry_after_seconds <= 10


async def test_crashes_are_counted_by_what_they_were_and_the_breaker_shows_its_state(tmp_path):
    now = [1000.0]
    async with stable_in(tmp_path, clock=lambda: now[0]) as stable:
        assert stable.view() == StableView()
        spec = fake_spec(die_at="load", last_words="fatal error: no such kernel")

        await crash(stable, spec, times=1)
        (closed,) = stable.view().breakers
        assert (closed.state, closed.crashes, closed.retry_seconds) == (BreakerState.CLOSED, 1, 0.0)
        await crash(stable, spec, times=2)
        now[0] += 4

        (opened,) = stable.view().breakers
        assert (opened.model, opened.state, opened.crashes) == ("tiny", BreakerState.OPEN, 3)
        assert opened.retry_seconds == pytest.approx(6)
        assert "no such kernel" in opened.cause
        assert stable.view().crashes == {Cause.CRASHED: 3}
        now[0] += 7
        assert stable.view().breakers[0].retry_seconds == 0


async def test_the_spare_is_seen_while_it_is_there(tmp_path):
    async with stable_in(tmp_path, replace(LIMITS, spare=EAGER_SPARE)) as stable:
        assert stable.view().spare == SpareView(SpareState.ABSENT)
        await until(lambda: stable.spare.pid > 0)

        await until(lambda: stable.view().spare.held_bytes)
        assert stable.view().spare.state is SpareState.PRESENT


async def test_the_same_model_with_other_options_and_other_models_are_not_held_back(tmp_path):
    async with stable_in(tmp_path) as stable:
        spec = fake_spec(die_at="load")
        await crash(stable, spec)
        good = fake_spec()
        await load_once(stable, replace(good, options=replace(spec.options, num_ctx=4096)))
        await load_once(stable, replace(good, model_path=tmp_path))


async def test_after_the_pause_it_is_tried_again_and_a_healthy_minute_forgets_everything(tmp_path):
    now = [0.0]
    async with stable_in(tmp_path, clock=lambda: now[0]) as stable:
        await crash(stable, fake_spec(die_at="load"))
        now[0] = 11
        async with loaded(stable, fake_spec()):
            now[0] = 72
        await crash(stable, fake_spec(die_at="load"), times=3)
        with pytest.raises(Busy):
            await load_once(stable, fake_spec())


async def test_a_stop_a_refusal_in_words_and_a_cancelled_load_are_no_crashes(tmp_path):
    async with stable_in(tmp_path) as stable:
        for _ in range(4):
            await load_once(stable, fake_spec())
            with pytest.raises(DamagedModel):
                await load_once(stable, fake_spec(load_failure=Failed(code="damaged_model", message="Broken.")))
        await load_once(stable, fake_spec())


async def test_deaths_while_serving_count(tmp_path):
    async with stable_in(tmp_path) as stable:
        for _ in range(3):
            async with loaded(stable, fake_spec(die_at="first_token")) as server:
                with pytest.raises(RunnerDied):
                    await words_of(server)
        with pytest.raises(Busy):
            await load_once(stable, fake_spec())


async def test_loads_that_get_nowhere_count(tmp_path):
    limits = replace(LIMITS, deadlines=Deadlines(grace_seconds=0.1, hello_seconds=0.2))
    async with stable_in(tmp_path, limits) as stable:
        await crash(stable, fake_spec(never_hello=True))
        with pytest.raises(Busy, match="did not answer within"):
            await load_once(stable, fake_spec())


@pytest.mark.parametrize("kind", ["stall_after_frames", "freeze_after_frames"])
async def test_a_runner_that_stands_still_is_killed_and_its_requests_are_told(tmp_path, kind):
    spec = fake_spec(frame_count=100, frame_seconds=0.02, lease_seconds=0.5, **{kind: 20})
    async with stable_in(tmp_path) as stable, loaded(stable, spec) as server:
        pid = server.pid
        with pytest.raises(RunnerDied, match="while it was answering: hang, no progress for"):
            await asyncio.wait_for(asyncio.gather(words_of(server), words_of(server)), 6)
        assert not is_alive(pid)
        assert "hang" in await server.wait_exited()


async def test_a_runner_that_is_stuck_lets_everyone_go(tmp_path, monkeypatch):
    spec = fake_spec(frame_count=1000, frame_seconds=0.02)
    async with stable_in(tmp_path) as stable, loaded(stable, spec) as server:
        pid = server.pid
        answer = asyncio.create_task(words_of(server))
        await until(lambda: server._client.in_use.is_set())
        with monkeypatch.context() as patched:
            patched.setattr(process_module.RunnerProcess, "_signal_group", lambda self, number: None)
            patched.setattr(process_module, "KILL_SECONDS", 0.05)
            server._process.condemn("hang, no progress for 9 seconds")
            with pytest.raises(RunnerDied, match="stuck"):
                await asyncio.wait_for(answer, 5)
        assert server._process.state is ProcessState.STUCK
        assert server.has_exited
        with pytest.raises(RunnerDied, match="stuck"):
            await words_of(server)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_alive(pid))
        await server._process.wait_gone(2)


async def test_a_runner_that_closes_its_socket_is_ended(tmp_path):
    spec = fake_spec(close_socket_after_frames=2)
    async with stable_in(tmp_path) as stable, loaded(stable, spec) as server:
        assert len(await words_of(server)) == 6
        with pytest.raises(RunnerDied, match="it has closed its socket"):
            await words_of(server)
        assert server.has_exited


async def test_a_load_takes_the_spare_which_becomes_its_runner(tmp_path):
    async with stable_in(tmp_path, replace(LIMITS, spare=EAGER_SPARE)) as stable:
        await until(lambda: stable.spare.pid > 0)
        spare = stable.spare.pid
        async with loaded(stable, replace(fake_spec(), environment={})) as server:
            assert server.pid == spare
            assert server.context_length == 2048
            assert len(await words_of(server)) == 6
            os.kill(spare, signal.SIGKILL)
            assert "The runner of 'tiny' ended" in await server.wait_exited()


async def test_a_spare_that_dies_as_it_is_taken_is_replaced_by_a_process_of_its_own(tmp_path):
    async with stable_in(tmp_path, replace(LIMITS, spare=EAGER_SPARE)) as stable:
        await until(lambda: stable.spare.pid > 0)
        spec = replace(fake_spec(), environment={})
        server = stable.make_server(spec)
        spare = stable.spare.pid
        await server.load(SYSTEM, [CPU], require_full=False)
        os.kill(spare, signal.SIGKILL)
        await server.wait_until_running()
        assert server.pid != spare
        assert len(await words_of(server)) == 6
        await server.close()
        await load_once(stable, spec)


async def test_what_keeps_crashing_is_known_by_its_digest_and_options(tmp_path):
    now = [0.0]
    async with stable_in(tmp_path, clock=lambda: now[0]) as stable:
        spec = fake_spec(die_at="load")
        assert stable.refused() == {}
        await crash(stable, spec)
        (refused,) = stable.refused().items()
        assert refused[0] == ("tiny", spec.options)
        assert refused[1].retry_after_seconds == 10
        now[0] = 10
        assert stable.refused() == {}


async def test_the_spare_leaves_the_memory_that_models_may_have_to_them(tmp_path):
    limits = replace(LIMITS, spare=replace(EAGER_SPARE, size_bytes=100_000_000), memory_bytes=1_000_000_000)
    async with stable_in(tmp_path, limits) as stable:
        await until(lambda: stable.spare.pid > 0)
        async with loaded(stable, replace(fake_spec(), memory_limit_bytes=999_000_000)) as server:
            assert server.claimed_bytes == 999_000_000
            await until(lambda: stable.spare.pid == -1)
        assert server.claimed_bytes == 0
        await until(lambda: stable.spare.pid > 0)


async def test_a_model_on_an_accelerator_of_its_own_claims_main_memory_for_its_process_only(tmp_path):
    gpu = Device("cuda:0", "GPU", 8_000_000_000, 8_000_000_000, is_accelerator=True)
    async with stable_in(tmp_path) as stable:
        server = stable.make_server(replace(fake_spec(), memory_limit_bytes=999_000_000))
        await server.load(SYSTEM, [gpu, CPU], require_full=False)
        assert 0 < server.claimed_bytes < 999_000_000
        await server.close()
