"""The sequences that decode together: their caches, and one forward pass that makes the next logits of all of them.

The caches are mlx-lm's own, merged with left padding (`merge`, `extend`, `filter`, `extract`), because every kind of
layer has them and their step costs little more than one of caches of equal length; its BatchGenerator is not used,
since it samples row by row, costs up to twice the forward pass, cannot be seeded by request, and is left inconsistent
by an error in any one sequence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, KVCache, RotatingKVCache

from paddock.runner.engines.text.model.kv_caches import leaves
from paddock.runner.engines.text.speculation.trimming import room, take_back

logger = logging.getLogger(__name__)

Caches = list[Any]
"""One cache per layer."""

_PROBE = (5, 2)
"""Tokens that two sequences have before they are decoded together, to see whether that changes anything."""
_PROBE_TOLERANCE = 0.05
"""Of the spread of the logits: padding that leaks into a sequence this short changes far more."""
_COUNTING = (KVCache, RotatingKVCache)
_UNABLE = (TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError)
"""What architectures raise whose code knows only one position for all sequences."""


@dataclass
class _Group:
    """Sequences whose caches are merged; a single one has its own caches, and pays for nothing else."""

    caches: Caches
    lengths: list[int]
    """Tokens that each of them holds."""

    @property
    def size(self) -> int:
        return len(self.lengths)

    def share_offsets(self) -> None:
        """Give all layers that count the same tokens the same array of positions: what layers make of it is then made
        once."""
        offset = mx.array(self.lengths)
        for leaf in leaves(self.caches):
            if isinstance(leaf, BatchKVCache | BatchRotatingKVCache):
                leaf.offset = offset


class Batch:
    """Rows are in the order in which sequences joined."""

    def __init__(self, model: nn.Module, *, merges: bool) -> None:
        """`merges`: whether sequences may share a forward pass; otherwise each has its own, one after the other."""
        self._model = model
        self._merges = merges
        self._groups: list[_Group] = []

    def __len__(self) -> int:
        return sum(group.size for group in self._groups)

    def join(self, caches: Caches, length: int) -> None:
        """Add a sequence of so many tokens, whose caches belong to the batch from here on."""
        if not self._merges or not self._groups:
            self._groups.append(_Group(caches, [length]))
            return
        [group] = self._groups
        if group.size == 1:
            group.caches = [_merged(pair) for pair in zip(group.caches, caches, strict=True)]
        else:
            for layer, cache in zip(group.caches, caches, strict=True):
                layer.extend(_merged([cache]))
        group.lengths.append(length)

    def caches_of(self, row: int) -> Caches:
        """The caches of one sequence as it would have them alone. They share memory with the batch: read them only."""
        group, place = self._find(row)
        return group.caches if group.size == 1 else [layer.extract(place) for layer in group.caches]

    def leave(self, rows: Sequence[int]) -> None:
        """Take sequences out, by their rows of now."""
        left: list[_Group] = []
        first = 0
        for group in self._groups:
            stay = [place for place in range(group.size) if first + place not in rows]
            first += group.size
            if stay:
                left.append(_kept(group, stay))
        self._groups = left

    def forward(self, tokens: mx.array) -> mx.array:
        """Logits (rows, vocabulary) of what follows these tokens (rows,); a graph, not computed yet."""
        parts, first = [], 0
        for group in self._groups:
            part = tokens if len(self._groups) == 1 else tokens[first : first + group.size]
            if group.size > 1:
                group.share_offsets()
            parts.append(self._model(part[:, None], cache=group.caches)[:, -1, :])
            group.lengths = [length + 1 for length in group.lengths]
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

    def _find(self, row: int) -> tuple[_Group, int]:
        for group in self._groups:
            if row < group.size:
                return group, row
            row -= group.size
        raise IndexError("the batch has no such row")


def _merged(caches: Sequence[Any]) -> Any:
    return caches[0].merge(list(caches))


def _kept(group: _Group, stay: list[int]) -> _Group:
    if len(stay) == group.size:
        return group
    lengths = [group.lengths[place] for place in stay]
    if len(stay) == 1:
        return _Group([layer.extract(stay[0]) for layer in group.caches], lengths)
    keep = mx.array(stay)
    for layer in group.caches:
        layer.filter(keep)
    return _Group(group.caches, lengths)


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
            for length in _PROBE:
                caches = make_caches()
                model(mx.arange(length)[None], cache=caches)
                counted |= {cache.offset - length for cache in leaves(caches) if isinstance(cache, _COUNTING)}
                batch.join(caches, length)
        tokens = mx.array([1, 2], dtype=mx.int32)
        expected, found = (batch.forward(tokens).astype(mx.float32) for batch in (alone, together))
        difference = mx.max(mx.abs(expected - found))
        is_same = counted <= {0} and bool((difference <= _PROBE_TOLERANCE * mx.std(expected)).item())
    except _UNABLE as error:
        logger.info("This architecture decodes one sequence at a time: %s", error)
        return False
    if not is_same:
        logger.info("This architecture decodes one sequence at a time: together they would come out differently")
    return is_same


def _is_mergeable(cache: Any) -> bool:
    return all(hasattr(leaf, "merge") for leaf in leaves([cache]))
