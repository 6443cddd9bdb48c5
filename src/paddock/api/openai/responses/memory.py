"""The responses that are kept for `previous_response_id` and to be asked for again: in memory, within bounds, and each
for the one who asked for it alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from paddock.api.openai.responses.items import Item

MAX_RESPONSES = 2048
MAX_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True)
class Kept:
    """A response, and the conversation that it answered. It stands alone: what it answers may have left."""

    answer: bytes
    """The response as JSON, as it was told."""
    given: tuple[Item, ...]
    """All that came before it, without instructions."""
    told: tuple[Item, ...]
    """What it said."""

    @property
    def conversation(self) -> tuple[Item, ...]:
        """What a next response goes on from."""
        return (*self.given, *self.told)


@dataclass
class _Shelf:
    """Those of one owner, the oldest first, with their sizes in bytes."""

    kept: OrderedDict[str, tuple[Kept, int]] = field(default_factory=OrderedDict)
    size_bytes: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    """All items in them, by their ids …"""
    uses: Counter[str] = field(default_factory=Counter)
    """… and in how many places each is."""

    def put(self, name: str, kept: Kept, size_bytes: int) -> None:
        self.kept[name] = (kept, size_bytes)
        self.size_bytes += size_bytes
        for item in kept.conversation:
            self.items[item.id] = item
            self.uses[item.id] += 1

    def take(self, name: str) -> None:
        kept, size_bytes = self.kept.pop(name)
        self.size_bytes -= size_bytes
        for item in kept.conversation:
            self.uses[item.id] -= 1
            if not self.uses[item.id]:
                del self.uses[item.id], self.items[item.id]


class ResponseMemory:
    """Owns what is kept. An owner never sees what another's is. Beyond the bounds whoever holds most loses the oldest.

    A response counts with the whole conversation before it, though later ones share that: the true size is smaller.
    """

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._shelves: dict[str, _Shelf] = {}

    def keep(self, owner: str, name: str, kept: Kept) -> None:
        """Keep a response under its id, which must be new."""
        size_bytes = len(kept.answer) + len(msgspec.json.encode(kept.conversation))
        self._shelves.setdefault(owner, _Shelf()).put(name, kept, size_bytes)
        self._make_room()

    def find(self, owner: str, name: str) -> Kept | None:
        """The response of that id, if it is this owner's and still here."""
        shelf = self._shelves.get(owner)
        return shelf.kept[name][0] if shelf and name in shelf.kept else None

    def forget(self, owner: str, name: str) -> bool:
        """Whether there was such a response; it is gone now. Later ones keep what they have of it."""
        if self.find(owner, name) is None:
            return False
        self._drop(owner, name)
        return True

    def items(self, owner: str, names: Collection[str]) -> dict[str, Item]:
        """Those of these items, by their ids, that are in any response of this owner."""
        shelf = self._shelves.get(owner, _Shelf())
        return {name: shelf.items[name] for name in names if name in shelf.items}

    def _make_room(self) -> None:
        while sum(len(shelf.kept) for shelf in self._shelves.values()) > self._max_responses:
            self._drop_oldest(max(self._shelves, key=lambda owner: len(self._shelves[owner].kept)))
        while sum(shelf.size_bytes for shelf in self._shelves.values()) > self._max_bytes:
            self._drop_oldest(max(self._shelves, key=lambda owner: self._shelves[owner].size_bytes))

    def _drop_oldest(self, owner: str) -> None:
        self._drop(owner, next(iter(self._shelves[owner].kept)))

    def _drop(self, owner: str, name: str) -> None:
        shelf = self._shelves[owner]
        shelf.take(name)
        if not shelf.kept:
            del self._shelves[owner]
