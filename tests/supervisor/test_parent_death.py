"""A server that is killed takes its runners with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import paddock
from tests.fakes.runners import is_alive
from tests.fakes.waiting import until_blocking

SERVER = """
import asyncio
from paddock.supervisor.runner_server import RunnerServer
from tests.fakes.runners import CPU, SYSTEM, fake_host, fake_spec

async def main():
    servers = [RunnerServer(fake_spec(name=f"tiny{number}", ignore_sigterm=True), fake_host()) for number in range(2)]
    for server in servers:
        await server.load(SYSTEM, [CPU], require_full=False)
        await server.wait_until_running()
    print(*(server.pid for server in servers), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_server_leaves_no_runner_behind(number, short_folder):
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(Path(paddock.__file__).parent.parent), str(root)])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(short_folder)}
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        runners = [int(pid) for pid in server.stdout.readline().split()]
        assert len(runners) == 2
        assert all(is_alive(pid) for pid in runners)
        server.send_signal(number)
        until_blocking(lambda: not any(is_alive(pid) for pid in runners), within_seconds=5.0, what="runners gone")
