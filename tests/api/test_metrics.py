"""GET /metrics: each figure against the situation that makes it."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from paddock.api.access_log import Ended
from paddock.api.account import Account
from paddock.api.metrics.counted import MOST_MODELS, OTHER_MODELS, Counted
from paddock.errors import LoadFailed
from paddock.protocol import Done, Health, MemoryTerms, RunnerState, Text
from paddock.supervisor.breaker import BreakerState
from paddock.supervisor.exit_report import Cause
from paddock.supervisor.model_server import MemorySize
from paddock.supervisor.views import BreakerView, SpareState, SpareView, StableView
from tests.api.conftest import Served
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

HELLO = {"model": "tiny", "prompt": "Hi"}
GB = 1_000_000_000
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "metrics.md"


class Figures(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Samples by name and labels."""

    def of(self, name: str, **labels: str) -> float:
        """The one sample of this name whose labels have these among them."""
        found = [value for (known, has), value in self.items() if known == name and labels.items() <= dict(has).items()]
        assert len(found) == 1, f"{name}{labels}: {len(found)} samples"
        return found[0]

    def has(self, name: str, **labels: str) -> bool:
        return any(known == name and labels.items() <= dict(has).items() for known, has in self)


async def figures_of(served: Served) -> Figures:
    async with served.session.get(f"{served.url}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = Figures({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})
    assert len(found) == len(samples), "a sample is there twice"
    return found


def with_stable(served: Served, view: StableView) -> None:
    """Have the server see the runners' keepers so."""
    state = served.server.config.app.state
    state.services = dataclasses.replace(state.services, stable=lambda: view)


async def test_a_server_with_nothing_to_do_has_figures_too(served: Served) -> None:
    found = await figures_of(served)

    assert found.of("paddock_server_info") == 1
    assert found.of("paddock_uptime_seconds") > 0
    assert found.of("paddock_queue_length") == 0
    assert found.of("paddock_queue_limit") == 512
    assert found.of("paddock_memory_total_bytes", memory="cpu") > found.of("paddock_memory_reserve_bytes", memory="cpu")
    assert found.of("paddock_memory_promised_bytes", memory="cpu") == 0
    assert found.of("paddock_spare_state", state="off") == 1
    assert not found.has("paddock_active_requests")


async def test_prometheus_gets_its_own_format_and_openmetrics_where_it_asks(served: Served) -> None:
    async with served.session.get(f"{served.url}/metrics") as response:
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "_created" not in await response.text()
    accept = {"Accept": "application/openmetrics-text; version=nonsense, text/plain;q=0.5"}
    async with served.session.get(f"{served.url}/metrics", headers=accept) as response:
        assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert [family.name for family in parse_openmetrics(await response.text())]


async def test_requests_are_counted_by_template_dialect_and_status(served: Served) -> None:
    await served.lines("/api/generate", HELLO)
    await served.lines("/api/generate", HELLO)
    await served.post("/api/generate", {"model": "nobody", "prompt": "x"})
    async with served.session.head(f"{served.url}/api/blobs/sha256:{'0' * 64}"):
        pass
    async with served.session.get(f"{served.url}/some/where?secret=1"):
        pass
    await served.post("/v1/rerank", {})

    found = await figures_of(served)

    name = "paddock_requests_total"
    assert found.of(name, route="/api/generate", dialect="ollama", status="200") == 2
    assert found.of(name, route="/api/generate", dialect="ollama", status="404") == 1
    assert found.of(name, route="/api/blobs/{digest}", status="404") == 1
    assert found.of(name, route="unknown", dialect="none", status="404") == 1
    assert found.of(name, route="/v1/rerank", dialect="openai", status="400") == 1
    assert found.of("paddock_errors_total", code="not_found") == 1
    assert found.of("paddock_errors_total", code="model_not_found") == 1
    assert found.of("paddock_errors_total", code="bad_request") == 1
    assert found.of("paddock_request_seconds_count", route="/api/generate") == 3


async def test_tokens_and_times_are_counted_by_the_stored_model(served: Served) -> None:
    figures = Done(
        reason="stop",
        prompt_eval_count=7,
        prompt_eval_duration_ns=1,
        eval_count=2,
        eval_duration_ns=1,
        cached_tokens=5,
    )
    served.script().answer = (Text(content="Hello"), Text(content=" you"), figures)
    await served.lines("/api/generate", HELLO)
    await served.post("/api/chat", {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stream": False})
    await served.post("/api/generate", {"model": "nobody", "prompt": "x"})

    found = await figures_of(served)

    assert found.of("paddock_prompt_tokens_total", model="tiny:latest") == 14
    assert found.of("paddock_cached_tokens_total", model="tiny:latest") == 10
    assert found.of("paddock_answer_tokens_total", model="tiny:latest") == 4
    assert found.of("paddock_first_token_seconds_count", model="tiny:latest") == 2
    assert found.of("paddock_queue_wait_seconds_count", model="tiny:latest") == 2
    assert not found.has("paddock_prompt_tokens_total", model="nobody")


async def test_the_wait_for_a_load_is_queue_wait(served: Served) -> None:
    served.script().load_gate = gate = asyncio.Event()
    asking = asyncio.create_task(served.lines("/api/generate", HELLO))
    await until(lambda: served.servers.made)
    loading = await figures_of(served)
    await asyncio.sleep(0.11)  # the wait that is measured
    gate.set()
    await asking

    found = await figures_of(served)

    assert loading.of("paddock_runner_state", model="tiny:latest", state="loading") == 1
    assert loading.of("paddock_waiting_requests", model="tiny:latest") == 1
    assert loading.of("paddock_queue_length") == 1
    assert loading.of("paddock_queue_oldest_seconds") > 0
    assert found.of("paddock_queue_wait_seconds_sum", model="tiny:latest") >= 0.11
    assert found.of("paddock_first_token_seconds_sum", model="tiny:latest") >= 0.11
    assert found.of("paddock_load_seconds_sum") >= 0.11
    assert found.of("paddock_loads_total", outcome="ready") == 1
    assert found.of("paddock_queue_length") == 0


async def test_a_resident_model_shows_its_memory_by_terms(served: Served) -> None:
    terms = MemoryTerms(weights_bytes=3 * GB, active_bytes=4 * GB, cache_bytes=GB, private_peak_bytes=6 * GB)
    script = served.script()
    script.health = Health(state=RunnerState.READY, pid=1, memory=terms, tokens=42, active_requests=1)
    script.memory = MemorySize(total_bytes=5 * GB, device_bytes=0)
    await served.lines("/api/generate", HELLO)
    (row,) = served.scheduler.residents()

    found = await figures_of(served)

    tiny = {"model": "tiny:latest", "digest": row.model.digest[:12]}
    assert found.of("paddock_promised_bytes", **tiny, term="weights") == row.need.weights_bytes > 0
    assert found.of("paddock_promised_bytes", **tiny, term="kv") == row.need.kv_bytes > 0
    assert found.of("paddock_promised_bytes", **tiny, term="workspace") == row.need.workspace_bytes > 0
    assert found.of("paddock_promised_bytes", **tiny, term="runtime") == row.need.runtime_bytes > 0
    assert found.of("paddock_promised_total_bytes", **tiny) == row.need.total_bytes
    assert found.of("paddock_measured_bytes", **tiny, term="arrays") == 4 * GB
    assert found.of("paddock_held_bytes", **tiny) == row.held_bytes > 0
    assert found.of("paddock_peak_bytes", **tiny) == row.peak_bytes >= 6 * GB
    assert found.of("paddock_runner_tokens_total", **tiny) == 42
    assert found.of("paddock_batch_requests", **tiny) == 1
    assert found.of("paddock_batch_limit", **tiny) == 4
    assert found.of("paddock_memory_promised_bytes", memory="cpu") == row.need.total_bytes
    assert found.of("paddock_memory_held_bytes", memory="cpu") == row.held_bytes > 0


async def test_requests_under_way_are_told_by_model(served: Served) -> None:
    served.script().answer = (gate := asyncio.Event(), done())
    asking = asyncio.create_task(served.lines("/api/generate", HELLO))
    await until(lambda: served.servers.made and served.servers.made[0].active)

    found = await figures_of(served)
    gate.set()
    await asking

    assert found.of("paddock_active_requests", model="tiny:latest") == 1
    assert (await figures_of(served)).of("paddock_active_requests", model="tiny:latest") == 0


async def test_evictions_have_their_reason_and_failed_loads_are_counted(served: Served) -> None:
    await served.post("/api/generate", HELLO | {"keep_alive": 0})
    await until(lambda: not served.scheduler.residents())
    served.script().load_failure = LoadFailed("The runner of 'tiny' ended: bad weights.")
    await served.post("/api/generate", HELLO)

    found = await figures_of(served)

    assert found.of("paddock_evictions_total", reason="keep_alive") == 1
    assert found.of("paddock_evictions_total", reason="room") == 0
    assert found.of("paddock_loads_total", outcome="failed") == 1
    assert found.of("paddock_rejections_total", code="load_failed") == 1
    assert found.of("paddock_errors_total", code="load_failed") == 1


async def test_crashes_breakers_and_the_spare_are_as_their_keepers_say(served: Served) -> None:
    closed = BreakerView("tiny:latest", "a" * 64, BreakerState.CLOSED, 1, 0.0, "it fell over")
    opened = dataclasses.replace(closed, state=BreakerState.OPEN, retry_seconds=8.5)
    with_stable(
        served,
        StableView(
            spare=SpareView(SpareState.PRESENT, 123),
            breakers=(opened, closed),  # the same model with other options
            crashes={Cause.OUT_OF_MEMORY: 2},
        ),
    )

    found = await figures_of(served)

    assert found.of("paddock_crashes_total", cause="out_of_memory") == 2
    assert found.of("paddock_crashes_total", cause="hang") == 0
    assert found.of("paddock_breaker_state", model="tiny:latest", state="open") == 1
    assert found.of("paddock_breaker_state", model="tiny:latest", state="closed") == 0
    assert found.of("paddock_spare_state", state="present") == 1
    assert found.of("paddock_spare_held_bytes") == 123


async def test_a_client_that_left_is_counted_as_such(served: Served) -> None:
    served.script().answer = (asyncio.Event(), done())
    asking = asyncio.create_task(served.lines("/api/generate", HELLO))
    await until(lambda: served.servers.made and served.servers.made[0].active)
    asking.cancel()
    await until(lambda: served.is_at_rest)

    found = await figures_of(served)

    assert found.of("paddock_requests_total", route="/api/generate", status="499") == 1
    assert found.of("paddock_requests_ended_early_total", dialect="ollama") == 1
    assert found.of("paddock_queue_wait_seconds_count", model="tiny:latest") == 1


def ended(**changes: Any) -> Ended:
    fields = {"method": "POST", "route": "/api/chat", "dialect": "ollama", "status": 200, "is_whole": True}
    return Ended(**{**fields, "seconds": 0.1, "account": Account(), **changes})


@pytest.mark.parametrize("count", [MOST_MODELS, 3 * MOST_MODELS])
def test_however_many_models_there_are_only_so_many_have_figures_of_their_own(count: int) -> None:
    counted = Counted()
    for number in range(count):
        counted.request_ended(ended(account=Account(model=f"model-{number}", queue_seconds=0.0)))
    counted.request_ended(ended(account=Account(model="model-0", queue_seconds=0.0)))

    names = [
        sample.labels["model"]
        for family in counted.registry.collect()
        for sample in family.samples
        if sample.name == "paddock_queue_wait_seconds_count"
    ]

    assert len(names) == len(set(names)) == MOST_MODELS + (count > MOST_MODELS)
    assert (OTHER_MODELS in names) == (count > MOST_MODELS)


def test_each_server_counts_for_itself() -> None:
    one, other = Counted(), Counted()

    one.request_ended(ended())

    assert one.registry.get_sample_value(
        "paddock_requests_total", {"route": "/api/chat", "dialect": "ollama", "status": "200"}
    )
    assert not [sample for family in other.registry.collect() for sample in family.samples]


async def test_the_documentation_names_every_figure_and_no_other(served: Served) -> None:
    served.script().health = Health(state=RunnerState.READY, pid=1)
    await served.lines("/api/generate", HELLO)
    async with served.session.get(f"{served.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    told = set(re.findall(r"`(paddock_\w+)`", DOCUMENTATION.read_text()))

    there = {line.split()[2] for line in lines if line.startswith("# TYPE")}

    assert there == told
