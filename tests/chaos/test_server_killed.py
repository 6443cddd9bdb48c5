"""kill -9 of the server, whatever it and its runners are doing: no runner outlives it, and the next server serves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass, field

import aiohttp
import msgspec
import psutil
import pytest

from tests.chaos.conftest import StartRoad
from tests.chaos.roads import Stopwatch, client, is_alive, percentile, runner_pids, scaled, stream
from tests.fakes.waiting import until, until_blocking
from tests.road.conftest import Road

SITUATIONS: dict[str, dict[str, object]] = {
    "idle": {},
    "loading": {"load_seconds": 60},
    "streaming": {"frame_count": 100_000, "frame_seconds": 0.01},
    "busy in C": {"frame_count": 100, "frame_seconds": 0.01, "in_c_after_frames": 10},
    "stopped": {"frame_count": 100_000, "frame_seconds": 0.01},
    "unwilling": {"frame_count": 100_000, "frame_seconds": 0.01, "survives_the_server": True},
}
"""The last neither reads its control pipe nor asks the system to end it: only the guardian is left."""


@dataclass
class Campaign:
    gone_seconds: list[float] = field(default_factory=list)
    restart_seconds: list[float] = field(default_factory=list)
    own_restart_seconds: list[float] = field(default_factory=list)
    """Less what the host of a virtual machine took."""
    serve_seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.gone_seconds)} kills of the server, 0 runners after 1 s; " + "; ".join(
            f"{name} p50 {percentile(values, 0.5):.3f} max {max(values):.3f} s"
            for name, values in (
                ("runners gone", self.gone_seconds),
                ("server answers", self.restart_seconds),
                ("of the own time", self.own_restart_seconds),
                ("first answer of a model", self.serve_seconds),
            )
        )


async def kill_in(start: StartRoad, situation: str, campaign: Campaign) -> None:
    """Bring a server into the situation, kill it, and start the next."""
    road = start(SITUATIONS[situation])
    async with client(30) as session:
        answer = asyncio.create_task(stream(session, road.url, num_predict=1 if situation == "idle" else -1))
        pids = await arrange(road, situation, answer)
        road.process.kill()
        at = time.monotonic()
        road.process.wait()
        await until(lambda: not any(is_alive(pid) for pid in pids), 5.0, f"{situation}: the runners are gone")
        campaign.gone_seconds.append(time.monotonic() - at)
        answer.cancel()
        with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
            await answer
    await serve_again(start, campaign)


async def arrange(road: Road, situation: str, answer: asyncio.Task[object]) -> list[int]:
    """Until it is so; the pids of the runners."""
    await until(lambda: runner_pids(road), 10, "a runner")
    if situation == "idle":
        await answer
    elif situation != "loading":
        await asyncio.sleep(0.8)
    pids = runner_pids(road)
    assert pids
    if situation in ("stopped", "unwilling"):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    return pids


async def serve_again(start: StartRoad, campaign: Campaign) -> None:
    watch = Stopwatch()
    road = start({})
    campaign.restart_seconds.append(watch.seconds())
    campaign.own_restart_seconds.append(watch.own_seconds())
    async with client(10) as session:
        ending = await stream(session, road.url)
    campaign.serve_seconds.append(watch.seconds())
    assert ending.lines[-1].get("done"), ending
    assert not list((road.home / "run").glob("*.new"))
    assert len(list((road.home / "run").glob("*.json"))) == len(runner_pids(road)) == 1
    assert len(list((road.home / "tmp").iterdir())) == 1
    road.process.kill()
    road.process.wait()
    until_blocking(lambda: not runner_files_alive(road), 5.0, "the runner of the second server is gone")


def runner_files_alive(road: Road) -> list[int]:
    records = [msgspec.json.decode(path.read_bytes()) for path in (road.home / "run").glob("*.json")]
    return [record["pid"] for record in records if record["pid"] and is_alive(record["pid"])]


def check(campaign: Campaign) -> None:
    print(campaign)
    assert campaign.gone_seconds


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_killed_server_leaves_nothing_and_the_next_one_serves(start_fake: StartRoad, situation: str) -> None:
    campaign = Campaign()
    await kill_in(start_fake, situation, campaign)
    check(campaign)


@pytest.mark.slow
async def test_two_hundred_killed_servers(start_fake: StartRoad) -> None:
    campaign = Campaign()
    for situation in itertools.islice(itertools.cycle(SITUATIONS), scaled(200)):
        await kill_in(start_fake, situation, campaign)
    check(campaign)
    # How long a start takes is the machine's as well: only the campaign, which has it to itself, holds it to a figure.
    assert max(campaign.gone_seconds) <= 1
    assert max(campaign.own_restart_seconds) <= 3


async def test_a_server_that_is_killed_with_its_spare_leaves_no_spare(start_real: StartRoad) -> None:
    road = start_real(PADDOCK_WARM_SPARE="1")
    await until(lambda: runner_pids(road), 10, "a spare")
    pids = runner_pids(road)
    road.process.kill()
    road.process.wait()
    await until(lambda: not any(is_alive(pid) for pid in pids), 5.0, "the spare is gone")


async def test_a_guardian_that_is_killed_is_replaced_and_knows_the_runners(start_fake: StartRoad) -> None:
    road = start_fake(SITUATIONS["unwilling"])
    async with client(30) as session:
        answer = asyncio.create_task(stream(session, road.url))
        pids = await arrange(road, "unwilling", answer)
        first = guardian_pid(road)
        os.kill(first, signal.SIGKILL)
        await until(lambda: guardian_pid(road) not in (0, first), 5, "another guardian")
        road.process.send_signal(signal.SIGINT)  # as from a terminal: the guardian is in a session of its own
        road.process.kill()
        road.process.wait()
        await until(lambda: not any(is_alive(pid) for pid in pids), 5.0, "the runners are gone")
        await answer


def guardian_pid(road: Road) -> int:
    """0 while there is none: a child that has just ended has no command line any more."""
    for child in psutil.Process(road.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one as well
            if any(part.endswith("guardian_main.py") for part in child.cmdline()):
                return child.pid
    return 0
