"""A budget that is too small for three models, with real runners: nobody hangs, nothing is wrong, nothing overruns."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from paddock.memory.estimate import MIB
from tests.budget.fleet import Figures, Gauge, fill_store, run_clients
from tests.road.conftest import Road, road_from

CLIENTS = 8
SLACK_BYTES = 8 * 1024 * 1024


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[tuple[Road, int]]:
    """A server whose budget holds any two of the three models, and that budget."""
    promised = fill_store(tmp_path / "home")
    limit_bytes = sum(promised.values()) - min(promised.values()) + SLACK_BYTES
    assert sum(promised.values()) > limit_bytes
    settings = {"PADDOCK_MEMORY_LIMIT": str(limit_bytes), "PADDOCK_LOAD_TIMEOUT": "40s"}
    with road_from(tmp_path / "home", **settings) as road:
        yield road, limit_bytes


def serve_under_a_budget(road: Road, limit_bytes: int, requests: int) -> tuple[Figures, Gauge]:
    with Gauge(road) as gauge:
        figures = asyncio.run(run_clients(road, CLIENTS, requests, seed=7))
    reasons = re.findall(r"event=stop model=(\S+) .*why=(.*)", road.log())
    evictions = [why for _, why in reasons if "needs its memory" in why]
    print(
        f"\n{requests} requests of {CLIENTS} clients: {dict(figures.outcomes)}, {len(figures.wrong)} wrong answers; "
        f"{len(evictions)} evictions, {len(reasons)} stops, each with its reason; at most "
        f"{gauge.most_bytes / 1e6:.0f} MB of {limit_bytes / 1e6:.0f} MB held by {gauge.most_runners} runners "
        f"({gauge.samples} samples)"
    )
    assert figures.outcomes["hung"] == 0
    assert sum(figures.outcomes.values()) == requests
    assert figures.wrong == []
    assert gauge.most_bytes <= limit_bytes
    assert evictions
    assert len(reasons) == road.log().count("event=stop ")
    return figures, gauge


def test_a_budget_for_two_of_three_models_serves_all_of_them(crowded: tuple[Road, int]) -> None:
    figures, gauge = serve_under_a_budget(*crowded, requests=24)

    assert figures.outcomes["answered"] > 12
    assert gauge.most_runners == 2


@pytest.mark.slow
def test_two_hundred_requests_with_random_cancels_under_a_budget(crowded: tuple[Road, int]) -> None:
    figures, _ = serve_under_a_budget(*crowded, requests=200)

    assert figures.outcomes["cancelled"] > 10
    assert figures.outcomes["answered"] > 100


def test_what_never_fits_is_refused_at_once_with_its_terms_and_evicts_nothing(tmp_path: Path) -> None:
    promised = fill_store(tmp_path / "home")
    limit_bytes = promised["small"] + MIB
    with road_from(tmp_path / "home", PADDOCK_MEMORY_LIMIT=str(limit_bytes)) as road:
        road.client.generate("small", "hello", options={"num_predict": 1})
        before = road.runners()

        answer = httpx.post(f"{road.url}/api/generate", json={"model": "large", "prompt": "hello"}, timeout=10)

        assert answer.status_code == 507
        error = json.loads(answer.text)["error"]
        assert re.fullmatch(
            r"Model 'large:latest' needs \d+ MB \(weights \d+ MB, context \d+ MB, workspace \d+ MB, runtime \d+ MB.*\) "
            r"but this machine can give \d+ MB: .*\.",
            error,
        )
        assert answer.elapsed.total_seconds() < 2
        assert road.runners() == before
        assert "event=stop " not in road.log()
        assert [model.model for model in road.client.ps().models] == ["small:latest"]
