"""A runner without a model, and what a runner says of its work: the child's side of spares and of hang detection."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence

import pytest
from aiohttp.test_utils import TestClient, TestServer

from paddock import protocol
from paddock.errors import ProtocolError
from paddock.protocol import Activity, Failed, Health, LoadRequest, RunnerState
from paddock.runner.http import make_app
from paddock.runner.loop import LEASE_SECONDS
from paddock.runner.service import RunnerService
from paddock.runner.spare import Spare, warm_up
from tests.fakes.waiting import until
from tests.runner.scripted import ScriptedEngine
from tests.runner.test_http import REQUEST, StartSurface, Surface, start, surface  # noqa: F401 -- fixtures


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen-fd", type=int)
    parser.add_argument("--model", required=True)
    return parser.parse_args(argv)


def test_the_arguments_of_a_model_join_those_of_the_process():
    spare = Spare(["--spare", "--listen-fd", "7"], parse)
    spare.begin(["--model", "tiny"])
    assert vars(spare.arguments) == {"listen_fd": 7, "model": "tiny"}


def test_arguments_that_make_no_sense_are_refused(capsys):
    with pytest.raises(ProtocolError):
        Spare(["--listen-fd", "7"], parse).begin(["--mood", "good"])
    assert "usage" in capsys.readouterr().err


def test_imports_run_at_a_low_priority_that_ends_with_their_thread():
    seen = []

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 10

    before = priority()
    warm_up(lambda: seen.append(priority())).join()
    assert seen == [max(before, 10)]
    assert sys.platform != "linux" or priority() == before


async def test_a_spare_waits_for_its_model_and_takes_one_only():
    begun = []
    service = RunnerService(ScriptedEngine)

    def begin(arguments: Sequence[str]) -> None:
        begun.append(tuple(arguments))
        service.start()

    async with TestClient(TestServer(make_app(service, begin))) as client:
        spare = Surface(service, ScriptedEngine(), client)
        assert (await spare.health()).state is RunnerState.STARTING
        status, body = await spare.post("/load", LoadRequest(arguments=("--model", "tiny")))
        assert (status, begun) == (200, [("--model", "tiny")])
        assert protocol.decode(body, Health).state in (RunnerState.LOADING, RunnerState.READY)
        await service.load_ended.wait()
        assert (await spare.health()).state is RunnerState.READY
        status, body = await spare.post("/load", LoadRequest(arguments=()))
        assert (status, protocol.decode(body, Failed).code) == (400, "protocol")


async def test_a_runner_with_a_model_takes_no_other(surface: Surface):  # noqa: F811
    status, _ = await surface.post("/load", LoadRequest(arguments=()))
    assert status == 400


# ---- the heartbeat ----


async def test_a_step_that_takes_long_beats_no_more_and_names_its_lease(surface: Surface):  # noqa: F811
    await_frames = surface.client.post("/completion", data=protocol.encode(REQUEST))
    surface.engine.allow(3)
    async with await_frames as response:
        assert response.status == 200
        await until(lambda: surface.engine.steps == 3)
        first = await surface.health()
        second = await surface.health()
        assert first.beats == second.beats
        assert first.active_requests == 1
        assert (first.activity, first.lease_seconds) == (Activity.PROMPT, LEASE_SECONDS[Activity.PROMPT])
        surface.engine.allow(1)
        await until(lambda: surface.engine.steps == 4)
        assert (await surface.health()).beats > second.beats


async def test_who_waits_for_nothing_is_idle_without_a_lease(surface: Surface):  # noqa: F811
    health = await surface.health()
    assert (health.activity, health.lease_seconds, health.active_requests) == (Activity.IDLE, 0, 0)


async def test_an_answer_that_is_made_but_not_fetched_is_no_work(start: StartSurface):  # noqa: F811
    surface = await start(ScriptedEngine(length=2000))  # noqa: F811
    surface.engine.allow(5000)
    await surface.service.load_ended.wait()
    async with surface.service.answer(REQUEST):
        await until(lambda: surface.service.health().active_requests == 0)
        await until(lambda: surface.service.health().activity is Activity.IDLE)
