"""What the scheduler tells of what it has done: counts, reasons, and the last decisions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from paddock.errors import Busy, Cancelled, OutOfMemory
from paddock.scheduler import events
from paddock.scheduler.actions import Reject, ShrinkCaches, StopReason, StopRunner
from paddock.scheduler.history import MOST_DECISIONS, History
from paddock.scheduler.recycle import DRIFT_BYTES
from paddock.scheduler.relief import EFFECT_SECONDS
from paddock.scheduler.settle import UNWANTED_LOAD_SECONDS
from paddock.scheduler.state import Policy
from tests.scheduler.worlds import GB, World, supply_of


def expire() -> World:
    world = World()
    world.load_idle("a", keep_alive=1)
    world.wait(1)
    return world


def abandon_a_load() -> World:
    world = World()
    world.cancel(world.request("a"))
    world.wait(UNWANTED_LOAD_SECONDS)
    return world


def need_room() -> World:
    world = World(free_gb=4)
    world.load_idle("a", 3)
    world.request("b", 3)
    return world


def ask_for_other_options() -> World:
    world = World()
    world.load_idle("a", num_ctx=512)
    world.request("a", num_ctx=1024)
    return world


def fall_below_the_reserve() -> World:
    world = World(free_gb=4)
    world.load_idle("a", 3)
    world.send(events.MemoryChanged(world.now, supply_of(0.5, reserve_gb=1)))
    world.now += EFFECT_SECONDS
    world.send(events.MemoryChanged(world.now, supply_of(0.5, reserve_gb=1)))
    return world


def drift() -> World:
    world, settled = World(), Policy().settled_seconds
    world.load_idle("a", keep_alive=2 * settled)
    world.wait(settled)
    generation = world.resident("a").generation
    world.send(events.MemoryChanged(world.now, supply_of(world.free_gb), {}, {generation: 2 * DRIFT_BYTES}))
    return world


def run_out_of_memory_while_loading() -> World:
    world = World()
    world.load_idle("a")
    world.request("b")
    world.fail("b", OutOfMemory("No memory."))
    return world


def close() -> World:
    world = World()
    world.load_idle("a")
    world.shut_down()
    return world


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (expire, StopReason.KEEP_ALIVE),
        (abandon_a_load, StopReason.UNWANTED),
        (need_room, StopReason.ROOM),
        (ask_for_other_options, StopReason.OPTIONS),
        (fall_below_the_reserve, StopReason.SHORTAGE),
        (drift, StopReason.DRIFT),
        (run_out_of_memory_while_loading, StopReason.RETRY),
        (close, StopReason.CLOSING),
    ],
)
def test_each_way_to_end_a_runner_has_its_reason(happen: Callable[[], World], reason: StopReason) -> None:
    (stop,) = happen().of(StopRunner)

    assert (stop.key, stop.reason) == ("a", reason)


def test_loads_are_counted_by_how_they_end_and_timed_where_they_end_well() -> None:
    world, history = World(), History()
    for seconds, ending in ((2.0, "ready"), (3.0, "ready"), (5.0, "failed"), (7.0, "stopped")):
        world.request(ending + str(seconds))
        start = world.actions[-1]
        history.performed(100.0, "a", start)
        end = {
            "ready": events.Ready(100.0 + seconds, start.key, start.generation, GB),
            "failed": events.LoadFailed(100.0 + seconds, start.key, start.generation, OutOfMemory("No memory.")),
            "stopped": events.Stopped(100.0 + seconds, start.key, start.generation),
        }[ending]
        history.heard(end)
        history.heard(events.Stopped(200.0, start.key, start.generation))  # of what was loaded long ago: no load

    assert history.view(200.0).loads == {"ready": 2, "failed": 1, "stopped": 1}
    assert history.view(200.0).load_seconds == 5.0


def test_the_last_decisions_stand_there_word_by_word() -> None:
    history = History()
    for number in range(2 * MOST_DECISIONS):
        history.performed(float(number), "tiny", ShrinkCaches("key", 1, 0, f"number {number}"))
    history.performed(1000.0, "tiny", StopRunner("key", 1, "its keep_alive is over", StopReason.KEEP_ALIVE))
    history.performed(1001.0, "", Reject(7, "key", Busy("The queue is full."), "tiny"))

    view = history.view(1002.0)

    assert len(view.decisions) == MOST_DECISIONS
    assert [(row.at, row.what, row.model, row.why) for row in view.decisions[-2:]] == [
        (1000.0, "stop", "tiny", "its keep_alive is over"),
        (1001.0, "reject", "tiny", "The queue is full."),
    ]
    assert view.stops == {StopReason.KEEP_ALIVE: 1}
    assert view.rejections == {"busy": 1}


def test_a_client_that_leaves_is_counted_but_is_no_decision() -> None:
    history = History()

    history.performed(1.0, "", Reject(7, "key", Cancelled("The request was cancelled."), "tiny"))

    assert history.view(1.0).rejections == {"cancelled": 1}
    assert history.view(1.0).decisions == ()


def test_a_grant_is_told_by_requests_themselves() -> None:
    world, history = World(), History()
    world.load("a")
    for action in world.actions:
        history.performed(1.0, "a", action)

    assert [row.what for row in history.view(1.0).decisions] == ["start"]
