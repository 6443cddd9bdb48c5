"""What the two families of transformers share: rotary positions of several axes, attention, and embedded times."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
"""Shape [tokens, axes]."""


@dataclass(frozen=True)
class Rotation:
    """Cosines and sines for each token and pair of a head's numbers; shape [tokens, 1, head width / 2], float32."""

    cosines: mx.array
    sines: mx.array


def make_rotation(positions: Positions, widths: Sequence[int], theta: float) -> Rotation:
    """Rotary positions (https://arxiv.org/abs/2104.09864) of several axes: axis k turns `widths[k]` of a head's
    numbers."""
    angles = np.concatenate(
        [
            np.outer(positions[:, axis], 1.0 / theta ** (np.arange(0, width, 2, dtype=np.float64) / width))
            for axis, width in enumerate(widths)
        ],
        axis=1,
    )[:, None, :]
    return Rotation(mx.array(np.cos(angles).astype(np.float32)), mx.array(np.sin(angles).astype(np.float32)))


def rotate(heads: mx.array, rotation: Rotation) -> mx.array:
    """Turn neighbouring pairs of numbers; `heads` is [batch, tokens, heads, width]. Computed in float32."""
    pairs = heads.astype(mx.float32).reshape(*heads.shape[:-1], -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    turned = mx.stack(
        [
            first * rotation.cosines - second * rotation.sines,
            first * rotation.sines + second * rotation.cosines,
        ],
        axis=-1,
    )
    return turned.reshape(heads.shape).astype(heads.dtype)


def attend(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    """All tokens look at all; arrays are [batch, tokens, heads, width], the result [batch, tokens, heads * width]."""
    scale = queries.shape[-1] ** -0.5
    queries, keys, values = (array.transpose(0, 2, 1, 3) for array in (queries, keys, values))
    mixed = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale)
    return mixed.transpose(0, 2, 1, 3).reshape(mixed.shape[0], mixed.shape[2], -1)


def split_heads(array: mx.array, head_width: int) -> mx.array:
    """[batch, tokens, heads * width] as [batch, tokens, heads, width]."""
    return array.reshape(*array.shape[:-1], -1, head_width)


def embed_time(times: mx.array, width: int) -> mx.array:
    """Cosines, then sines, of times (shape [batch], in thousandths) at frequencies from 1 down to 1 / 10000, as in
    https://arxiv.org/abs/2006.11239. Shape [batch, width], float32."""
    half = width // 2
    frequencies = mx.exp(-math.log(10_000.0) * mx.arange(half, dtype=mx.float32) / half)
    angles = times.astype(mx.float32)[:, None] * frequencies[None]
    return mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1)


Work = Generator[None, None, mx.array]
"""A computation that stops now and then, so that whoever runs it can do something else, and returns its result."""


def finish(work: Work) -> mx.array:
    """The result of a computation that is let run through."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: mx.array = end.value
            return result


def settle(array: mx.array) -> mx.array:
    """Have an array computed before more is asked for, on the CPU. MLX hands out work ahead of computing it and holds
    the inputs and outputs of all of it: without waiting, a decoder's peak was three times as high."""
    if mx.default_device() == mx.cpu:
        mx.eval(array)
    return array


def float_type(module: nn.Module) -> mx.Dtype:
    """The type that a layer computes in: that of its weights, or of its scales where the weights are packed."""
    weight = module.scales if "scales" in module else module.weight
    return weight.dtype
