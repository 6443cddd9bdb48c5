"""Whose turn it is within a model's queue: clients one after the other, each client's requests in their order. Pure.

A client that comes has its place behind the next request of every other, so none waits for more than a turn of each.
"""

from __future__ import annotations

from collections import Counter

from paddock.scheduler.state import State, Waiter


def line_up(queue: list[Waiter], waiter: Waiter) -> None:
    """Give a waiter its place. It goes past nobody who wants other options: that would have a runner loaded anew."""
    waiter.turn = _turn(queue, waiter.client)
    place = len(queue)
    while place and queue[place - 1].turn > waiter.turn and queue[place - 1].order.fixed == waiter.order.fixed:
        place -= 1
    if place:
        waiter.turn = max(waiter.turn, queue[place - 1].turn)
    queue.insert(place, waiter)


def _turn(queue: list[Waiter], client: str) -> int:
    """The one after the client's last, or else the last of all those that are some client's next."""
    own = [waiter.turn for waiter in queue if waiter.client == client]
    if own:
        return max(own) + 1
    following: dict[str, int] = {}
    for waiter in queue:
        following.setdefault(waiter.client, waiter.turn)
    return max(following.values(), default=0)


def most_crowding(state: State, newcomer: str) -> Waiter | None:
    """Who is to leave a full queue for the newcomer: the last to come of the client that has most in it, if that is
    more than the newcomer would have."""
    counts = Counter(waiter.client for queue in state.queues.values() for waiter in queue)
    client, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    if count <= counts[newcomer] + 1:
        return None
    waiters = (waiter for queue in state.queues.values() for waiter in queue if waiter.client == client)
    return max(waiters, key=lambda waiter: waiter.sequence)
