"""Cheaper forms of two operations of MLX for the decoding of one token on the CPU, where MLX makes each of many small
ones: a rotation by position becomes one product with a matrix that all layers share, and attention skips its detours.

They compute the same numbers up to rounding. Everything but single tokens in single precision goes MLX's own way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

Position = int | mx.array
"""Tokens before this one: for all sequences, or one number for each."""


class Rotation:
    """One kind of rotary embedding, and the matrices of the position that was asked for last."""

    def __init__(self, width: int, dims: int, *, traditional: bool, inverse: mx.array) -> None:
        """`inverse`: angle per position of each pair, shape (dims / 2,). Of the `width` numbers only `dims` turn."""
        half = dims // 2
        firsts = np.arange(half) * 2 if traditional else np.arange(half)
        seconds = firsts + (1 if traditional else half)
        pairs = np.zeros(width, dtype=np.int32)
        pairs[firsts] = pairs[seconds] = np.arange(half)
        turned = np.zeros((width, width), dtype=np.float32)
        turned[seconds, firsts], turned[firsts, seconds] = -1, 1
        kept = np.eye(width, dtype=np.float32)
        kept[np.arange(width), np.arange(width)] = np.isin(np.arange(width), [*firsts, *seconds])
        self._rest = mx.array(np.eye(width, dtype=np.float32) - kept) if dims < width else None
        self._kept, self._turned = mx.array(kept), mx.array(turned)
        self._pairs = mx.array(pairs)
        self._inverse = inverse
        self._position: Position | None = None
        self._matrix = self._kept

    def matrix(self, position: Position) -> mx.array:
        """What vectors are multiplied with from the right: (width, width), or one for each sequence."""
        if not _is_same(position, self._position):
            angles = mx.array(position, dtype=mx.float32)[..., None] * self._inverse
            cosines, sines = (each[..., self._pairs][..., None, :] for each in (mx.cos(angles), mx.sin(angles)))
            matrix = self._kept * cosines + self._turned * sines
            self._matrix = matrix if self._rest is None else matrix + self._rest
            self._position = position
        return self._matrix


class Rope:
    """Takes the place of `mx.fast.rope`."""

    def __init__(self, original: Callable[..., mx.array]) -> None:
        self.original = original
        self._kinds: dict[tuple[Any, ...], tuple[Rotation, mx.array | None]] = {}

    def __call__(
        self,
        a: mx.array,
        dims: int,
        *,
        traditional: bool,
        base: float | None,
        scale: float,
        offset: Position,
        freqs: mx.array | None = None,
        **more: Any,
    ) -> mx.array:
        """As `mx.fast.rope`."""
        if not _is_single(a) or more or not _is_position(offset):
            return self.original(
                a, dims, traditional=traditional, base=base, scale=scale, offset=offset, freqs=freqs, **more
            )
        key = (a.shape[-1], dims, traditional, base, scale, id(freqs))
        if key not in self._kinds:
            inverse = scale * _inverse(dims, base, freqs)
            # The frequencies are kept with it, so that their id stays theirs.
            self._kinds[key] = Rotation(a.shape[-1], dims, traditional=traditional, inverse=inverse), freqs
        sequences, heads, _, width = a.shape
        return (a.reshape(sequences, heads, width) @ self._kinds[key][0].matrix(offset)).reshape(a.shape)


def _is_same(one: Position, other: Position | None) -> bool:
    return one is other or (isinstance(one, int) and isinstance(other, int) and one == other)


def _is_position(offset: Position) -> bool:
    return isinstance(offset, int) or offset.ndim == 1


def _is_single(array: mx.array) -> bool:
    """Whether it has one token of each sequence: (sequences, heads, 1, width)."""
    return array.ndim == 4 and array.shape[2] == 1 and array.dtype == mx.float32


def _inverse(dims: int, base: float | None, freqs: mx.array | None) -> mx.array:
    if freqs is not None:
        return mx.reciprocal(freqs)
    assert base is not None, "a rotation has a base or frequencies"
    half = dims // 2
    return mx.exp(mx.arange(0, -half, -1, dtype=mx.float32) * (math.log(base) / half))


class Attention:
    """Takes the place of `mx.fast.scaled_dot_product_attention`."""

    def __init__(self, original: Callable[..., mx.array]) -> None:
        self.original = original

    def __call__(
        self, q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: mx.array | str | None = None, **more: Any
    ) -> mx.array:
        """As `mx.fast.scaled_dot_product_attention`."""
        if any(value is not None for value in more.values()) or not (_is_single(q) and _suits(mask)):
            return self.original(q, k, v, scale=scale, mask=mask, **more)
        sequences, heads, _, width = q.shape
        groups = k.shape[1]
        scores = (q * scale).reshape(sequences, groups, heads // groups, width) @ k.swapaxes(-1, -2)
        if isinstance(mask, mx.array):
            scores = mx.where(mask, scores, -mx.inf)
        return (mx.softmax(scores, axis=-1) @ v).reshape(sequences, heads, 1, v.shape[-1])


def _suits(mask: mx.array | str | None) -> bool:
    """Whether a mask says the same for all heads, and says it by booleans."""
    if mask is None:
        return True
    if isinstance(mask, str) or mask.dtype != mx.bool_:
        return False
    return mask.ndim < 3 or (mask.ndim == 4 and mask.shape[1] == 1)


def install() -> None:
    """Have all models of this process use them. What an earlier call installed is replaced."""
    rope, attention = mx.fast.rope, mx.fast.scaled_dot_product_attention
    mx.fast.rope = Rope(rope.original if isinstance(rope, Rope) else rope)
    own = attention.original if isinstance(attention, Attention) else attention
    mx.fast.scaled_dot_product_attention = Attention(own)
