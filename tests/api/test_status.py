"""GET /api/status and the live figures of /api/ps."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any

from paddock.errors import LoadFailed
from paddock.protocol import Health, RunnerState, Text
from paddock.supervisor.breaker import BreakerState
from paddock.supervisor.model_server import MemorySize
from paddock.supervisor.views import BreakerView, SpareState, SpareView, StableView
from tests.api.conftest import Served
from tests.fakes.fake_server import done
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
    assert (found["memory"][0]["promised"], found["memory"][0]["held"]) == (0, 0)
    assert found["spare"] == {"state": "off", "size": 0}
    assert found["breakers"] == []
    assert found["decisions"] == []
    assert 0 < found["uptime_seconds"] + 0.1 < 60


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


async def test_what_is_promised_and_held_of_a_memory_is_that_of_its_models(served: Served) -> None:
    served.script().memory = MemorySize(total_bytes=2_500_000_000, device_bytes=0)
    await served.client.generate("tiny", "hi")
    (row,) = served.scheduler.residents()

    found = await status(served)

    (memory,) = (memory for memory in found["memory"] if memory["id"] == row.pool_id)
    assert memory["promised"] == found["runners"][0]["promised"] == row.need.total_bytes > 0
    assert memory["held"] == found["runners"][0]["held"] == row.held_bytes > 0
    assert found["runners"][0]["size"] == 2_500_000_000
    assert 0 < memory["free"] <= memory["total"]

    await served.post("/api/generate", {"model": "tiny", "keep_alive": 0})
    await until(lambda: not served.scheduler.residents())
    found = await status(served)
    assert [(memory["promised"], memory["held"]) for memory in found["memory"]] == [(0, 0)] * len(found["memory"])


async def test_a_request_that_is_answered_is_active_and_one_behind_it_waits(served: Served) -> None:
    gate = asyncio.Event()
    served.script().answer = (gate, Text(content="Hi"), done())
    asking = [asyncio.create_task(served.post("/api/generate", {"model": "tiny", "prompt": "hi"})) for _ in range(6)]
    await until(lambda: served.scheduler.queue().waiting == 1)

    found = await status(served)

    (runner,) = found["runners"]
    assert (runner["state"], runner["parallel"]) == ("ready", 4)
    assert (runner["active_requests"], runner["waiting_requests"]) == (5, 1)
    assert found["queue"]["waiting"] == 1
    gate.set()
    assert [answer["done"] for _, answer in await asyncio.gather(*asking)] == [True] * 6
    assert (await status(served))["queue"]["waiting"] == 0


async def test_the_last_decisions_are_told_with_their_reasons(served: Served) -> None:
    await served.post("/api/generate", {"model": "tiny", "prompt": "hi", "keep_alive": 0})
    await until(lambda: not served.scheduler.residents())
    served.script().load_failure = LoadFailed("The runner of 'tiny' ended: bad weights.")
    await served.post("/api/generate", {"model": "tiny", "prompt": "hi"})

    decisions = (await status(served))["decisions"]

    assert [(row["what"], row["model"]) for row in reversed(decisions)] == [
        ("start", "tiny:latest"),
        ("stop", "tiny:latest"),
        ("start", "tiny:latest"),
        ("reject", "tiny:latest"),
    ]
    assert decisions[0]["why"] == "The runner of 'tiny' ended: bad weights."
    assert decisions[2]["why"] == "its keep_alive is over"
    ages = [row["seconds_ago"] for row in decisions]
    assert ages == sorted(ages)
    assert all(0 <= age < 60 for age in ages)


async def test_a_model_that_is_not_started_again_is_a_problem_in_words(served: Served) -> None:
    view = StableView(
        spare=SpareView(SpareState.PRESENT, 123),
        breakers=(
            BreakerView("tiny:latest", "a" * 64, BreakerState.OPEN, 3, 8.25, "it fell over"),
            BreakerView("other:latest", "b" * 64, BreakerState.HALF_OPEN, 3, 0.0, "it fell over"),
        ),
    )
    state = served.server.config.app.state
    state.services = dataclasses.replace(state.services, stable=lambda: view)

    found = await status(served)

    assert found["status"] == "degraded"
    assert found["problems"] == ["The model 'tiny:latest' keeps crashing and is not started again for 8 seconds."]
    assert found["breakers"][0] == {
        "model": "tiny:latest",
        "state": "open",
        "crashes": 3,
        "retry_seconds": 8.25,
        "cause": "it fell over",
    }
    assert (found["breakers"][1]["state"], found["breakers"][1]["retry_seconds"]) == ("half_open", 0.0)
    assert found["spare"] == {"state": "present", "size": 123}
