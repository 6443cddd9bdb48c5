"""The whole program pulls from a fake Hub: it is asked by its own command, stopped half way, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.fakes.fake_hub import FakeHub, sha256
from tests.fakes.waiting import until
from tests.road.conftest import Road, start_road
from tests.store.hub.pulling import WEIGHTS, model_bytes

NAME = "hf.co/org/repo"


async def pulled(road: Road) -> tuple[int, str]:
    """The status and the output of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "paddock", "pull", NAME),
        env={**os.environ, "PADDOCK_HOST": road.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_server_that_is_stopped_while_it_pulls_ends_at_once_and_the_next_goes_on(tmp_path: Path) -> None:
    files = model_bytes(tmp_path, extra_values=500_000)
    async with FakeHub.running() as hub:
        hub.repository("org/repo", files)
        hub.faults.hold = asyncio.Event()
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
        road = await asyncio.to_thread(start_road, tmp_path / "home", **settings)
        try:
            pulling = asyncio.create_task(pulled(road))
            await until(lambda: hub.holding.is_set() or pulling.done(), 30)
            await until(lambda: any((road.home / "models" / "partial").glob(f"sha256-{sha256(files[WEIGHTS])}-*")))
            road.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(road.process.wait, 15) == 0
        finally:
            road.process.kill()
        status, told = await pulling
        assert status == 1
        assert told.splitlines()[-1].startswith("Error: ")

        hub.faults.hold = None
        road = await asyncio.to_thread(start_road, tmp_path / "home", **settings)
        try:
            status, told = await pulled(road)
        finally:
            road.process.terminate()
            await asyncio.to_thread(road.process.wait, 15)
        assert status == 0, told
        assert told.splitlines()[-1] == "success"
    asked = [seen.headers.get("Range") for seen in hub.seen if seen.where == "cdn"]
    assert asked[0] is None
    assert asked[-1] is not None
