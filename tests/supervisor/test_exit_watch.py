import asyncio
import subprocess

import pytest

from paddock.supervisor import exit_watch
from paddock.supervisor.exit_watch import until_exited
from tests.fakes.holdings import Holdings
from tests.fakes.runners import zombie_count
from tests.fakes.waiting import until


def start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)


@pytest.fixture(params=["as the system has it", "in a thread"])
def way(request, monkeypatch):
    if request.param == "in a thread":
        monkeypatch.setattr(exit_watch, "_open_descriptor", lambda pid: None)
    return request.param


async def test_an_exit_is_noticed_and_nothing_is_left(way):
    before = Holdings()
    with start("sleep", "60") as process:
        watching = asyncio.create_task(until_exited(process))
        await asyncio.sleep(0)
        process.kill()
        await asyncio.wait_for(watching, 2)
        assert process.wait(0) == -9
    await before.are_all()
    assert zombie_count() == 0


async def test_a_process_that_ended_before_the_watch_is_noticed_too(way):
    with start("true") as process:
        await until(zombie_count)
        await asyncio.wait_for(until_exited(process), 2)
        assert process.wait(0) == 0
