import asyncio
import contextlib
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from paddock.errors import LoadFailed
from paddock.runner.main import _parser
from paddock.supervisor import process as process_module
from paddock.supervisor.model_server import RunnerOptions
from paddock.supervisor.process import TRANSITIONS, ProcessState, RunnerProcess, load_arguments
from tests.fakes.holdings import Holdings
from tests.fakes.runners import fake_host, fake_spec, is_alive, zombie_count
from tests.fakes.waiting import until


@contextlib.asynccontextmanager
async def running(host=None, **behaviour):
    process = RunnerProcess(fake_spec(**behaviour), host or fake_host())
    try:
        yield process
    finally:
        await process.stop(grace_seconds=0.1)


def test_every_state_leads_to_gone_and_gone_to_nowhere():
    assert set(TRANSITIONS) == set(ProcessState)
    assert all(ProcessState.GONE in following for state, following in TRANSITIONS.items() if state != ProcessState.GONE)
    assert not TRANSITIONS[ProcessState.GONE]


async def test_a_step_that_the_table_does_not_have_is_refused():
    async with running() as process:
        process.advance(ProcessState.HELLO)
        process.advance(ProcessState.READY)
        with pytest.raises(RuntimeError, match="from ready to loading"):
            process.advance(ProcessState.LOADING)


async def test_the_socket_is_private_and_gone_with_the_process():
    async with running() as process:
        folder = process.socket_path.parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(process.socket_path.stat().st_mode) == 0o600
        assert len(os.fsencode(process.socket_path)) <= 104
    assert not folder.exists()


async def test_the_command_line_is_the_contract_and_the_environment_is_scrubbed(tmp_path):
    host = fake_host()
    host = replace(host, environment={**host.environment, "HF_TOKEN": "hidden"})
    seen = tmp_path / "environment"
    async with running(host, name="tiny:latest", num_thread=2, write_environment_to=str(seen)) as process:
        await until(lambda: seen.exists() and seen.read_bytes().endswith(b"}"))
        command = psutil.Process(process.pid).cmdline()
    arguments = dict(zip(command[2::2], command[3::2], strict=True))
    assert arguments.pop("--listen-fd").isdigit()
    assert arguments.pop("--control-fd").isdigit()
    assert arguments == {
        "--engine": "text",
        "--model": "tiny:latest",
        "--model-path": "/models/tiny",
        "--num-ctx": "2048",
        "--parallel": "1",
        "--num-batch": "512",
        "--num-gpu": "-1",
        "--memory-limit": "0",
        "--kv-bits": "0",
        "--prefix-cache": "0",
        "--keep-packed": "0",
        "--runners": "0",
    }
    environment = msgspec.json.decode(seen.read_bytes())
    assert "HF_TOKEN" not in environment
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["OMP_NUM_THREADS"] == "2"


async def test_a_runner_has_a_session_of_its_own():
    async with running() as process:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)


@pytest.mark.parametrize(("exit_code", "words"), [(0, "exit code 0"), (7, "exit code 7"), (-11, "SIGSEGV")])
async def test_any_exit_is_an_end_and_is_explained(exit_code, words):
    async with running(die_at="start", exit_code=exit_code, last_words="fatal: no luck\n") as process:
        report = await process.wait_gone(5)
        assert process.state is ProcessState.GONE
        assert process.pid == -1
    assert words in report.reason
    assert "no luck" in report.reason
    assert zombie_count() == 0


async def test_a_kill_from_outside_is_taken_for_the_systems():
    async with running() as process:
        os.kill(process.pid, signal.SIGKILL)
        report = await process.wait_gone(2)
    assert "killed by signal 9 (SIGKILL)" in report.reason
    assert "memory" in report.reason


async def test_a_stop_says_that_it_was_asked_for():
    async with running(load_seconds=60) as process:
        await process.stop()
        assert (await process.wait_gone(0)).reason == "it was stopped"


async def test_a_runner_that_ignores_sigterm_is_killed_after_the_grace():
    async with running(ignore_sigterm=True, say_when_listening="listening") as process:
        pid = process.pid
        await until(lambda: b"listening" in process.output_tail)
        start = asyncio.get_running_loop().time()
        await process.stop(grace_seconds=0.3)
        assert 0.3 <= asyncio.get_running_loop().time() - start < 2.0
        assert not is_alive(pid)


async def test_a_kill_ends_a_stop_that_is_still_patient():
    async with running(ignore_sigterm=True, say_when_listening="listening") as process:
        await until(lambda: b"listening" in process.output_tail)
        stopping = asyncio.create_task(process.stop(grace_seconds=60))
        await until(lambda: process.state is ProcessState.DRAINING)
        process.kill()
        await asyncio.wait_for(stopping, 2)
        assert (await process.wait_gone(0)).is_requested


async def test_many_may_stop_it_at_once_and_be_cancelled():
    async with running() as process:
        stops = [asyncio.create_task(process.stop()) for _ in range(20)]
        await asyncio.sleep(0)
        stops[0].cancel()
        results = await asyncio.wait_for(asyncio.gather(*stops, return_exceptions=True), 5)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [None] * 19
        await process.stop()
        assert process.state is ProcessState.GONE


@pytest.mark.parametrize("session", ["same_group", "own_session"])
async def test_a_grandchild_that_holds_the_pipes_delays_nothing(session):
    async with running(grandchild=session) as process:
        leader = psutil.Process(process.pid)
        await until(leader.children)
        [grandchild] = leader.children()
        os.kill(process.pid, signal.SIGKILL)
        await process.wait_gone(2)
        if session == "same_group":
            await until(lambda: not is_alive(grandchild.pid))
        elif is_alive(grandchild.pid):
            grandchild.kill()


@pytest.mark.parametrize("kind", ["lines", "one_line", "invalid"])
async def test_a_flood_on_stderr_never_blocks_the_runner(kind):
    async with running(flood_kind=kind, flood_bytes=64_000_000, die_at="load", last_words="\nerror: done\n") as process:
        report = await process.wait_gone(20)
    assert report.reason == "exit code 1: error: done"


async def test_a_wait_with_a_deadline_leaves_the_process_alone():
    async with running(load_seconds=60) as process:
        with pytest.raises(TimeoutError):
            await process.wait_gone(0.01)
        assert is_alive(process.pid)


async def test_closing_one_control_pipe_ends_one_runner_only():
    """No later runner inherits the write end of an earlier one's control pipe, which would keep that one alive."""
    async with (
        running(ignore_sigterm=True, say_when_listening="listening") as first,
        running(ignore_sigterm=True, say_when_listening="listening") as second,
    ):
        await until(lambda: b"listening" in first.output_tail)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, first._control_write)
        os.close(null)
        assert (await first.wait_gone(2)).return_code == 0
        assert is_alive(second.pid)


async def test_twenty_lives_leave_no_descriptor_thread_zombie_task_or_folder(short_folder):
    host = replace(fake_host(), runtime_folder=short_folder)
    async with running(host) as process:
        await process.stop()
    before = Holdings()
    for number in range(20):
        async with running(host, die_at="start" if number % 2 else "") as process:
            if number % 2:
                await process.wait_gone(5)
    await before.are_all()
    assert zombie_count() == 0
    assert list(short_folder.iterdir()) == []


async def test_a_start_that_the_system_refuses_leaves_nothing_behind(short_folder):
    host = replace(fake_host(), runtime_folder=short_folder, command=(str(short_folder / "absent"),))
    before = Holdings()
    with pytest.raises(LoadFailed, match="could not be started: no such file or directory"):
        RunnerProcess(fake_spec(), host)
    await before.are_all()
    assert list(short_folder.iterdir()) == []


async def test_output_goes_to_the_models_log(tmp_path):
    async with running(fake_host(tmp_path), name="a/b:c", die_at="start", last_words="bye\n") as process:
        await process.wait_gone(5)
    assert (tmp_path / "runner-a-b-c.log").read_bytes() == b"bye\n"


async def test_a_stop_of_a_process_that_nothing_ends_returns_and_says_that_it_is_stuck(monkeypatch, caplog):
    process = RunnerProcess(fake_spec(), fake_host())
    with monkeypatch.context() as patched:
        patched.setattr(RunnerProcess, "_signal_group", lambda self, number: None)
        patched.setattr(process_module, "KILL_SECONDS", 0.05)
        await process.stop(grace_seconds=0.05)
    assert "event=runner_stuck model=tiny" in caplog.text
    assert process.state is ProcessState.STUCK
    assert "stuck" in (await process.wait_over()).sentence
    process.kill()
    assert (await process.wait_gone(2)).is_requested


@pytest.mark.parametrize(("environment", "runners"), [({}, "3"), ({"OPENBLAS_NUM_THREADS": "2"}, "0")])
def test_a_runner_is_told_who_shares_the_processors_unless_its_threads_are_fixed(environment, runners):
    arguments = load_arguments(replace(fake_spec(), runners=3), environment)
    assert arguments[arguments.index("--runners") + 1] == runners


def test_a_runner_is_told_of_a_draft_model_only_where_there_is_one():
    assert "--draft-path" not in load_arguments(fake_spec(), {})
    arguments = load_arguments(replace(fake_spec(), draft_path=Path("/models/draft")), {})
    assert arguments[arguments.index("--draft-path") + 1] == "/models/draft"


def test_only_an_image_model_is_told_about_pictures():
    options = RunnerOptions(512, 4, picture_pixels=4096, tile_pixels=512, staged=True)
    given = load_arguments(replace(fake_spec(), engine="image", options=options), {})
    told = dict(zip(given[::2], given[1::2], strict=True))
    assert (told["--pictures-at-once"], told["--picture-pixels"]) == ("4", "4096")
    assert (told["--tile-pixels"], told["--staged"]) == ("512", "1")
    left_open = load_arguments(replace(fake_spec(), engine="image"), {})
    assert "--tile-pixels" not in left_open
    assert "--staged" not in load_arguments(fake_spec(), {})
    sockets = ("--listen-fd", "3", "--control-fd", "4")
    assert _parser().parse_args([*given, *sockets]).tile_pixels == 512
    assert _parser().parse_args([*left_open, *sockets]).tile_pixels == 1024
