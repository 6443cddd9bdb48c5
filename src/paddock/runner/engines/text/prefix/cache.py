"""Keeps what the model has read, so that a prompt which begins like an earlier one is read from there on only.

mlx-lm's `LRUPromptCache` is not used: it stores every conversation whole, so that shared beginnings count n times,
weighs their number first, spends a dictionary on each token, and plans no checkpoints for what cannot be cut.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from paddock.runner.engines.text.prefix import copies as cache_copies
from paddock.runner.engines.text.prefix.copies import Layout
from paddock.runner.engines.text.prefix.shelf import (
    Checkpoint,
    Shelf,
    compute,
    last_use,
    sequence_leaves,
    take_checkpoint,
)
from paddock.runner.engines.text.prefix.stops import planned_stops

logger = logging.getLogger(__name__)

_REMEMBERED_LOOKUPS = 16


@dataclass(frozen=True)
class Prefix:
    """The beginning of a prompt, read before."""

    length: int
    """Tokens that the caches hold; fewer than the prompt has."""
    caches: list[Any]
    """Fresh caches, layer by layer, the caller's to write to."""


class PrefixCache:
    """Prefixes of token sequences with the model's caches for them, bounded in bytes. One thread calls all of it.

    Tenants share nothing. Tokens may be anything hashable, so that a placeholder for media can carry its digest.
    """

    def __init__(self, limit_bytes: int) -> None:
        """0 keeps nothing."""
        self._limit_bytes = limit_bytes
        self._shelves: dict[str, Shelf] = {}
        self._uses = 0
        self._lookups: deque[tuple[Sequence[Hashable], int]] = deque(maxlen=_REMEMBERED_LOOKUPS)

    @property
    def size_bytes(self) -> int:
        """What the kept arrays take; those that conversations share count once."""
        return sum(shelf.size_bytes for shelf in self._shelves.values())

    def take(self, tenant: str, tokens: Sequence[Hashable]) -> Prefix | None:
        """The longest beginning of `tokens` that was kept for this tenant; at least one token is left to read.

        The copying happens when MLX first computes with the caches.
        """
        shelf = self._shelves.get(tenant)
        if shelf is None:
            return None
        known, source = shelf.find(tuple(tokens[:-1]))
        if shelf.layout.has_states:
            self._lookups.append((tokens, known))
        if source is None:
            return None
        return Prefix(source.length, shelf.copy(source, len(tokens), self._now()))

    def stops(self, tokens: Sequence[Hashable], start: int, caches: Sequence[Any]) -> tuple[int, ...]:
        """Where reading a prompt from `start` should pause for `keep`, ascending; nothing if any length can be cut.

        One of them is where `tokens` parts from what was kept: `take` noted that if it was given this same object.
        """
        if self._limit_bytes <= 0:
            return ()
        return planned_stops(start, len(tokens), self._parting(tokens), cache_copies.cut_horizon(caches))

    def keep(self, tenant: str, tokens: Sequence[Hashable], caches: Sequence[Any]) -> None:
        """Keep what `caches` hold, which is exactly `tokens`. Only what was not kept before is copied, and at once.

        Nothing happens if it would not fit below the limit even alone.
        """
        if self._limit_bytes <= 0 or not tokens or not caches:
            return
        if not cache_copies.seem_to_hold(caches, len(tokens)):  # a wrong prefix is worse than none
            logger.warning(
                "The caches do not hold the %d tokens that they were said to; they are not kept", len(tokens)
            )
            return
        layout = cache_copies.layout_of(caches, len(tokens))
        checkpoint = take_checkpoint(layout, caches)
        if _entry_bytes(layout, caches, len(tokens), checkpoint) > self._limit_bytes:
            return
        try:
            node = self._shelf(tenant, layout).add(tuple(tokens), caches, checkpoint, self._now())
            self._free_to(self._limit_bytes)  # room first, copies then
            compute(node)
        except (RuntimeError, MemoryError):  # MLX could not make the copies, and none may stay half made
            self.clear()
            raise

    def shrink(self, keep_bytes: int) -> int:
        """Let go of what was used longest ago until at most `keep_bytes` are left; the bytes that this freed.

        Their memory becomes MLX's spare buffers, which are the caller's to clear.
        """
        before_bytes = self.size_bytes
        self._free_to(keep_bytes)
        return before_bytes - self.size_bytes

    def clear(self) -> None:
        """Let go of everything."""
        self._shelves.clear()
        self._lookups.clear()

    def _now(self) -> int:
        self._uses += 1
        return self._uses

    def _parting(self, tokens: Sequence[Hashable]) -> int:
        """Up to where `take` knew this very object, if it was asked lately; else 0. The note is used up."""
        for index, (looked_up, known) in enumerate(self._lookups):
            if looked_up is tokens:
                del self._lookups[index]
                return known
        return 0

    def _shelf(self, tenant: str, layout: Layout) -> Shelf:
        """The tenant's; an empty one where caches of another layout were kept, to which nothing could be added."""
        shelf = self._shelves.get(tenant)
        if shelf is None or shelf.layout != layout:
            shelf = self._shelves[tenant] = Shelf(layout)
        return shelf

    def _free_to(self, keep_bytes: int) -> None:
        """What was used last survives: its way from the root was used last as well."""
        if keep_bytes <= 0:
            self.clear()
        if self.size_bytes <= keep_bytes:
            return
        candidates = [(shelf, node) for shelf in self._shelves.values() for node in shelf.candidates()]
        order = itertools.count()
        queue = [(last_use(node), next(order), shelf, node) for shelf, node in candidates]
        heapq.heapify(queue)
        while queue and self.size_bytes > keep_bytes:
            used, _, shelf, node = heapq.heappop(queue)
            if last_use(node) > used:  # it has become a leaf, and its rows were used later than its checkpoint
                heapq.heappush(queue, (last_use(node), next(order), shelf, node))
            elif node.parent is not None:
                bared = shelf.let_go(node)
                if bared is not None:
                    heapq.heappush(queue, (last_use(bared), next(order), shelf, bared))
        self._shelves = {tenant: shelf for tenant, shelf in self._shelves.items() if not shelf.is_empty}


def _entry_bytes(layout: Layout, caches: Sequence[Any], length: int, checkpoint: Checkpoint | None) -> int:
    rows_bytes = length * sum(map(cache_copies.bytes_per_token, sequence_leaves(layout, caches)))
    return rows_bytes + (checkpoint.size_bytes if checkpoint else 0)
