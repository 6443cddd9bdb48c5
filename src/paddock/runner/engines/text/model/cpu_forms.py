"""Cheaper forms of some operations of MLX on the CPU, where MLX makes each of many small ones and its exponential is
slow: a rotation by position becomes one product with a matrix that all layers share, attention skips its detours and
goes through long prompts block by block, and whatever is made of exponentials uses a quicker one.

They compute the same numbers up to rounding. Everything but single precision goes MLX's own way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from paddock.runner import blas, quick_exp
from paddock.runner.engines.text.model import few_rows
from paddock.runner.quick_exp import Operation

_REFUSED = -1e30
"""Added to the score of a token that must not be seen; finite, so that a row without any is no NaN."""
_BLOCK_SCORES = 1 << 20
"""Scores that are worked on at once, 4 MiB: the fastest between the cache of a core and packing keys again."""
_LEAST_ROWS = 8
_FEW = 1024
"""Numbers whose exponentials MLX makes itself in less time than it takes to begin the operations of a quicker form."""

Floats = npt.NDArray[np.floating]
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
        """What vectors (sequences, heads, width) are multiplied with from the right: (1, width, width) for all of them,
        or one matrix for each."""
        if not _is_same(position, self._position):
            angles = mx.array(position, dtype=mx.float32).reshape(-1, 1) * self._inverse
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


class RmsNorm:
    """Takes the place of `mx.fast.rms_norm`, which on the CPU is twice as many operations."""

    def __init__(self, original: Callable[..., mx.array]) -> None:
        self.original = original
        self._epsilons: dict[tuple[int, float], mx.array] = {}

    def __call__(self, x: mx.array, weight: mx.array | None, eps: float, **more: Any) -> mx.array:
        """As `mx.fast.rms_norm`."""
        if more or weight is None or not (_is_one_token_each(x) and weight.dtype == mx.float32):
            return self.original(x, weight, eps, **more)
        key = x.shape[0], eps
        if key not in self._epsilons:
            self._epsilons[key] = mx.full((x.shape[0], 1, 1), eps)
        squares = mx.addmm(self._epsilons[key], x, x.swapaxes(1, 2), alpha=1 / x.shape[2])
        return (mx.rsqrt(squares) @ x) * weight


def _is_one_token_each(x: mx.array) -> bool:
    """Whether this is (sequences, 1, width)."""
    return x.ndim == 3 and x.shape[1] == 1 and x.dtype == mx.float32


class Attention:
    """Takes the place of `mx.fast.scaled_dot_product_attention`."""

    def __init__(self, original: Callable[..., mx.array], exponential: Operation | None = None) -> None:
        self.original = original
        self._softmax = Softmax(mx.softmax, exponential) if exponential else mx.softmax
        self._mask: mx.array | None = None
        self._bias = mx.zeros(1)

    def __call__(
        self, q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: mx.array | str | None = None, **more: Any
    ) -> mx.array:
        """As `mx.fast.scaled_dot_product_attention`."""
        if any(value is not None for value in more.values()) or not (_are_single_precision(q, k, v) and _suits(mask)):
            return self.original(q, k, v, scale=scale, mask=mask, **more)
        q = q * scale
        return self._of_one(q, k, v, mask) if q.shape[2] == 1 else self._of_many(q, k, v, mask)

    def _of_one(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str | None) -> mx.array:
        """The queries of one token of each sequence, which is the last one."""
        sequences, heads, _, width = q.shape
        groups = k.shape[1]
        scores = q.reshape(sequences, groups, heads // groups, width) @ k.swapaxes(-1, -2)
        if isinstance(mask, mx.array):
            scores = scores + self._bias_of(mask)
        attended = (self._softmax(scores, axis=-1) @ v).reshape(sequences, heads, 1, v.shape[-1])
        # MLX works on this layer while the host makes the graph of the next one: handed over as a whole, a step would
        # have the processor wait for its graph, which takes a third of the time.
        mx.async_eval(attended)
        return attended

    def _of_many(self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str | None) -> mx.array:
        """Block by block, so that scores stay in the processor's cache, and with numpy's exponential."""
        sequences, heads, count, width = q.shape
        groups, keys = k.shape[1], k.shape[2]
        q = q.reshape(sequences, groups, heads // groups, count, width)
        bias = np.array(self._bias_of(mask), copy=False) if isinstance(mask, mx.array) else None
        rows, together = _block(sequences, heads, groups, count, keys)
        parts = []
        for start in range(0, count, rows):
            end = min(start + rows, count)
            seen = keys - count + end if mask == "causal" else keys
            block_bias = _causal_bias(end - start) if mask == "causal" else _rows_of(bias, start, end)
            parts.append(
                mx.concatenate(
                    [
                        _attended(
                            q[:, group : group + together, :, start:end],
                            k[:, group : group + together, :seen],
                            v[:, group : group + together, :seen],
                            block_bias,
                        )
                        for group in range(0, groups, together)
                    ],
                    axis=1,
                )
            )
        whole = parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=3)
        return whole.reshape(sequences, heads, count, v.shape[-1])

    def _bias_of(self, mask: mx.array) -> mx.array:
        """What is added to scores; made once for all layers that share a mask."""
        if mask is not self._mask:
            self._mask, self._bias = mask, mx.where(mask, 0.0, _REFUSED)
        return self._bias


def _block(sequences: int, heads: int, groups: int, count: int, keys: int) -> tuple[int, int]:
    """How many tokens' queries are taken at once, and of how many groups of heads."""
    if sequences * heads * count * keys <= _BLOCK_SCORES:
        return count, groups
    return max(_LEAST_ROWS, _BLOCK_SCORES * groups // (sequences * heads * keys)), 1


def _causal_bias(rows: int) -> Floats:
    """What the last `rows` tokens add to their scores of one another: shape (rows, rows)."""
    return np.triu(np.full((rows, rows), _REFUSED, dtype=np.float32), 1)


def _rows_of(bias: Floats | None, start: int, end: int) -> Floats | None:
    return bias if bias is None or bias.shape[-2] == 1 else bias[..., start:end, :]


def _attended(q: mx.array, k: mx.array, v: mx.array, bias: Floats | None) -> mx.array:
    """Attention of queries (sequences, groups, heads of each, tokens, width) to keys (sequences, groups, keys, width).

    `bias`, shape (tokens, some) or (sequences, 1, tokens, some), is added to the scores of the last keys.
    """
    sequences, groups, each, count, width = q.shape
    scores = q.reshape(sequences, groups, each * count, width) @ k.swapaxes(-1, -2)
    mx.eval(scores)
    # The same memory: what numpy writes, MLX reads.
    view = np.array(scores, copy=False).reshape(sequences, groups, each, count, -1)
    if bias is not None:
        view[..., -bias.shape[-1] :] += bias if bias.ndim < 4 else bias[:, :, None]
    view -= view.max(axis=-1, keepdims=True)
    np.exp(view, out=view)
    sums = mx.array(view.sum(axis=-1, keepdims=True))
    result = (scores @ v).reshape(*q.shape[:-1], v.shape[-1]) / sums
    mx.eval(result)
    return result


class Softmax:
    """Takes the place of `mx.softmax`."""

    def __init__(self, original: Callable[..., mx.array], exponential: Operation) -> None:
        self.original = original
        self._exponential = exponential

    def __call__(self, a: mx.array, /, axis: Any = None, **more: Any) -> mx.array:
        """As `mx.softmax`."""
        if not (isinstance(axis, int) and _is_quick(a)) or more.get("stream") is not None:
            return self.original(a, axis=axis, **more)
        weights = self._exponential(a - mx.max(a, axis=axis, keepdims=True))
        return weights / mx.sum(weights, axis=axis, keepdims=True)


class Elementwise:
    """Takes the place of an operation on single numbers."""

    def __init__(self, original: Callable[..., mx.array], quick: Operation) -> None:
        self.original = original
        self._quick = quick

    def __call__(self, a: Any, /, **more: Any) -> mx.array:
        """As the operation of MLX."""
        return self.original(a, **more) if more or not _is_quick(a) else self._quick(a)


def _is_quick(array: Any) -> bool:
    return isinstance(array, mx.array) and array.dtype == mx.float32 and array.size > _FEW


def _are_single_precision(*arrays: mx.array) -> bool:
    return all(array.ndim == 4 and array.dtype == mx.float32 for array in arrays)


def _suits(mask: mx.array | str | None) -> bool:
    """Whether a mask says the same for all heads, and says it by booleans."""
    if mask is None or isinstance(mask, str):
        return mask is None or mask == "causal"
    return mask.dtype == mx.bool_ and (mask.ndim < 3 or (mask.ndim == 4 and mask.shape[1] == 1))


def lay_out(model: nn.Module) -> None:
    """Make products of a few rows quick, large ones in strips where the BLAS has few threads."""
    if 0 < blas.threads() <= few_rows.MOST_THREADS:
        few_rows.use_strips(model)
    few_rows.turn_around(model)


def install() -> None:
    """Have all models of this process use them. What an earlier call installed is replaced."""
    exponential = quick_exp.install()
    mx.fast.rope = Rope(_own(mx.fast.rope))
    mx.fast.rms_norm = RmsNorm(_own(mx.fast.rms_norm))
    mx.fast.scaled_dot_product_attention = Attention(_own(mx.fast.scaled_dot_product_attention), exponential)
    if exponential is mx.exp:
        return
    mx.softmax = Softmax(_own(mx.softmax), exponential)
    mx.exp = Elementwise(_own(mx.exp), exponential)
    mx.sigmoid = Elementwise(_own(mx.sigmoid), lambda a: mx.reciprocal(1 + exponential(-a)))
    # Its error is one of rounding beside 1, as in what models do with it: activations and soft caps.
    mx.tanh = Elementwise(_own(mx.tanh), lambda a: 1 - 2 * mx.reciprocal(1 + exponential(2 * a)))


def _own(operation: Any) -> Any:
    return getattr(operation, "original", operation)
