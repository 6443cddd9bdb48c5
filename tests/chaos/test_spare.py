"""The warm spare of a real server: used by the next load, replaced afterwards, and never seen by users."""

from __future__ import annotations

import psutil

from tests.chaos.conftest import StartRoad
from tests.chaos.roads import is_alive, runner_pids
from tests.fakes.waiting import until_blocking
from tests.road.conftest import stop_road


def test_a_load_takes_the_spare_and_another_follows(start_real: StartRoad) -> None:
    road = start_real(PADDOCK_WARM_SPARE="1")
    until_blocking(lambda: runner_pids(road), 10, "a spare")
    (spare,) = runner_pids(road)
    assert "--spare" in psutil.Process(spare).cmdline()
    assert road.client.ps().models == []

    assert road.client.generate("demo", "Hello").response

    until_blocking(lambda: len(runner_pids(road)) == 2, 15, "another spare")
    assert spare in runner_pids(road)
    assert [model.model for model in road.client.ps().models] == ["demo:latest"]
    assert "event=spare_used model=demo:latest" in road.log()
    pids = runner_pids(road)
    assert stop_road(road) == 0
    assert not any(is_alive(pid) for pid in pids)
    assert not list((road.home / "run").iterdir())


def test_a_load_that_needs_another_kind_of_process_does_not_take_it(start_real: StartRoad) -> None:
    road = start_real(PADDOCK_WARM_SPARE="1")
    until_blocking(lambda: runner_pids(road), 10, "a spare")
    (spare,) = runner_pids(road)

    assert road.client.generate("demo", "Hello", options={"num_thread": 1}).response

    assert "event=spare_used" not in road.log()
    assert len(runner_pids(road)) == 2
    assert "--spare" in psutil.Process(spare).cmdline()


def test_a_spare_that_dies_is_replaced_and_no_load_suffers(start_real: StartRoad) -> None:
    road = start_real(PADDOCK_WARM_SPARE="1")
    until_blocking(lambda: runner_pids(road), 10, "a spare")
    (first,) = runner_pids(road)

    psutil.Process(first).kill()

    assert road.client.generate("demo", "Hello").response
    until_blocking(lambda: len(runner_pids(road)) == 2, 15, "another spare")
    assert first not in runner_pids(road)
