"""Whose turn it is: first come, first served within a client, and clients one after the other. It knows no models."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_NOBODY: Any = object()


class FairQueue(Generic[Item]):
    """Items of clients that wait for something which only one of them gets at a time.

    A client that comes, or comes again after its last item went, takes its place behind all others, so none waits for
    more than one turn of every other client.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[Item]] = {}
        self._order: deque[str] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Item]:
        """All that wait, client by client."""
        return (item for client in self._order for item in self._queues[client])

    def __contains__(self, item: Item) -> bool:
        return any(each is item for each in self)

    def add(self, client: str, item: Item) -> None:
        """Have an item wait behind the others of its client."""
        if client not in self._queues:
            self._queues[client] = deque()
            self._order.append(client)
        self._queues[client].append(item)

    def in_turn(self) -> Iterator[Item]:
        """All that wait, in the order in which they would be taken."""
        rounds = zip_longest(*(self._queues[client] for client in self._order), fillvalue=_NOBODY)
        return (item for each in rounds for item in each if item is not _NOBODY)

    def first(self) -> Item:
        """The item whose turn it is; there must be one. It goes on waiting."""
        return self._queues[self._order[0]][0]

    def pass_on(self) -> None:
        """The client whose turn it was goes behind the others; its items keep their order."""
        self._order.rotate(-1)

    def put_behind(self, client: str) -> None:
        """The client, which had a turn, goes behind the others, if it has items yet."""
        if client in self._queues:
            self._order.remove(client)
            self._order.append(client)

    def take(self) -> Item:
        """The item whose turn it is, which waits no longer; there must be one."""
        item = self.first()
        self.pass_on()
        self.remove(item)
        return item

    def remove(self, item: Item) -> None:
        """Have an item wait no longer; it must have waited."""
        client = next(client for client, queue in self._queues.items() if any(each is item for each in queue))
        left = deque(each for each in self._queues[client] if each is not item)
        self._queues[client] = left
        if not left:
            del self._queues[client]
            self._order.remove(client)
