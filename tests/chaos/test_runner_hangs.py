"""Runners that stand still are found by their own promise; those that are only slow are left alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import ollama
import pytest

from tests.chaos.conftest import StartRoad
from tests.chaos.roads import Ending, client, runner_pids, scaled, stream, summary
from tests.fakes.waiting import until
from tests.road.conftest import Road
from tests.runner.tiny import TinyShape, make_tiny_model

LEASE_SECONDS = 1.0
ALLOWED_SECONDS = LEASE_SECONDS + 5
AT_ONCE = 5
SEEN_LINES = 50
"""So much of each answer comes first: a runner is asked for its lease a little after it was given work."""
ENDLESS = {"frame_count": 100_000, "frame_seconds": 0.02, "lease_seconds": LEASE_SECONDS}


def make_models(road: Road, count: int) -> list[str]:
    """Models that differ enough to have a runner each."""
    names = [f"m{number}" for number in range(count)]
    asking = ollama.Client(road.url)
    for number, name in enumerate(names):
        asking.create(name, from_="demo", parameters={"temperature": number / 100})
    asking.close()  # a connection that is kept alive would be counted
    return names


async def stop_all(road: Road, models: list[str]) -> list[float]:
    """SIGSTOP the runners of all these models in the middle of an answer; seconds until each was told of it."""
    async with client(60) as session:
        endings = [Ending() for _ in models]
        answers = [
            asyncio.create_task(stream(session, road.url, model, ending))
            for model, ending in zip(models, endings, strict=True)
        ]
        await until(lambda: all(len(ending.lines) > SEEN_LINES for ending in endings), 30, "all answer")
        for pid in runner_pids(road):
            os.kill(pid, signal.SIGSTOP)
        at = time.monotonic()
        await asyncio.gather(*answers)
    for ending in endings:
        assert ending.is_terminated
        assert "hang, no progress" in ending.error, ending.error
    return [ending.ended_at - at for ending in endings]


async def stop_many(road: Road, count: int) -> list[float]:
    models = make_models(road, min(count, AT_ONCE))
    seconds: list[float] = []
    while len(seconds) < count:
        seconds += await stop_all(road, models)
    return seconds


async def test_stopped_runners_are_found_and_their_requests_told(start_fake: StartRoad) -> None:
    seconds = await stop_many(start_fake(ENDLESS), 2)
    print(summary("SIGSTOP: told after", seconds))
    assert max(seconds) <= ALLOWED_SECONDS


@pytest.mark.slow
async def test_a_hundred_stopped_runners(start_fake: StartRoad) -> None:
    seconds = await stop_many(start_fake(ENDLESS), scaled(100))
    print(f"{len(seconds)} SIGSTOP, lease {LEASE_SECONDS} s:", summary("told after", seconds))
    assert max(seconds) <= ALLOWED_SECONDS


@pytest.mark.parametrize("kind", ["stall_after_frames", "in_c_after_frames"])
async def test_a_work_loop_that_stands_still_is_found(start_fake: StartRoad, kind: str) -> None:
    """While the rest of the process answers as ever, and in a call that lets nothing else run."""
    road = start_fake({**ENDLESS, kind: 30})
    async with client(30) as session:
        began = time.monotonic()
        ending = await stream(session, road.url)
        seconds = time.monotonic() - began
    assert "hang, no progress" in ending.error, ending
    assert seconds <= ALLOWED_SECONDS + 2


SLOW_BUT_ALIVE: list[dict[str, object]] = [
    {"frame_count": 4, "frame_seconds": 0.9},
    {"frame_count": 4, "in_c_after_frames": 2, "in_c_seconds": 1},
    {"frame_count": 300, "frame_seconds": 0.01},
    {"frame_count": 2, "load_seconds": 3.0},
]


async def outlive(road: Road, names: list[str], rounds: int) -> list[Ending]:
    async with client(60) as session:
        endings: list[Ending] = []
        for _ in range(rounds):
            endings += await asyncio.gather(*(stream(session, road.url, name) for name in names))
    return endings


def start_slow_ones(start_fake: StartRoad) -> tuple[Road, list[str]]:
    behaviours = {
        f"m{number}:latest": {**behaviour, "lease_seconds": LEASE_SECONDS}
        for number, behaviour in enumerate(SLOW_BUT_ALIVE)
    }
    road = start_fake({}, FAKE_BEHAVIOURS=json.dumps(behaviours))
    return road, make_models(road, len(behaviours))


async def test_what_is_slow_but_alive_is_never_killed(start_fake: StartRoad) -> None:
    endings = await outlive(*start_slow_ones(start_fake), rounds=1)
    assert [ending.error for ending in endings] == [""] * len(SLOW_BUT_ALIVE)


@pytest.mark.slow
async def test_a_thousand_answers_that_are_slow_but_alive(start_fake: StartRoad) -> None:
    count = scaled(1000)
    road, names = start_slow_ones(start_fake)
    # Calls into C that hold the interpreter come one after the other: a second request would double the silence.
    together = [name for name in names if name != "m1"] * 13 + ["m1"]
    endings = await outlive(road, together, rounds=max(1, count // len(together)))
    killed = [ending.error for ending in endings if ending.error]
    print(f"{len(endings)} slow-but-alive answers, {len(killed)} killed")
    assert not killed


async def test_a_client_that_reads_slowly_is_no_hang(start_fake: StartRoad) -> None:
    """Everything has been made, only not fetched: nobody waits for the runner."""
    road = start_fake({"frame_count": 40, "long_frame_bytes": 200_000, "lease_seconds": LEASE_SECONDS})
    async with client(60) as session:
        body = {"model": "demo", "prompt": "slow reader", "raw": True}
        async with session.post(f"{road.url}/api/generate", json=body) as response:
            await response.content.readany()
            (pid,) = runner_pids(road)
            await asyncio.sleep(LEASE_SECONDS + 4)
            assert runner_pids(road) == [pid]


@pytest.mark.slow
async def test_a_real_runner_that_is_stopped_is_found_within_its_lease(start_real: StartRoad, tmp_path: Path) -> None:
    road = start_real()
    folder = make_tiny_model(tmp_path, TinyShape(context=100_000))
    files = {path.name: road.client.create_blob(path) for path in folder.iterdir() if path.is_file()}
    road.client.create("endless", files=files)
    async with client(120) as session:
        answer = asyncio.create_task(stream(session, road.url, "endless", num_ctx=100_000))
        await asyncio.sleep(4)
        (pid,) = runner_pids(road)
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        ending = await answer
    seconds = time.monotonic() - began
    print(f"a real runner: told {seconds:.1f} s after SIGSTOP: {ending.error}")
    assert "hang" in ending.error
    assert seconds <= 65
