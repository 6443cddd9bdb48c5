"""The register of runners, and the sweep after a server that did not end cleanly."""

import contextlib
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from paddock.errors import LoadFailed
from paddock.supervisor.guardian import Guardian
from paddock.supervisor.host import NONCE_VARIABLE
from paddock.supervisor.identity import is_running, start_token
from paddock.supervisor.process import RunnerProcess
from paddock.supervisor.register import Record, Register, sweep
from tests.fakes.runners import fake_host, fake_spec, is_alive
from tests.fakes.waiting import until_blocking

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(60)")


@pytest.fixture
def sleeper():
    """A process that carries the nonce "n"."""
    with subprocess.Popen(SLEEPER, start_new_session=True, env={NONCE_VARIABLE: "n"}) as process:
        until_blocking(lambda: b"time.sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        yield process
        process.kill()


def write(root: Path, **changes: object) -> Path:
    """A record of a runner whose server has ended."""
    socket_folder = root / "paddock-abc"
    socket_folder.mkdir(parents=True)
    record = Record(
        nonce="n", folder=str(socket_folder), node=platform.node(), server_pid=os.getpid(), server_start="another time"
    )
    path = root / "run" / "n.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, **changes)))
    return path


def test_what_a_dead_server_left_is_ended_and_its_folder_removed(tmp_path, sleeper):
    path = write(tmp_path, pid=sleeper.pid, start=start_token(sleeper.pid))
    assert sweep(path.parent) == [sleeper.pid]
    assert sleeper.wait(1) == -9
    assert not path.exists()
    assert not (tmp_path / "paddock-abc").exists()


def test_a_runner_that_was_started_but_not_yet_written_down_is_found_by_its_nonce(tmp_path, sleeper):
    assert sweep(write(tmp_path).parent) == [sleeper.pid]


@pytest.mark.parametrize("changes", [{"nonce": "another"}, {"nonce": "another", "start": "1"}])
def test_another_process_with_the_same_pid_is_never_touched(tmp_path, sleeper, changes):
    path = write(tmp_path, pid=sleeper.pid, **{"start": start_token(sleeper.pid), **changes})
    assert sweep(path.parent) == []
    assert is_alive(sleeper.pid)
    assert not path.exists()


@pytest.mark.parametrize("changes", [{"server_start": start_token(os.getpid())}, {"node": "another machine"}])
def test_runners_of_a_server_that_lives_or_is_elsewhere_are_left_alone(tmp_path, sleeper, changes):
    path = write(tmp_path, pid=sleeper.pid, start=start_token(sleeper.pid), **changes)
    assert sweep(path.parent) == []
    assert is_alive(sleeper.pid)
    assert path.exists()


def test_a_folder_that_is_not_one_of_ours_is_not_removed(tmp_path):
    (tmp_path / "precious").mkdir()
    path = write(tmp_path, folder=str(tmp_path / "precious"))
    sweep(path.parent)
    assert (tmp_path / "precious").is_dir()


def test_a_file_that_is_no_record_and_a_folder_that_is_not_there_do_not_stop_a_start(tmp_path):
    (tmp_path / "x.json").write_text("{")
    assert sweep(tmp_path) == []
    assert sweep(tmp_path / "nowhere") == []


async def test_a_runner_is_written_down_while_it_lives(tmp_path, short_folder):
    register = Register(tmp_path / "run", Guardian())
    process = RunnerProcess(fake_spec(), fake_host(runtime_folder=short_folder, register=register))
    [path] = (tmp_path / "run").iterdir()
    record = msgspec.json.decode(path.read_bytes(), type=Record)
    assert is_running(record.pid, record.start)
    assert (record.pid, record.folder) == (process.pid, str(process.socket_path.parent))
    assert is_running(record.server_pid, record.server_start)
    await process.stop(1)
    assert list((tmp_path / "run").iterdir()) == []


async def test_a_start_that_the_system_refuses_is_not_left_written_down(tmp_path, short_folder):
    host = fake_host(runtime_folder=short_folder, register=Register(tmp_path / "run", Guardian()))
    with pytest.raises(LoadFailed):
        RunnerProcess(fake_spec(), replace(host, command=("/does/not/exist",)))
    assert list((tmp_path / "run").iterdir()) == []


async def test_a_register_that_cannot_be_written_stops_no_runner(tmp_path, short_folder):
    (tmp_path / "run").write_text("in the way")
    register = Register(tmp_path / "run", Guardian())
    process = RunnerProcess(fake_spec(), fake_host(runtime_folder=short_folder, register=register))
    assert process.pid > 0
    await process.stop(1)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors of others are seen on Linux only")
async def test_nothing_that_the_server_holds_leaks_into_runners_or_the_guardian(tmp_path, short_folder):
    """Each pipe of the server has one end here and one in the child that it is for, and nowhere else."""
    guardian = Guardian()
    guardian.start()
    host = fake_host(runtime_folder=short_folder, register=Register(tmp_path / "run", guardian))
    processes = [RunnerProcess(fake_spec(name=f"m{number}"), host) for number in range(3)]
    pipes = [held_pipes(pid) for pid in (*(process.pid for process in processes), guardian.pid)]
    shared = [first & second for number, first in enumerate(pipes) for second in pipes[number + 1 :]]
    for process in processes:
        await process.stop(1)
    await guardian.close()
    assert not any(shared)
    assert all(pipes)


def held_pipes(pid: int) -> set[str]:
    """Pipes and sockets of a process that are not its own making: those that this process has too, or had."""
    until_blocking(lambda: b"fake_runner" in cmdline(pid) or b"guardian_main" in cmdline(pid))
    links = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a process that starts opens files and closes them again
            links.add(str(path.readlink()))
    return {link for link in links if link.startswith(("pipe:", "socket:"))}


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_start_token_names_one_life_of_a_pid():
    token = start_token(os.getpid())
    assert token
    assert token == start_token(os.getpid())
    assert is_running(os.getpid(), token)
    assert not is_running(os.getpid(), token + "0")
    assert start_token(2**22 + 1) == ""
