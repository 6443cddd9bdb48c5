"""Tiny models, made once, and real runners for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from paddock.protocol import RunnerState
from tests.runner.processes import RunnerProcess, spawn
from tests.runner.tiny import TinyShape, make_tiny_model

StartRunner = Callable[..., Awaitable[RunnerProcess]]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of a few thousand parameters that never ends by itself."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), TinyShape())


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose prompts and answers take long enough to do something in the middle of them."""
    return make_tiny_model(tmp_path_factory.mktemp("slow"), TinyShape(hidden=512, layers=8, context=8192))


@pytest.fixture
async def start_runner() -> AsyncIterator[StartRunner]:
    """Starts runners that are ready when it returns, and ends them with the test."""
    async with AsyncExitStack() as runners:

        async def start(model: Path, **options: int) -> RunnerProcess:
            runner = await runners.enter_async_context(spawn(model, **options))
            health = await runner.wait_loaded()
            assert health.state is RunnerState.READY, health
            return runner

        yield start
