"""The guardian: a real one, with real groups to look after."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from paddock.supervisor.guardian import PROGRAM, Guardian
from paddock.supervisor.guardian_main import is_same, note
from tests.fakes.runners import is_alive
from tests.fakes.waiting import until

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(60)")


@pytest.fixture
def group():
    """A process in a group of its own that nobody else ends."""
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
async def guardian():
    guardian = Guardian(restart_seconds=0.05)
    guardian.start()
    yield guardian
    await guardian.close()


async def test_what_it_knows_of_is_killed_when_its_pipe_closes_even_if_it_is_stopped(guardian, group):
    guardian.add(group.pid)
    group.send_signal(signal.SIGSTOP)
    await guardian.close()
    assert group.wait(2) == -signal.SIGKILL


async def test_what_has_ended_is_none_of_its_business(guardian, group):
    guardian.add(group.pid)
    guardian.remove(group.pid)
    await guardian.close()
    assert is_alive(group.pid)


async def test_children_that_outlived_the_leader_of_a_group_are_killed(guardian):
    forks = "import os, time; pid = os.fork(); print(pid or 0, flush=True) if pid else time.sleep(60)"
    with subprocess.Popen(  # noqa: ASYNC220 -- it returns at once
        [sys.executable, "-S", "-c", forks], start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        guardian.add(leader.pid)
        leader.wait()
        assert is_alive(child)
        await guardian.close()
        await until(lambda: not is_alive(child), 2)


async def test_one_that_dies_is_replaced_and_told_everything(guardian, group):
    guardian.add(group.pid)
    first = guardian.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: guardian.pid not in (-1, first), 3)
    await guardian.close()
    assert group.wait(2) == -signal.SIGKILL


async def test_signals_from_a_terminal_do_not_end_it_and_it_has_its_own_session(guardian):
    process = psutil.Process(guardian.pid)
    await until(lambda: process.cmdline()[-1] == str(PROGRAM) and ignores(guardian.pid, signal.SIGTERM), 2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian.pid, number)
    await asyncio.sleep(0.1)
    assert is_alive(guardian.pid)
    assert os.getsid(guardian.pid) == guardian.pid != os.getsid(0)


def ignores(pid, number):
    if sys.platform != "linux":
        return True
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn"))
    return bool(mask >> (number - 1) & 1)


async def test_it_holds_nothing_but_its_own_end_of_the_pipe(guardian):
    await until(lambda: psutil.Process(guardian.pid).num_fds() == 3, 2)


async def test_it_costs_little(guardian):
    process = psutil.Process(guardian.pid)
    await until(lambda: ignores(guardian.pid, signal.SIGTERM), 2)
    await asyncio.sleep(0.1)
    times = process.cpu_times()
    print(f"guardian: {1000 * (times.user + times.system):.0f} ms, {process.memory_info().rss >> 20} MiB")
    assert times.user + times.system <= 0.05


def test_a_group_whose_leader_is_another_process_now_is_left_alone():
    assert is_same(os.getpid(), "") or sys.platform != "linux"
    assert not is_same(os.getpid(), "1") or sys.platform != "linux"


def test_lines_are_taken_in():
    groups: dict[int, str] = {}
    for line in ("+ 7 100", "+ 8 200", "- 7", "- 9"):
        note(groups, line.split())
    assert groups == {8: "200"}


def test_a_guardian_that_is_stopped_does_not_stop_the_server(monkeypatch):
    async def run() -> float:
        guardian = Guardian(restart_seconds=60)
        guardian.start()
        first = guardian.pid
        os.kill(first, signal.SIGSTOP)
        began = time.monotonic()
        for number in range(20_000):
            guardian.add(10_000_000 + number)
        seconds = time.monotonic() - began
        await until(lambda: not is_alive(first), 2)
        await guardian.close()
        return seconds

    assert asyncio.run(run()) < 5
