"""kill -9 of a runner at a random moment: nobody hangs, nobody is left without a word, and the next one is served."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.conftest import StartRoad
from tests.chaos.roads import Ending, Stopwatch, client, runner_pids, scaled, stream, summary
from tests.road.conftest import Road
from tests.runner.tiny import TinyShape, make_tiny_model

WORDS = {"frame_count": 60, "frame_seconds": 0.004}
"""An answer of a fake takes a quarter of a second, mostly."""


@dataclass
class Campaign:
    """What was seen."""

    end_seconds: list[float] = field(default_factory=list)
    next_seconds: list[float] = field(default_factory=list)
    own_next_seconds: list[float] = field(default_factory=list)
    """Less what the host of a virtual machine took."""
    done_count: int = 0
    error_count: int = 0
    replaced_count: int = 0
    """Killed before a word was said, and answered all the same."""

    def __str__(self) -> str:
        ends = f"{len(self.next_seconds)} kills: {self.done_count} done ({self.replaced_count} by a second runner)"
        return (
            f"{ends}, {self.error_count} error, 0 hung; "
            f"{summary('end after kill', self.end_seconds)}; {summary('next request', self.next_seconds)}; "
            f"{summary('of the own time', self.own_next_seconds)}"
        )


async def kill_at_random(road: Road, model: str, count: int, within_seconds: float, **options: object) -> Campaign:
    """Kill the only runner at a random moment of an answer, `count` times."""
    campaign, chance = Campaign(), random.Random(7)
    async with client(20) as session:
        for _ in range(count):
            answering = asyncio.create_task(stream(session, road.url, model, **options))
            await asyncio.sleep(chance.uniform(0, within_seconds))
            killed = runner_pids(road)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            at = time.monotonic()
            ending = await answering
            note(campaign, ending, at, bool(killed))
            await ask_again(session, road, model, campaign)
    return campaign


def note(campaign: Campaign, ending: Ending, killed_at: float, was_killed: bool) -> None:
    assert ending.is_terminated, ending
    if not was_killed:  # it came before there was a runner, or after the end
        assert not ending.error, ending
        campaign.done_count += 1
        return
    seconds = max(0.0, ending.ended_at - killed_at)
    if ending.error:
        assert "SIGKILL" in ending.error or "ended" in ending.error, ending.error
        campaign.error_count += 1
        campaign.end_seconds.append(seconds)
    else:
        campaign.done_count += 1
        # A request that had not had a word yet is answered by the next runner, after a load.
        is_replaced = seconds > 0.5
        campaign.replaced_count += is_replaced
        campaign.end_seconds.append(0.0 if is_replaced else seconds)


async def ask_again(session: aiohttp.ClientSession, road: Road, model: str, campaign: Campaign) -> None:
    watch = Stopwatch()
    ending = await stream(session, road.url, model, num_predict=1)
    assert ending.lines[-1].get("done"), ending
    campaign.next_seconds.append(watch.seconds())
    campaign.own_next_seconds.append(watch.own_seconds())


def check(campaign: Campaign) -> None:
    print(campaign)
    assert max(campaign.end_seconds) <= 2
    assert campaign.error_count


def check_speed(campaign: Campaign) -> None:
    """A start takes the time that the machine has for it: only the campaigns, which have it to themselves, look."""
    assert max(campaign.own_next_seconds) <= 5


async def test_a_few_kills_of_fake_runners(start_fake: StartRoad) -> None:
    check(await kill_at_random(start_fake(WORDS), "demo", 8, 0.6))


@pytest.mark.slow
async def test_a_thousand_kills_of_fake_runners(start_fake: StartRoad) -> None:
    campaign = await kill_at_random(start_fake(WORDS), "demo", scaled(1000), 0.6)
    check(campaign)
    check_speed(campaign)


@pytest.mark.slow
async def test_a_hundred_kills_of_a_real_tiny_model(start_real: StartRoad, tmp_path: Path) -> None:
    road = start_real()
    folder = make_tiny_model(tmp_path, TinyShape(context=100_000))
    files = {path.name: road.client.create_blob(path) for path in folder.iterdir() if path.is_file()}
    road.client.create("endless", files=files)
    road.client.generate("endless", "Hello", options={"num_predict": 1, "num_ctx": 100_000})
    campaign = await kill_at_random(road, "endless", scaled(100), 1.5, num_ctx=100_000, num_predict=600)
    check(campaign)
    check_speed(campaign)
