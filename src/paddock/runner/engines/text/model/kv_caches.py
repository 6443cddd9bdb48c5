"""The caches of one sequence, layer by layer: as the architecture makes them, or with keys and values in fewer bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import CacheList, KVCache, QuantizedKVCache, make_prompt_cache

logger = logging.getLogger(__name__)

GROUP_SIZES = (64, 32)
"""Numbers that share a scale and a bias, best first. `paddock.memory.estimate` counts with the same ones."""

_UNABLE = (TypeError, ValueError, AttributeError, IndexError, KeyError)
"""What architectures raise that use their cache's keys and values in another way than mlx-lm's attention does."""


class CacheMaker:
    """Makes the caches of sequences. It tries once what the model can do, and keeps nothing of any sequence."""

    def __init__(self, model: nn.Module, kv_bits: int) -> None:
        """`kv_bits`: 8 or 4, of each number in a cache; 0 keeps the model's own numbers."""
        self._model = model
        self._kv_bits = kv_bits
        self._groups: Sequence[int] = _groups(model, kv_bits) if kv_bits else ()

    @property
    def is_quantised(self) -> bool:
        """Whether any layer keeps its numbers in fewer bits."""
        return any(self._groups)

    def make(self) -> list[Any]:
        """Empty caches for one sequence.

        With `kv_bits`, mlx-lm's plain `KVCache` becomes its `QuantizedKVCache` where the widths of keys and values
        divide into groups; rotating, recurrent, chunked and compound caches stay as they are.
        """
        return _quantised(make_prompt_cache(self._model), self._groups, self._kv_bits)


def make_caches(model: nn.Module, kv_bits: int) -> list[Any]:
    """Empty caches for one sequence; `CacheMaker` is quicker for many."""
    return CacheMaker(model, kv_bits).make()


def grow_at_once(caches: Sequence[Any], tokens: int) -> None:
    """Have caches that keep every token make room for so many when they next grow.

    Growing copies all that is held. By mlx-lm's 256 tokens at a time, a prompt of 16,000 that is read in small chunks
    is copied 32 times, each time while others wait for their next token.
    """
    for leaf in _growing(caches):
        usual = type(leaf).step
        leaf.step = usual * max(1, -(-(tokens - leaf.offset) // usual))


def grow_as_usual(caches: Sequence[Any]) -> None:
    """Have them grow as mlx-lm does again: nobody knows how long an answer will be."""
    for leaf in _growing(caches):
        leaf.step = type(leaf).step


def leaves(caches: Sequence[Any]) -> list[Any]:
    """The caches with all lists among them unfolded."""
    return [leaf for cache in caches for leaf in (leaves(cache.caches) if type(cache) is CacheList else [cache])]


def _growing(caches: Sequence[Any]) -> list[Any]:
    return [leaf for leaf in leaves(caches) if type(leaf) in (KVCache, QuantizedKVCache)]


def group_size(*widths: int) -> int:
    """Numbers to a group for vectors of these widths; 0 if none suits all of them."""
    return next((size for size in GROUP_SIZES if all(width and width % size == 0 for width in widths)), 0)


def _quantised(caches: list[Any], groups: Sequence[int], bits: int) -> list[Any]:
    chosen = [*groups, *[0] * (len(caches) - len(groups))]
    return [
        QuantizedKVCache(group_size=size, bits=bits) if size else cache
        for cache, size in zip(caches, chosen, strict=True)
    ]


def _groups(model: nn.Module, bits: int) -> list[int]:
    """For each layer how many numbers share a scale; 0 where its cache stays as it is."""
    caches = make_prompt_cache(model)
    _feed(model, caches)
    groups = [_group_of(cache) for cache in caches]
    if not any(groups):
        logger.info("The context is kept in the model's own numbers: no layer's cache can hold them in %d bits", bits)
        return []
    try:
        _feed(model, _quantised(make_prompt_cache(model), groups, bits))
    except _UNABLE as error:
        logger.info("The context is kept in the model's own numbers: its attention cannot read others (%s)", error)
        return []
    return groups


def _group_of(cache: Any) -> int:
    if type(cache) is not KVCache or cache.keys is None:
        return 0
    return group_size(cache.keys.shape[-1], cache.values.shape[-1])


def _feed(model: nn.Module, caches: list[Any]) -> None:
    """Have the model make the graph of a prompt and of one token; shapes are known then, and nothing is computed."""
    for count in (2, 1):
        model(mx.zeros((1, count), dtype=mx.int32), cache=caches)
