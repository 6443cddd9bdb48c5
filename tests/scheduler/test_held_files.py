"""The files of a model are held while it loads, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from paddock.config import Config
from paddock.errors import LoadFailed
from paddock.scheduler.service import LoadWish, Scheduler
from paddock.store.library import StoredModel
from tests.fakes.fake_server import FakeModelServers, Script
from tests.fakes.waiting import until
from tests.scheduler.worlds import stored_model, supply_of

MODEL = stored_model("tiny")


class Holding:
    """Notes what happens in which order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @asynccontextmanager
    async def hold(self, model: StoredModel) -> AsyncIterator[None]:
        self.events.append(f"hold {model.name.model}")
        try:
            yield
        finally:
            self.events.append("let go")

    def prepare(self, _model: StoredModel) -> Path:
        self.events.append("prepare")
        return Path("/models/tiny")


@asynccontextmanager
async def scheduling(holding: Holding, script: Script) -> AsyncIterator[Scheduler]:
    servers = FakeModelServers()
    servers.scripts["tiny:latest"] = script
    scheduler = Scheduler(
        config=Config(),
        make_server=servers,
        prepare=holding.prepare,
        hold=holding.hold,
        supply=lambda: supply_of(16),
        measure=lambda _: 0,
    )
    await scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.close()


async def test_files_are_held_from_before_they_are_looked_for_until_the_model_is_there() -> None:
    holding, gate = Holding(), asyncio.Event()
    async with scheduling(holding, Script(load_gate=gate)) as scheduler:
        answer = asyncio.create_task(_borrowed(scheduler))
        await until(lambda: len(holding.events) == 2, 5.0, "the load has begun")
        assert holding.events == ["hold tiny", "prepare"]
        gate.set()
        await answer
        assert holding.events == ["hold tiny", "prepare", "let go"]


async def test_a_load_that_fails_lets_go_of_the_files() -> None:
    holding = Holding()
    async with scheduling(holding, Script(load_failure=LoadFailed("It cannot be loaded."))) as scheduler:
        with pytest.raises(LoadFailed):
            await _borrowed(scheduler)
    assert holding.events.count("let go") == holding.events.count("hold tiny")


async def _borrowed(scheduler: Scheduler) -> None:
    async with scheduler.lease(MODEL, LoadWish(), None):
        pass
