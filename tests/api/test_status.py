"""GET /api/status and the live figures of /api/ps."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from paddock.protocol import Health, RunnerState
from paddock.supervisor.model_server import MemorySize
from tests.api.conftest import Served
from tests.fakes.waiting import until


async def status(served: Served, path: str = "/api/status") -> dict[str, Any]:
    async with served.session.get(served.url + path) as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


async def test_a_server_with_nothing_to_do_is_well(served: Served) -> None:
    found = await status(served)

    assert found["status"] == "ok"
    assert found["problems"] == []
    assert found["queue"] == {"waiting": 0, "limit": 512, "oldest_seconds": 0.0, "reasons": {}}
    assert found["runners"] == []
    assert found["store"]["is_readable"]
    assert found["store"]["is_writable"]
    assert found["memory"][0]["total"] > found["memory"][0]["reserve"] > 0


async def test_a_load_is_seen_with_its_progress_and_who_waits_for_it(served: Served) -> None:
    script = served.script()
    script.load_gate = asyncio.Event()
    script.health = Health(state=RunnerState.LOADING, pid=1, progress=0.25, idle_seconds=1.5)
    asking = asyncio.create_task(served.post("/api/generate", {"model": "tiny", "prompt": "hi"}))
    await until(lambda: served.servers.made)

    found = await status(served)

    (runner,) = found["runners"]
    assert (runner["model"], runner["state"], runner["progress"]) == ("tiny:latest", "loading", 0.25)
    assert runner["last_moved_seconds"] == 1.5
    assert (runner["active_requests"], runner["waiting_requests"]) == (0, 1)
    assert found["queue"]["waiting"] == 1
    assert found["queue"]["oldest_seconds"] > 0
    script.load_gate.set()
    await asking


async def test_a_store_that_is_gone_is_a_problem_in_words(served: Served, tmp_path: Path) -> None:
    (tmp_path / "models").rename(tmp_path / "elsewhere")

    found = await status(served)

    assert found["status"] == "degraded"
    assert found["problems"] == ["The store cannot be read."]


async def test_ps_shows_what_a_model_holds_now(served: Served) -> None:
    script = served.script()
    await served.client.generate("tiny", "hi")
    script.memory = MemorySize(total_bytes=2_500_000_000, device_bytes=500_000_000)

    (running,) = (await status(served, "/api/ps"))["models"]

    assert (running["size"], running["size_vram"]) == (2_500_000_000, 500_000_000)
    assert (running["state"], running["parallel"]) == ("ready", 4)
    assert running["promised"] > 0


async def test_ps_does_not_wait_for_a_runner_that_says_nothing(served: Served) -> None:
    script = served.script()
    await served.client.generate("tiny", "hi")
    script.memory_gate = asyncio.Event()
    began = time.monotonic()

    (running,) = (await status(served, "/api/ps"))["models"]

    assert time.monotonic() - began < 2
    assert running["size"] == 1_000_000_000
