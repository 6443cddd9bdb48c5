"""Clients take turns in the queue of a model, and a crowd cannot keep others out of it."""

from __future__ import annotations

from paddock.errors import Busy
from paddock.scheduler import events
from paddock.scheduler.state import Waiter
from paddock.scheduler.turns import line_up
from tests.scheduler.worlds import World, a_policy, an_order


def queue_of(*arrivals: str, **fixed_of: dict[str, int]) -> list[Waiter]:
    """Who stands where after these came: the first letter is the client."""
    queue: list[Waiter] = []
    for sequence, name in enumerate(arrivals):
        order = an_order("m", **fixed_of.get(name[0], {}))
        line_up(queue, Waiter(sequence, sequence, order, None, 0.0, client=name[0]))
    return queue


def line(queue: list[Waiter]) -> str:
    return " ".join(f"{waiter.client}{waiter.id}" for waiter in queue)


def test_one_client_is_served_in_its_order() -> None:
    assert line(queue_of("a", "a", "a")) == "a0 a1 a2"


def test_a_newcomer_stands_behind_the_next_request_of_each_other() -> None:
    assert line(queue_of("a", "a", "a", "b")) == "a0 b3 a1 a2"
    assert line(queue_of("a", "a", "a", "b", "c", "b")) == "a0 b3 c4 a1 b5 a2"


def test_new_clients_without_end_do_not_keep_an_old_one_waiting() -> None:
    queue = queue_of("a", "a", "b")
    served = []
    for number in range(6):
        served.append(queue.pop(0))
        line_up(queue, Waiter(100 + number, 100 + number, an_order("m"), None, 0.0, client=f"new{number}"))

    assert [waiter.client for waiter in served[:3]] == ["a", "b", "a"]


def test_a_client_that_comes_again_stands_behind_the_others() -> None:
    queue = queue_of("a", "a", "a", "b")
    assert [queue.pop(0).client, queue.pop(0).client] == ["a", "b"]
    line_up(queue, Waiter(9, 9, an_order("m"), None, 0.0, client="b"))

    assert line(queue) == "a1 b9 a2"


def test_nobody_goes_past_a_request_for_other_options() -> None:
    assert line(queue_of("a", "a", "x", "a", "a", "b", x={"num_ctx": 8192})) == "a0 a1 x2 b5 a3 a4"


def flooded(max_queue: int) -> tuple[World, int, list[int]]:
    """A model that serves one request at a time, and a client who fills its queue."""
    world = World(free_gb=10, policy=a_policy(lookahead=0, max_queue=max_queue))
    lease = world.load("m")
    waiting = [ask(world, "crowd", 100 + number) for number in range(max_queue)]
    return world, lease, waiting


def ask(world: World, client: str, waiter_id: int) -> int:
    world.send(events.Requested(world.now, waiter_id, an_order("m"), client=client))
    return waiter_id


def test_a_crowd_leaves_one_place_to_who_comes_alone() -> None:
    world, lease, waiting = flooded(max_queue=8)
    single = ask(world, "single", 500)

    assert isinstance(world.error_of(waiting[-1]), Busy), "the last of the crowd makes room"
    assert world.is_waiting(single)
    world.release(lease)
    world.release(waiting[0])
    assert world.is_granted(single), "after one turn of the crowd"


def test_a_full_queue_refuses_whoever_has_as_much_of_it_as_any() -> None:
    world, _, _ = flooded(max_queue=4)
    late = ask(world, "crowd", 300)
    others = [ask(world, "other", 400 + number) for number in range(4)]

    assert isinstance(world.error_of(late), Busy)
    assert [world.is_waiting(other) for other in others] == [True, True, False, False]
    assert world.state.waiting == 4
