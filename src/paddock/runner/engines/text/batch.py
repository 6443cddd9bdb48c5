"""The sequences that decode together, and the next logits of all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache, RotatingKVCache

from paddock.runner.engines.text.group import Caches, Group
from paddock.runner.engines.text.model.kv_caches import leaves
from paddock.runner.engines.text.speculation.trimming import room, take_back

logger = logging.getLogger(__name__)

PROBE = (5, 2)
"""Tokens that two sequences have before they are decoded together, to see whether that changes anything."""
_PROBE_TOLERANCE = 0.05
"""Of the spread of the logits: padding that leaks into a sequence this short changes far more."""
_COUNTING = (KVCache, RotatingKVCache)
UNABLE = (TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError)
"""What architectures raise whose code knows only one position for all sequences."""


class Batch:
    """Rows are in the order in which sequences joined."""

    def __init__(self, model: nn.Module, *, merges: bool) -> None:
        """`merges`: whether sequences may share a forward pass; otherwise each has its own, one after the other."""
        self._model = model
        self._merges = merges
        self._groups: list[Group] = []

    def __len__(self) -> int:
        return sum(group.size for group in self._groups)

    def join(self, group: Group) -> None:
        """Add sequences, which belong to the batch from here on."""
        if self._merges and self._groups:
            self._groups[0].extend(group)
        else:
            self._groups.append(group)

    def caches_of(self, row: int) -> Caches:
        """The caches of one sequence as it would have them alone. They share memory with the batch: read them only."""
        group, place = self._find(row)
        return group.caches_of(place)

    def leave(self, rows: Sequence[int]) -> None:
        """Take sequences out, by their rows of now."""
        left: list[Group] = []
        first = 0
        for group in self._groups:
            stay = [place for place in range(group.size) if first + place not in rows]
            first += group.size
            if stay:
                left.append(group.keeping(stay))
        self._groups = left

    def forward(self, tokens: mx.array) -> mx.array:
        """Logits (rows, vocabulary) of what follows these tokens (rows,); a graph, not computed yet."""
        parts, first = [], 0
        for group in self._groups:
            part = tokens if len(self._groups) == 1 else tokens[first : first + group.size]
            parts.append(group.forward(self._model, part))
            first += group.size
        return parts[0] if len(parts) == 1 else mx.concatenate(parts)

    # ---- a sequence that is alone ----

    @property
    def room(self) -> int:
        """Tokens that could be read now and taken back; 0 unless there is one sequence, and its caches can do that."""
        return room(self._groups[0].caches) if len(self) == 1 else 0

    def forward_all(self, tokens: mx.array) -> mx.array:
        """Logits (tokens, vocabulary) after each of several tokens of the only sequence; not computed yet."""
        [group] = self._groups
        group.lengths = [group.lengths[0] + tokens.size]
        return self._model(tokens[None], cache=group.caches)[0]

    def take_back(self, count: int) -> None:
        """Forget the last tokens of the only sequence, for which there was room."""
        if count:
            [group] = self._groups
            group.lengths = [group.lengths[0] - count]
            take_back(group.caches, count)

    def _find(self, row: int) -> tuple[Group, int]:
        for group in self._groups:
            if row < group.size:
                return group, row
            row -= group.size
        raise IndexError("the batch has no such row")


def can_merge(model: nn.Module, make_caches: Callable[[], Caches]) -> bool:
    """Whether sequences of this model give the same logits together as alone. It is tried, once, on two short ones.

    That rules out caches that mlx-lm cannot merge (chunked and quantised ones) and architectures that add positions or
    masks for one sequence only; those decode one at a time, in turn.
    """
    try:
        if not all(map(_is_mergeable, make_caches())):
            return False
        counted: set[int] = set()
        alone = Batch(model, merges=False)
        together = Batch(model, merges=True)
        for batch in (alone, together):
            for length in PROBE:
                caches = make_caches()
                model(mx.arange(length)[None], cache=caches)
                counted |= {cache.offset - length for cache in leaves(caches) if isinstance(cache, _COUNTING)}
                batch.join(Group(caches, [length]))
        tokens = mx.array([1, 2], dtype=mx.int32)
        merges = counted <= {0} and is_same(alone.forward(tokens), together.forward(tokens))
    except UNABLE as error:
        logger.info("This architecture decodes one sequence at a time: %s", error)
        return False
    if not merges:
        logger.info("This architecture decodes one sequence at a time: together they would come out differently")
    return merges


def is_same(expected: mx.array, found: mx.array) -> bool:
    """Whether these logits are the same but for rounding."""
    expected, found = expected.astype(mx.float32), found.astype(mx.float32)
    return bool((mx.max(mx.abs(expected - found)) <= _PROBE_TOLERANCE * mx.std(expected)).item())


def _is_mergeable(cache: Any) -> bool:
    return all(hasattr(leaf, "merge") for leaf in leaves([cache]))
