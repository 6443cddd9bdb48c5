"""Runner servers whose runners are fakes, closed at the end of each test."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from paddock.supervisor.load_watch import Deadlines
from paddock.supervisor.runner_server import RunnerServer
from tests.fakes.runners import CPU, SYSTEM, fake_host, fake_spec

StartRunner = Callable[..., Awaitable[RunnerServer]]


@pytest.fixture
async def start_runner() -> AsyncIterator[StartRunner]:
    """Starts a fake runner that behaves as told; `is_ready=False` does not wait for it."""
    async with AsyncExitStack() as servers:

        async def start(is_ready: bool = True, deadlines: Deadlines | None = None, **behaviour: object) -> RunnerServer:
            server = RunnerServer(fake_spec(**behaviour), fake_host(), deadlines or Deadlines(grace_seconds=1.0))
            servers.push_async_callback(server.close)
            await server.load(SYSTEM, [CPU], require_full=False)
            if is_ready:
                await server.wait_until_running()
            return server

        yield start


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for that of a Unix socket, on macOS too."""
    with tempfile.TemporaryDirectory(prefix="pd", dir="/tmp") as folder:
        yield Path(folder)
