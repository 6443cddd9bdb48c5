"""Sequences whose caches are merged, so that one forward pass serves them all.

The caches are mlx-lm's own, merged with left padding (`merge`, `extend`, `filter`, `extract`), because every kind of
layer has them and their step costs little more than one of caches of equal length; its BatchGenerator is not used,
since it samples row by row, costs up to twice the forward pass, cannot be seeded by request, and is left inconsistent
by an error in any one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache

from paddock.runner.engines.text.model.kv_caches import leaves

Caches = list[Any]
"""One cache per layer."""


@dataclass
class Group:
    """One or several sequences. A single one has its own caches, and pays for nothing else."""

    caches: Caches
    lengths: list[int]
    """Tokens that each of them holds."""

    @property
    def size(self) -> int:
        """Sequences."""
        return len(self.lengths)

    def forward(self, model: nn.Module, tokens: mx.array) -> mx.array:
        """Logits (sequences, vocabulary) of what follows these tokens (sequences,); a graph, not computed yet."""
        if self.size > 1:
            self._share_offsets()
        logits = model(tokens[:, None], cache=self.caches)[:, -1, :]
        self.lengths = [length + 1 for length in self.lengths]
        return logits

    def _share_offsets(self) -> None:
        """Give all layers that count the same tokens the same array of positions: what layers make of it is then made
        once."""
        offset = mx.array(self.lengths)
        for leaf in leaves(self.caches):
            if isinstance(leaf, BatchKVCache | BatchRotatingKVCache):
                leaf.offset = offset

    def extend(self, others: Group) -> None:
        """Take in the sequences of another group, whose caches are this one's from here on."""
        if self.size == others.size == 1:
            self.caches = [_merged(pair) for pair in zip(self.caches, others.caches, strict=True)]
        else:
            self._merge()
            others._merge()
            for layer, more in zip(self.caches, others.caches, strict=True):
                layer.extend(more)
        self.lengths += others.lengths

    def _merge(self) -> None:
        if self.size == 1:
            self.caches = [_merged([layer]) for layer in self.caches]

    def caches_of(self, place: int) -> Caches:
        """Those of one sequence as it would have them alone. They share memory with the others': read them only."""
        return self.caches if self.size == 1 else [layer.extract(place) for layer in self.caches]

    def keeping(self, stay: list[int]) -> Group:
        """The group of the sequences in these places, ascending; this one is used up."""
        if len(stay) == self.size:
            return self
        lengths = [self.lengths[place] for place in stay]
        if len(stay) == 1:
            return Group(self.caches_of(stay[0]), lengths)
        keep = mx.array(stay)
        for layer in self.caches:
            layer.filter(keep)
        return Group(self.caches, lengths)


def _merged(caches: Sequence[Any]) -> Any:
    return caches[0].merge(list(caches))
