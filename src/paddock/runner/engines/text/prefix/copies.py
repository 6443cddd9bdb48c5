"""What of mlx-lm's caches can be cut, copied, measured and put together again. It knows no tokens and no tenants.

A *sequence layer* holds one row per token, so any stretch of it can be kept on its own (plain, quantised and MLA keys
and values). Every other layer is a *state*: it is kept as it was at one position (sliding windows, recurrent states).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.cache import (
    CacheList,
    ChunkedKVCache,
    ConcatenateKVCache,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
)

from paddock.runner.engines.text.model.kv_caches import leaves

Segment = tuple[mx.array, ...]
"""The rows of one sequence layer for one stretch of tokens: every array has the tokens on its axis -2."""

_SEQUENCE_KINDS = (KVCache, QuantizedKVCache, ConcatenateKVCache)


@dataclass(frozen=True)
class SequenceForm:
    """What is needed to make a sequence layer of segments."""

    kind: type
    settings: tuple[int, ...] = ()
    """Group size and bits of a quantised layer."""
    is_written: bool = True
    """Whether the model uses this cache at all."""


@dataclass(frozen=True)
class Layout:
    """Which caches a model has, and how they nest. Segments and states of one layout fit together."""

    nesting: tuple[Any, ...]
    """For each cache None, or a tuple of the same kind for a list of caches."""
    forms: tuple[SequenceForm | None, ...]
    """For each cache that is no list, in order: its form, or None where it is a state."""

    @property
    def has_states(self) -> bool:
        """Whether some caches can be restored at certain positions only."""
        return None in self.forms


def seem_to_hold(caches: Sequence[Any], length: int) -> bool:
    """Whether any cache that counts its tokens has counted so many, or none counts.

    Not all need to: a layer may keep a token for several, or none at all.
    """
    counts = {leaf.offset for leaf in leaves(caches) if isinstance(getattr(leaf, "offset", None), int)}
    return not counts or length in counts


def layout_of(caches: Sequence[Any], length: int) -> Layout:
    """The layout of caches that hold `length` tokens. A cache that does not look like it is taken for a state."""
    return Layout(_nesting(caches), tuple(_form(leaf, length) for leaf in leaves(caches)))


def assemble(layout: Layout, unfolded: Sequence[Any]) -> list[Any]:
    """The inverse of `leaves`."""
    remaining = iter(unfolded)
    return _fold(layout.nesting, remaining)


def cut_horizon(caches: Sequence[Any]) -> float:
    """Below how many tokens caches of these kinds can be cut to any length: infinite, 0, or a window's size.

    By the kinds, and not by `is_trimmable`, which an empty sliding window affirms, and a chunked cache even after it
    has dropped its beginning.
    """
    return min((_leaf_horizon(leaf) for leaf in leaves(caches)), default=float("inf"))


def cut(leaf: Any, start: int, end: int) -> Segment:
    """The rows of the tokens from `start` to `end` of a sequence layer, in memory of their own (not yet computed)."""
    return tuple(_own(array[..., start:end, :]) for array in _arrays(leaf))


def halve(segment: Segment, count: int) -> tuple[Segment, Segment]:
    """The first `count` tokens of a segment and the others, each in memory of its own (not yet computed)."""
    first = tuple(_own(array[..., :count, :]) for array in segment)
    return first, tuple(_own(array[..., count:, :]) for array in segment)


def bytes_per_token(leaf: Any) -> int:
    """Of a sequence layer."""
    return sum(array.nbytes // array.shape[-2] for array in _arrays(leaf))


def join(form: SequenceForm, segments: Sequence[Segment], length: int, capacity: int) -> Any:
    """A fresh cache that holds the first `length` tokens of consecutive segments, with room for `capacity` tokens.

    The room is made in the same step, for a cache that has to grow copies all that it holds once more.
    """
    leaf = form.kind(*form.settings)
    if not form.is_written:
        return leaf
    spare = 0 if form.kind is ConcatenateKVCache else max(0, capacity - length)
    arrays = [_concatenate(parts, length, spare) for parts in zip(*segments, strict=True)]
    if form.kind is QuantizedKVCache:
        leaf.keys, leaf.values = tuple(arrays[:3]), tuple(arrays[3:])
    else:
        leaf.keys, leaf.values = arrays
    leaf.offset = length
    return leaf


def snapshot(leaf: Any) -> Any:
    """A state as it is now, in memory of its own (not yet computed).

    Models keep slices of larger arrays (mamba2's convolution state is one of the whole chunk's input), and a slice
    keeps the memory of the array that it was taken from.
    """
    twin = copy.copy(leaf)
    for name, value in vars(leaf).items():
        setattr(twin, name, tree_map(_own_or_copied, value))
    if not twin.empty():
        _drop_idle_rows(twin)
    return twin


def revive(state: Any, length: int | None = None) -> Any:
    """A state for a caller to write to, cut to `length` tokens if that is given.

    The copies are new handles on the same memory: MLX writes in place only where nobody else holds the memory.
    """
    twin = copy.deepcopy(state)
    if length is not None and not twin.empty():
        twin.keys, twin.values = twin.keys[..., :length, :], twin.values[..., :length, :]
        twin.offset = length
        if type(twin) is RotatingKVCache:
            twin._idx = length
    return twin


def can_be_cut(state: Any) -> bool:
    """Whether a state still holds every token from the first on."""
    if type(state) is RotatingKVCache:
        return bool(state.offset < state.max_size)
    return type(state) is ChunkedKVCache and state.start_position == 0


def arrays_of(state: Any) -> list[mx.array]:
    """Every array of a snapshot."""
    return [value for _, value in tree_flatten(vars(state)) if isinstance(value, mx.array)]


def _nesting(caches: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_nesting(cache.caches) if type(cache) is CacheList else None for cache in caches)


def _fold(nesting: tuple[Any, ...], remaining: Iterator[Any]) -> list[Any]:
    return [next(remaining) if inner is None else CacheList(*_fold(inner, remaining)) for inner in nesting]


def _form(leaf: Any, length: int) -> SequenceForm | None:
    """By exact type: a class derived from a known one may hold more than is known here."""
    kind = type(leaf)
    if kind not in _SEQUENCE_KINDS or (leaf.keys is not None and leaf.offset != length):
        return None
    settings = (leaf.group_size, leaf.bits) if kind is QuantizedKVCache else ()
    return SequenceForm(kind, settings, leaf.keys is not None)


def _leaf_horizon(leaf: Any) -> float:
    if type(leaf) in _SEQUENCE_KINDS:
        return float("inf")
    if type(leaf) is RotatingKVCache:
        return leaf.max_size
    return leaf.chunk_size if type(leaf) is ChunkedKVCache else 0


def _arrays(leaf: Any) -> list[mx.array]:
    if leaf.keys is None:
        return []
    if type(leaf) is QuantizedKVCache:
        return [*leaf.keys, *leaf.values]
    return [leaf.keys, leaf.values]


def _own(array: mx.array) -> mx.array:
    """The same values in memory of their own, or in memory hardly larger than they are."""
    return mx.contiguous(array)


def _own_or_copied(value: Any) -> Any:
    return _own(value) if isinstance(value, mx.array) else copy.deepcopy(value)


def _concatenate(parts: Sequence[mx.array], length: int, spare: int) -> mx.array:
    rows = list(parts)
    surplus = sum(part.shape[-2] for part in rows) - length
    if surplus:
        rows[-1] = rows[-1][..., : rows[-1].shape[-2] - surplus, :]
    if spare:
        shape = (*rows[0].shape[:-2], spare, rows[0].shape[-1])
        rows.append(mx.zeros(shape, rows[0].dtype))
    return mx.concatenate(rows, axis=-2)


def _drop_idle_rows(window: Any) -> None:
    """Leave out rows that were only made in advance, and of a sliding window what no later token looks at.

    After a chunk of a prompt such a window holds the whole chunk as well. What goes then is what `RotatingKVCache`
    itself drops before it takes in the next single token.
    """
    if type(window) is ChunkedKVCache:
        _keep_rows(window, window.offset - window.start_position)
    if type(window) is not RotatingKVCache:
        return
    surplus = window.keys.shape[2] - window.max_size
    if window.offset < window.keys.shape[2]:
        _keep_rows(window, window.offset)
    elif surplus > 0:
        window.keys = _own(window._trim(surplus, window.keys))
        window.values = _own(window._trim(surplus, window.values))
        window._idx = window.max_size


def _keep_rows(window: Any, count: int) -> None:
    window.keys = _own(window.keys[..., :count, :])
    window.values = _own(window.values[..., :count, :])
