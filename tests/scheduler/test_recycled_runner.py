"""A runner process that says that it has come to hold much more: the scheduler, the supervisor and a fake process."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.config import Config
from paddock.protocol import CompletionRequest
from paddock.scheduler.service import LoadWish, Scheduler
from paddock.scheduler.state import Policy
from paddock.supervisor.runner_server import RunnerServer
from tests.fakes.runners import fake_host, is_alive
from tests.fakes.waiting import until
from tests.scheduler.worlds import stored_model, supply_of

MODEL = stored_model("tiny")
DRIFT_BYTES = 300 * 1024**2
SETTLED_SECONDS = Policy().settled_seconds


class Clock:
    """Monotonic, and moved on by a test."""

    ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_seconds


@asynccontextmanager
async def scheduling(clock: Clock, **behaviour: object) -> AsyncIterator[Scheduler]:
    """A scheduler whose runners behave so, and keep their models for ever unless there is a reason."""
    host = fake_host()
    host = replace(host, environment={**host.environment, "FAKE_BEHAVIOUR": json.dumps(behaviour)})
    scheduler = Scheduler(
        config=Config(keep_alive_seconds=10 * SETTLED_SECONDS),
        make_server=lambda spec: RunnerServer(spec, host),
        prepare=lambda _: Path("/models/tiny"),
        supply=lambda: supply_of(16),
        clock=clock,
        measure=lambda _: 0,
    )
    await scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.close()


async def pid_after_an_answer(scheduler: Scheduler) -> int:
    async with scheduler.lease(MODEL, LoadWish(), None) as lease:
        assert [frame async for frame in lease.server.completion(CompletionRequest(prompt="one two"))]
        return lease.server.pid


async def test_a_drifted_runner_goes_and_the_next_request_is_served_by_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    async with scheduling(clock, drift_bytes=DRIFT_BYTES) as scheduler:
        first = await pid_after_an_answer(scheduler)
        await scheduler.look()
        clock.ahead_seconds = SETTLED_SECONDS
        with caplog.at_level("INFO", "paddock.scheduler"):
            await until(lambda: not scheduler.residents(), 5, "it is recycled")

        assert "it holds 315 MB more than after its load, which its model does not explain" in caplog.text
        assert not is_alive(first)
        assert await pid_after_an_answer(scheduler) != first


async def test_one_that_holds_what_it_held_stays() -> None:
    clock = Clock()
    async with scheduling(clock) as scheduler:
        first = await pid_after_an_answer(scheduler)
        await scheduler.look()
        clock.ahead_seconds = SETTLED_SECONDS
        assert await pid_after_an_answer(scheduler) == first
